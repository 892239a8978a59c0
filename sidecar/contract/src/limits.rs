//! What a sidecar lets in: how much at once, how long, how large.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, at_least_one, range, text};
use crate::network::Network;
use crate::traffic::{MAX_METHOD, token};

/// Most rules of a kind.
pub const MAX_RULES: usize = 16;
/// Most ranges of addresses in a list.
const MAX_NETWORKS: usize = 64;
/// Most requests in a window.
const MAX_REQUESTS: usize = 1_000_000;
/// Longest window and suspension: a day.
const MAX_WINDOW_MS: usize = 86_400_000;
/// Longest name of a header.
const MAX_NAME: usize = 128;
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
    /// How long callers are waited for; absent: as the sidecar has it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Longest body of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Which requests are more or less important than others; the first that fits counts. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<Priority>,
    /// How often callers may ask. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate: Vec<Rate>,
    /// How users are told apart when no token says who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserKey>,
    /// Ranges of addresses that neither `rate` nor `deny` is for. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Ranges of addresses that are refused. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// How long callers are waited for, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// From the first byte of a head to its last; absent: 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_ms: Option<u64>,
    /// For more of a body, before an answer has begun; absent: 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_ms: Option<u64>,
    /// Without a request; absent: an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
}

impl Timeouts {
    fn validate(&self) -> Result<(), InvalidDocument> {
        for (field, value) in [
            ("limits.timeouts.headerMs", self.header_ms),
            ("limits.timeouts.bodyMs", self.body_ms),
            ("limits.timeouts.idleMs", self.idle_ms),
        ] {
            let value = usize::try_from(value.unwrap_or(1)).unwrap_or(usize::MAX);
            range(field, "1 ms to a day", value, 1..=MAX_WINDOW_MS)?;
        }
        Ok(())
    }
}

/// How often callers may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// What has this many requests of its own.
    pub per: Per,
    /// So many in a window.
    pub requests: u32,
    /// In milliseconds.
    pub window_ms: u64,
    /// With it a token bucket: so many at once, and then at the pace of the window. Without it a sliding window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Who asks more often is refused for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_ms: Option<u64>,
    /// Which requests count; absent: all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<RouteMatch>,
    /// Whether requests of one user always come to the same pod: then each pod enforces all of it, not its share.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky: bool,
}

// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Per {
    /// Each IPv4 address, and each /64 of IPv6.
    Ip,
    /// Each user; requests without one are not counted.
    User,
    /// All requests that fit, together.
    Route,
}

impl Per {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ip, Self::User, Self::Route];

    /// The word for it in labels and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::User => "user",
            Self::Route => "route",
        }
    }
}

/// What users are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserKey {
    /// The value of this header field.
    pub header: String,
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
        self.timeouts.as_ref().map_or(Ok(()), Timeouts::validate)?;
        range("limits.priority", "at most 16 rules", self.priority.len(), 0..=MAX_RULES)?;
        self.priority.iter().try_for_each(|rule| rule.matches.validate("limits.priority.match.path"))?;
        range("limits.rate", "at most 16 rules", self.rate.len(), 0..=MAX_RULES)?;
        self.rate.iter().try_for_each(Rate::validate)?;
        if let Some(user) = &self.user {
            token("limits.user.header", &user.header, MAX_NAME)?;
        }
        for (field, list) in [("limits.allow", &self.allow), ("limits.deny", &self.deny)] {
            range(field, "at most 64 ranges", list.len(), 0..=MAX_NETWORKS)?;
            for network in list {
                network.parse::<Network>().map_err(|why| InvalidDocument::Network(field, why))?;
            }
        }
        Ok(())
    }
}

impl Rate {
    fn validate(&self) -> Result<(), InvalidDocument> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let suspend = size(self.suspend_ms.unwrap_or(0));
        range("limits.rate.requests", "1 to 1000000", self.requests as usize, 1..=MAX_REQUESTS)?;
        range("limits.rate.windowMs", "1 ms to a day", size(self.window_ms), 1..=MAX_WINDOW_MS)?;
        range("limits.rate.suspendMs", "at most a day", suspend, 0..=MAX_WINDOW_MS)?;
        let burst = self.burst.unwrap_or(1) as usize;
        range("limits.rate.burst", "1 to 1000000", burst, 1..=MAX_REQUESTS)?;
        self.matches.as_ref().map_or(Ok(()), |route| route.validate("limits.rate.match.path"))
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
