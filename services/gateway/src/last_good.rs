//! What a service last answered to everybody, for when it cannot be reached.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// Answers that are kept, and the longest of them: 16 MiB in all.
const ANSWERS: usize = 256;
/// See [`ANSWERS`].
pub(crate) const LONGEST: usize = 64 * 1024;
/// How old one may be.
const OLDEST: Duration = Duration::from_mins(10);
/// One that is younger is not replaced: under load few are looked at.
const YOUNG: Duration = Duration::from_secs(5);
/// Says that an answer is not what the service would say now.
const DEGRADED: HeaderName = HeaderName::from_static("x-shop-degraded");

/// The answers, by path and query.
#[derive(Default)]
pub(crate) struct LastGood(Mutex<HashMap<String, Kept>>);

struct Kept {
    at: Instant,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl LastGood {
    /// Whether an answer to this is wanted now.
    pub(crate) fn wants(&self, path: &str) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(path).is_none_or(|one| one.at.elapsed() > YOUNG)
    }

    /// Keeps one; when there are too many, the oldest goes.
    pub(crate) fn keep(&self, path: &str, content_type: Option<&HeaderValue>, body: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= ANSWERS && !kept.contains_key(path) {
            let oldest = kept.iter().min_by_key(|(_, one)| one.at).map(|(path, _)| path.clone());
            oldest.map(|path| kept.remove(&path));
        }
        let one = Kept { at: Instant::now(), content_type: content_type.cloned(), body: body.clone() };
        kept.insert(path.to_owned(), one);
    }

    /// The answer to this, if it is not too old.
    pub(crate) fn answer(&self, path: &str) -> Option<Response> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.get(path).filter(|one| one.at.elapsed() < OLDEST)?;
        let mut response = Response::new(Body::from(one.body.clone()));
        let headers = response.headers_mut();
        headers.insert(DEGRADED, HeaderValue::from_static("last-good"));
        headers.insert(header::AGE, one.at.elapsed().as_secs().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(content_type) = &one.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        Some(response)
    }
}
