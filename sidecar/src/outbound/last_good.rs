//! The last good answers of a dependency, for when there is none.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use shop_contract::Fallback;

/// Answers that are kept of one dependency.
const MOST: usize = 64;
/// Longest body that is kept.
pub(super) const LONGEST: usize = 32 * 1024;
/// Longest path with query that is kept.
const LONGEST_PATH: usize = 1_024;

/// Answers by path and query.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    kept: Mutex<HashMap<String, Good>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Good {
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
    /// When it came, on the sidecar's clock.
    pub(super) at: Duration,
}

impl LastGood {
    pub(super) fn put(&self, path: &str, good: Good) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST && !kept.contains_key(path) {
            let oldest = kept.iter().min_by_key(|(_, good)| good.at).map(|(path, _)| path.clone());
            kept.remove(&oldest.unwrap_or_default());
        }
        kept.insert(path.to_owned(), good);
    }

    /// The answer to this path, if it is not older than this.
    pub(super) fn get(&self, path: &str, max_age: Duration, now: Duration) -> Option<Good> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(path).filter(|good| now.saturating_sub(good.at) <= max_age).cloned()
    }
}

/// Whether the answer to a request may be kept for others, as far as the request says. One that says who asks never is.
pub(super) fn is_for_all(
    fallback: Option<&Fallback>,
    method: &Method,
    path: &str,
    fields: &HeaderMap,
) -> bool {
    let Some(Fallback::LastGood { paths, .. }) = fallback else { return false };
    let personal = [header::AUTHORIZATION, header::COOKIE, header::RANGE];
    *method == Method::GET
        && path.len() <= LONGEST_PATH
        && paths.iter().any(|prefix| path.starts_with(prefix.as_str()))
        && !personal.iter().any(|name| fields.contains_key(name))
}

/// Whether an answer may be kept for others, as far as it says itself.
pub(super) fn is_good(status: StatusCode, fields: &HeaderMap, length: Option<u64>) -> bool {
    let text = |name| fields.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let control = text(header::CACHE_CONTROL).unwrap_or_default();
    let varies = text(header::VARY).is_some_and(|vary| !vary.eq_ignore_ascii_case("accept-encoding"));
    status == StatusCode::OK
        && length.is_some_and(|length| length <= LONGEST as u64)
        && !["private", "no-store"].iter().any(|word| control.contains(word))
        && !fields.contains_key(header::SET_COOKIE)
        && !varies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let kept = LastGood::default();
        let at = Duration::from_secs;
        for number in 0..=MOST as u64 {
            let good = Good { fields: HeaderMap::new(), body: Bytes::from_static(b"a"), at: at(number) };
            kept.put(&format!("/{number}"), good);
        }
        assert!(kept.get("/0", at(1_000), at(64)).is_none());
        assert!(kept.get("/64", at(0), at(64)).is_some());
        assert!(kept.get("/1", at(62), at(64)).is_none(), "too old");
        assert_eq!(kept.kept.lock().expect("lock").len(), MOST);
    }

    #[test]
    fn what_is_one_persons_is_not_kept() {
        let fallback = Fallback::LastGood { paths: vec!["/products".into()], max_age_ms: 1 };
        let takes = |method: &Method, path: &str, field: Option<&'static str>| {
            let fields = field.map(|name| (name.parse().expect("name"), "x".parse().expect("value")));
            is_for_all(Some(&fallback), method, path, &fields.into_iter().collect())
        };
        assert!(takes(&Method::GET, "/products/1?a=b", None));
        assert!(!takes(&Method::POST, "/products/1", None));
        assert!(!takes(&Method::GET, "/orders", None));
        assert!(!takes(&Method::GET, "/products", Some("authorization")));
        assert!(!takes(&Method::GET, "/products", Some("cookie")));
        let answer = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().expect("name"), value.parse().expect("value"))])
        };
        assert!(is_good(StatusCode::OK, &answer("vary", "Accept-Encoding"), Some(1)));
        for (name, value) in [("set-cookie", "a=b"), ("cache-control", "private"), ("vary", "cookie")] {
            assert!(!is_good(StatusCode::OK, &answer(name, value), Some(1)), "{name}");
        }
        assert!(!is_good(StatusCode::NOT_FOUND, &HeaderMap::new(), Some(1)));
        assert!(!is_good(StatusCode::OK, &HeaderMap::new(), None));
    }
}
