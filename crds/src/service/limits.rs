//! `spec.limits`: what the sidecar lets in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, Span};

/// What the sidecar lets in. All of it changes live, without a new revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Limits {
    /// How many requests a pod's app works on at once. Others wait, and what could not be answered before its deadline is refused
    /// at once with 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Longest time from a request to the beginning of its answer, else 504; none unless said. What has begun is not cut. gRPC
    /// calls have the deadline that they bring (`grpc-timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Span>,
    /// How long callers are waited for. Changes count on open connections too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Longest body of a request, as in `1Mi`, else 413; none unless said. Messages of gRPC streams are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<Amount>,
    /// Which requests are let in first when not all can be, and which last; the first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub priority: Vec<Priority>,
    /// How often callers may ask, else 429 with `Retry-After`, `RateLimit` and `RateLimit-Policy`. A request must be within all
    /// rules that fit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rate: Vec<Rate>,
    /// How users are told apart where no token says who they are. Anybody can write a header: let a gateway do so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserKey>,
    /// Ranges of addresses that neither `rate` nor `deny` is for, as in `10.0.0.0/8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)))]
    pub allow: Vec<String>,
    /// Ranges of addresses that are answered 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)))]
    pub deny: Vec<String>,
}

/// How long callers are waited for. WebSockets, streams and gRPC calls that have begun have no timeout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Timeouts {
    /// Longest time from the first byte of a request's head to its last, else the connection is closed; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Span>,
    /// Longest wait for more of a request's body before its answer has begun, else 408; default 30s. In the mean of all waits a body
    /// must have 240 bytes a second, after this time, or after 5s where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Span>,
    /// Longest time that a connection has no request, else it is closed; default 1h. Clients that keep connections for longer than a
    /// load balancer in front does lose requests: let this be longer than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
}

/// How often callers may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// What has this many requests of its own: each `ip` (of IPv6 each /64), each `user` (requests without one are not counted),
    /// or the `route`, all requests that fit together.
    pub per: Per,
    /// So many in a window.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i32,
    /// How long the window is. It slides: never more in any span of this length.
    pub window: Span,
    /// Makes it a token bucket: so many at once, and then at the pace of `requests` in `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i32>,
    /// Who asks more often is refused for this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Span>,
    /// Which requests count; all unless said.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "match")]
    pub matches: Option<RouteMatch>,
    /// Requests of one address or user always come to the same pod, because who sends them balances so: then each pod enforces
    /// all of the limit, and not its share of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sticky: bool,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Per {
    /// Each address.
    Ip,
    /// Each user.
    User,
    /// All requests that fit, together.
    Route,
}

/// What users are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserKey {
    /// The value of this header field.
    #[schemars(length(min = 1, max = 128))]
    pub header: String,
}

/// How many requests a pod's app works on at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// So many at once in each pod. A stream counts until it ends, a WebSocket until it is open.
    #[schemars(range(min = 1, max = 100_000))]
    pub max: i32,
    /// So many more may wait in each pod; default: twice `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub queue: Option<i32>,
}

impl Concurrency {
    /// How many may wait.
    pub fn queue(&self) -> i32 {
        self.queue.unwrap_or_else(|| self.max.saturating_mul(2).min(100_000))
    }
}

/// Which requests a rule is for: those that have all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// This path and all below it: `/orders` is `/orders/7` too. `{name}` stands for any one segment, as in `/orders/{id}/pay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub path: Option<String>,
    /// This method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub method: Option<String>,
}

/// How important some requests are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Priority {
    /// Which requests.
    #[serde(rename = "match")]
    #[schemars(rename = "match")]
    pub matches: RouteMatch,
    /// `high`: before all others; `low`: after all others, and given up first.
    pub class: PriorityClass,
}

/// How important a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The same with defaults filled in and quantities in bytes; `None` where nothing is limited.
    pub fn resolved(&self) -> Option<Self> {
        let resolved = Self {
            concurrency: self
                .concurrency
                .as_ref()
                .map(|concurrency| Concurrency { max: concurrency.max, queue: Some(concurrency.queue()) }),
            max_body_bytes: self
                .max_body_bytes
                .as_ref()
                .and_then(Amount::units)
                .map(|bytes| Amount(bytes.to_string())),
            ..self.clone()
        };
        (resolved != Self::default()).then_some(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in() {
        let written: Limits =
            serde_json::from_str(r#"{"concurrency": {"max": 200}, "maxBodyBytes": "1Mi"}"#).unwrap();
        let resolved = written.resolved().unwrap();
        assert_eq!(resolved.concurrency, Some(Concurrency { max: 200, queue: Some(400) }));
        assert_eq!(resolved.max_body_bytes, Some(Amount("1048576".into())));
        assert_eq!(resolved.resolved().as_ref(), Some(&resolved));
        assert_eq!(Limits::default().resolved(), None);
    }
}
