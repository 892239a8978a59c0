//! Places that need no token.

use http::Method;
use shop_contract::Open;

/// A path with what is below it, and methods.
#[derive(Debug)]
pub(super) struct Place {
    /// Without slash at its end; empty: everything.
    path: Box<str>,
    methods: Vec<Method>,
}

impl Place {
    pub(super) fn new(open: &Open) -> Self {
        let methods = open.methods.iter().filter_map(|method| Method::from_bytes(method.as_bytes()).ok());
        Self { path: open.path.trim_end_matches('/').into(), methods: methods.collect() }
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        let rest = path.strip_prefix(&*self.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && (self.methods.is_empty() || self.methods.contains(method))
    }
}

/// Whether a request needs no token. A path that an app could read as another one always needs one.
pub(super) fn is_open(places: &[Place], method: &Method, path: &str) -> bool {
    places.iter().any(|place| place.fits(method, path)) && is_plain(path)
}

/// Whether all servers read the path in the same way: no dot segments, none that are empty, nothing encoded but spaces and
/// letters beyond ASCII.
fn is_plain(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    !path.contains(['\\', ';'])
        && !path.split('/').skip(1).any(odd)
        && (!path.contains('%') || is_plainly_encoded(path.as_bytes()))
}

/// Not valid as UTF-8: what an old decoder may still take for a dot or a slash.
fn is_plainly_encoded(path: &[u8]) -> bool {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) if high >= 8 || (high, low) == (2, 0) => decoded.push(high << 4 | low),
            _ => return false,
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> Vec<Place> {
        let place = |path: &str, methods: &[&str]| {
            Place::new(&Open {
                path: path.into(),
                methods: methods.iter().map(|one| (*one).into()).collect(),
            })
        };
        vec![place("/healthz", &[]), place("/products/", &["GET", "HEAD"]), place("/.well-known", &[])]
    }

    #[test]
    fn places_are_whole_segments() {
        for (method, path, open) in [
            (Method::GET, "/healthz", true),
            (Method::POST, "/healthz/", true),
            (Method::GET, "/products", true),
            (Method::GET, "/products/7/reviews", true),
            (Method::GET, "/products/gr%C3%BCn%20tea", true),
            (Method::POST, "/products/7", false),
            (Method::GET, "/products-old", false),
            (Method::GET, "/Products", false),
            (Method::GET, "/", false),
            (Method::GET, "/.well-known/jwks.json", true),
            (Method::GET, "*", false),
        ] {
            assert_eq!(is_open(&places(), &method, path), open, "{method} {path}");
        }
        let all = [Place::new(&Open { path: "/".into(), methods: vec!["OPTIONS".into()] })];
        assert!(is_open(&all, &Method::OPTIONS, "/orders/7") && is_open(&all, &Method::OPTIONS, "/"));
        assert!(!is_open(&all, &Method::GET, "/orders/7"));
    }

    #[test]
    fn a_way_out_needs_a_token() {
        for path in [
            "/products/../orders",
            "/products/./x",
            "/products//orders",
            "/products/%2e%2E/orders",
            "/products/..%2forders",
            "/products/..;/orders",
            "/products/%5c..%5corders",
            "/products/\\..\\orders",
            "/products/%252e%252e/orders",
            "/products/x%00",
            "/products/%%32e%%32e/orders",
            "/products/%c0%ae%c0%ae/orders",
            "/products/%",
        ] {
            assert!(!is_open(&places(), &Method::GET, path), "{path}");
        }
    }

    /// As servers do that are generous: decodes twice, drops parameters, resolves dots.
    fn generous(path: &str) -> String {
        let decode = |text: &str| {
            let mut out = String::new();
            let mut rest = text;
            while let Some(at) = rest.find('%') {
                out.push_str(&rest[..at]);
                let code = rest.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
                out.push(code.map_or('%', char::from));
                rest = &rest[at + if code.is_some() { 3 } else { 1 }..];
            }
            out + rest
        };
        let text = decode(&decode(path)).replace('\\', "/");
        let mut kept: Vec<&str> = Vec::new();
        for part in text.split('/').map(|part| part.split(';').next().unwrap_or_default()) {
            match part {
                "" | "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        format!("/{}", kept.join("/"))
    }

    proptest! {
        #[test]
        fn what_is_open_is_open_to_generous_servers_too(
            parts in proptest::collection::vec("(\\.|\\.\\.|%2e|%2E\\.|%252e|%2f|%5c|;|;a|\\\\|a|orders|%61|/|%|%%32e|%C3%BC|%20)", 0..8),
        ) {
            let path = format!("/products/{}", parts.join("/"));
            if is_open(&places(), &Method::GET, &path) {
                let read = generous(&path);
                prop_assert!(read == "/products" || read.starts_with("/products/"), "{path} is {read}");
            }
        }
    }
}
