//! Which requests a rule is for: by path and method. Faults go by it as well.

use std::borrow::Cow;

use http::Method;
use shop_contract::RouteMatch;

/// A resolved [`RouteMatch`].
#[derive(Debug)]
pub(crate) struct Route {
    path: Option<Prefix>,
    method: Option<Method>,
    /// Its method is none. Accepted documents have none of these.
    never: bool,
}

/// A path, and all below it.
#[derive(Debug)]
enum Prefix {
    /// Without a slash at its end.
    Plain(Box<str>),
    /// By its segments; `None`: any.
    Segments(Vec<Option<Box<str>>>),
}

impl Prefix {
    fn new(path: &str) -> Self {
        let path = path.trim_end_matches('/');
        let is_any = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
        if !path.split('/').any(is_any) {
            return Self::Plain(path.into());
        }
        let segment = |segment: &str| (!is_any(segment)).then(|| segment.into());
        Self::Segments(path.split('/').map(segment).collect())
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Plain(prefix) => is_below(prefix, path),
            Self::Segments(wanted) => {
                let mut found = path.split('/');
                wanted.iter().all(|wanted| {
                    found.next().is_some_and(|found| match wanted {
                        Some(wanted) => **wanted == *found,
                        None => !found.is_empty(),
                    })
                })
            }
        }
    }
}

impl Route {
    pub(crate) fn new(wanted: &RouteMatch) -> Self {
        let method = wanted.method.as_ref().and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        Self {
            path: wanted.path.as_deref().map(Prefix::new),
            never: method.is_some() != wanted.method.is_some(),
            method,
        }
    }

    /// Whether a request is one of these.
    pub(crate) fn fits(&self, method: &Method, path: &str) -> bool {
        !self.never
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.path.as_ref().is_none_or(|prefix| prefix.fits(&plain(path)))
    }
}

fn is_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path as an app may read it: nobody gets around a limit by writing `/orders` as `//orders`, `/./orders` or `/%6Frders`.
fn plain(path: &str) -> Cow<'_, str> {
    let is_plain = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if is_plain {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    Cow::Owned(segments.iter().flat_map(|segment| ["/", segment]).collect())
}

/// Percent-decoded once; what is no escape stays.
fn decode(path: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escaped = digit(after.first()).zip(digit(after.get(1))).filter(|_| *first == b'%');
        if let Some(byte) = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: Option<&str>, method: Option<&str>) -> Route {
        Route::new(&RouteMatch { path: path.map(Into::into), method: method.map(Into::into) })
    }

    #[test]
    fn a_path_is_all_below_it() {
        let orders = route(Some("/orders"), None);
        for (path, fits) in [
            ("/orders", true),
            ("/orders/", true),
            ("/orders/7", true),
            ("/ordersheet", false),
            ("/", false),
            ("/old/orders", false),
        ] {
            assert_eq!(orders.fits(&Method::GET, path), fits, "{path}");
        }
        assert!(route(Some("/"), None).fits(&Method::GET, "/anything"));
        assert!(route(Some("/orders/"), None).fits(&Method::GET, "/orders"));
    }

    #[test]
    fn a_name_in_braces_is_any_one_segment() {
        let pay = route(Some("/orders/{id}/pay"), None);
        for (path, fits) in [
            ("/orders/7/pay", true),
            ("/orders/7/pay/now", true),
            ("//orders/%37/pay", true),
            ("/orders//pay", false),
            ("/orders/pay", false),
            ("/orders/7/payment", false),
            ("/orders/7", false),
        ] {
            assert_eq!(pay.fits(&Method::GET, path), fits, "{path}");
        }
    }

    #[test]
    fn another_spelling_of_the_path_is_no_way_around() {
        let orders = route(Some("/orders"), None);
        for path in [
            "//orders",
            "/%6Frders",
            "/%6frders/7",
            "/./orders",
            "/shop/../orders",
            "/orders//7",
            "/%2Forders",
        ] {
            assert!(orders.fits(&Method::GET, path), "{path}");
        }
        for path in ["/orders/../admin", "/%zzorders", "/%"] {
            assert!(!orders.fits(&Method::GET, path), "{path}");
        }
    }

    #[test]
    fn path_and_method_must_both_fit() {
        let posts = route(Some("/orders"), Some("POST"));
        assert!(posts.fits(&Method::POST, "/orders"));
        assert!(!posts.fits(&Method::GET, "/orders") && !posts.fits(&Method::POST, "/"));
        assert!(route(None, None).fits(&Method::PUT, "/x"));
    }
}
