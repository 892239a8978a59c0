//! What a sidecar lets in: how much at once, how long, how large.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, at_least_one, range, text};
use crate::traffic::{MAX_METHOD, token};

/// Most rules of a kind.
pub const MAX_RULES: usize = 16;
/// Most requests at once, and most that wait.
const MAX_AT_ONCE: usize = 100_000;

/// Limits on requests that come from callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// How many requests the app works on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Longest time from a request's head to its answer's head, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// Longest body of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Which requests are more or less important than others; the first that fits counts. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<Priority>,
}

/// How many requests the app works on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// So many at once.
    pub max: u32,
    /// So many more wait for a place.
    pub queue: u32,
}

/// Which requests a rule is for: those that have all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteMatch {
    /// The path, and all below it: `/orders` is `/orders/7` too, and not `/ordersheet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How important some requests are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Priority {
    /// Which.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// How important.
    pub class: PriorityClass,
}

/// How important a request is, when not all can be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PriorityClass {
    /// Before all others.
    High,
    /// As one of which nothing is said.
    Normal,
    /// After all others.
    Low,
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), InvalidDocument> {
        if let Some(concurrency) = &self.concurrency {
            let (max, queue) = (concurrency.max as usize, concurrency.queue as usize);
            range("limits.concurrency.max", "1 to 100000", max, 1..=MAX_AT_ONCE)?;
            range("limits.concurrency.queue", "0 to 100000", queue, 0..=MAX_AT_ONCE)?;
        }
        for (field, value) in [
            ("limits.requestTimeoutMs", self.request_timeout_ms),
            ("limits.maxBodyBytes", self.max_body_bytes),
        ] {
            at_least_one(field, value.map_or(1, |value| i64::try_from(value).unwrap_or(i64::MAX)))?;
        }
        range("limits.priority", "at most 16 rules", self.priority.len(), 0..=MAX_RULES)?;
        self.priority.iter().try_for_each(|rule| rule.matches.validate("limits.priority.match.path"))
    }
}

impl RouteMatch {
    fn validate(&self, field: &'static str) -> Result<(), InvalidDocument> {
        if let Some(path) = &self.path {
            text(field, path)?;
        }
        self.method.as_ref().map_or(Ok(()), |method| token("limits.match.method", method, MAX_METHOD))
    }
}
