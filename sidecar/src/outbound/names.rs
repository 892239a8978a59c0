//! Which dependency a host names.

use shop_contract::{Dependency, DependencyTls};

/// Port of a host that names none.
pub(crate) const HTTP: u16 = 80;
/// The same of a host with TLS.
pub(super) const HTTPS: u16 = 443;

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`, without a dot at the end.
pub(crate) fn split(host: &str) -> (&str, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    (name.strip_suffix('.').unwrap_or(name), port)
}

/// Whether a host names a dependency of a service in this namespace: `inventory`, `inventory.shop`, `inventory.shop.svc`, or with the
/// cluster's domain, on any port; of one with a `host` that as well, on its port.
pub(super) fn names(dependency: &Dependency, namespace: &str, host: &str) -> bool {
    let (name, port) = split(host);
    if name.eq_ignore_ascii_case(&dependency.name) {
        return true;
    }
    if let Some(outside) = &dependency.host {
        let (outside, at) = split(outside);
        // With TLS the app says `http` and no port, or the one that it knows of `https`: never past the TLS that was asked for.
        let is_tls = matches!(dependency.tls, Some(DependencyTls::Host(_)));
        let usual = is_tls && at.is_none_or(|at| at == HTTPS) && matches!(port, None | Some(HTTP | HTTPS));
        let same = port.unwrap_or(HTTP) == at.unwrap_or(HTTP);
        return name.eq_ignore_ascii_case(outside) && (usual || same);
    }
    let mut labels = name.splitn(4, '.');
    let is = |label: Option<&str>, word: &str| label.is_some_and(|label| label.eq_ignore_ascii_case(word));
    is(labels.next(), &dependency.name)
        && is(labels.next(), namespace)
        && labels.next().is_none_or(|label| label.eq_ignore_ascii_case("svc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_many_names() {
        let inventory = Dependency::new("inventory");
        for name in [
            "inventory",
            "Inventory:8080",
            "inventory.",
            "inventory.shop",
            "inventory.shop.svc:80",
            "inventory.shop.svc.cluster.local",
            "inventory.shop.svc.cluster.local.:80",
        ] {
            assert!(names(&inventory, "shop", name), "{name}");
        }
        for name in [
            "inventory2",
            "inventory.other",
            "inventory.shop.example",
            "x.inventory.shop.svc",
            "",
            "127.0.0.1:9441",
            "inventory.example.com",
        ] {
            assert!(!names(&inventory, "shop", name), "{name}");
        }
    }

    #[test]
    fn a_host_outside_is_one_on_its_port() {
        let outside = |host: &str| Dependency { host: Some(host.into()), ..Dependency::new("fakepay") };
        let plain = outside("pay.example.com");
        for (name, is) in [
            ("fakepay", true),
            ("pay.example.com", true),
            ("pay.example.com:80", true),
            ("pay.example.com:443", false),
            ("fakepay.shop", false),
        ] {
            assert_eq!(names(&plain, "shop", name), is, "{name}");
        }
        assert!(names(&outside("pay.example.com:8443"), "shop", "PAY.example.com:8443"));
        assert_eq!(split("[::1]:80"), ("::1", Some(80)));
        assert_eq!(split("[::1]"), ("::1", None));
        assert_eq!(split("::1"), ("::1", None));
    }
}
