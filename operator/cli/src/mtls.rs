//! Whether TLS between sidecars is what the spec says: pure, from the documents of a service and of those that call it.

use kube::ResourceExt;
use serde_json::Value;
use shop_crds::{ShopService, service::auth::MtlsMode};

/// What is waited for, each as a sentence that says what to look at. `own` is the document of the active revision; `callers` are
/// the services of the namespace that have this one in `dependsOn`, with theirs.
pub fn waits(service: &ShopService, own: Option<&Value>, callers: &[(String, Option<Value>)]) -> Vec<String> {
    let Some(auth) = service.spec.auth.as_ref().filter(|_| is_asked_for(service)) else {
        return Vec::new();
    };
    let name = service.name_any();
    let told = own.and_then(|document| document.pointer("/auth/mtls"));
    let listed = |caller: &str| {
        auth.callers.is_empty()
            || auth.callers.iter().any(|one| one.namespace.is_none() && one.name == caller)
    };
    let plain: Vec<&(String, Option<Value>)> = callers
        .iter()
        .filter(|(caller, document)| listed(caller) && !calls_by_tls(document.as_ref(), &name))
        .collect();
    let in_force = told.is_some_and(|told| {
        (auth.mtls() != MtlsMode::Strict || told["mode"] == "strict")
            && told["callers"].is_null() == auth.callers.is_empty()
    });
    let words = if auth.mtls() == MtlsMode::Strict { "auth.mtls: strict" } else { "auth.callers" };
    if in_force {
        let refused = plain.into_iter().map(|(caller, _)| {
            format!("{caller} calls {name} without TLS and is refused, by {words}; look at it with kubectl shop why {caller}")
        });
        return refused.collect();
    }
    if plain.is_empty() {
        return vec![format!(
            "{words} is not in force yet: certificates are on their way to the pods; wait two minutes"
        )];
    }
    let names: Vec<&str> = plain.iter().map(|(caller, _)| caller.as_str()).collect();
    vec![format!(
        "{words} is not in force yet: called without TLS by {}; wait two minutes, then look at what keeps it with kubectl shop why {}",
        names.join(", "),
        names.first().unwrap_or(&"")
    )]
}

/// Whether the spec asks for something that callers must be ready for.
pub fn is_asked_for(service: &ShopService) -> bool {
    let auth = service.spec.auth.as_ref();
    auth.is_some_and(|auth| auth.mtls() == MtlsMode::Strict || !auth.callers.is_empty())
}

/// Whether `caller` depends on the service.
pub fn calls(caller: &ShopService, service: &ShopService) -> bool {
    let name = service.name_any();
    let depends = caller.spec.depends_on.iter().any(|one| one.host.is_none() && one.name == name);
    depends && caller.name_any() != name && caller.namespace() == service.namespace()
}

fn calls_by_tls(document: Option<&Value>, name: &str) -> bool {
    let called = document.and_then(|document| document["dependsOn"].as_array());
    called.into_iter().flatten().any(|one| one["name"] == name && one.pointer("/tls/sidecar").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(auth: &Value) -> ShopService {
        serde_json::from_value(json!({
            "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService", "metadata": {"name": "order"},
            "spec": {"image": "a:1", "port": 8080, "auth": auth},
        }))
        .unwrap()
    }

    fn caller(tls: bool) -> (String, Option<Value>) {
        let id = tls.then(|| json!({"sidecar": "spiffe://cluster.local/ns/shop/svc/order"}));
        ("cart".into(), Some(json!({"dependsOn": [{"name": "order", "tls": id}]})))
    }

    #[test]
    fn strict_waits_for_callers_and_names_them() {
        let strict = service(&json!({"mtls": "strict"}));
        let waits = |own: &str, callers: &[(String, Option<Value>)]| {
            let own = json!({"auth": {"mtls": {"mode": own}}});
            waits(&strict, Some(&own), callers).into_iter().next().unwrap_or_default()
        };
        assert!(
            waits("permissive", &[caller(false)]).contains("called without TLS by cart; wait two minutes")
        );
        assert!(waits("permissive", &[caller(true)]).contains("on their way"));
        assert!(
            waits("strict", &[("old".into(), None)]).contains("old calls order without TLS and is refused")
        );
        assert_eq!(waits("strict", &[caller(true)]), "");
        assert_eq!(super::waits(&service(&json!({"mtls": "permissive"})), None, &[caller(false)]), [""; 0]);
    }
}
