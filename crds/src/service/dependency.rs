//! What the container calls, and how its sidecar does that for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Percent, Span};

/// One service that the container calls through its sidecar. Name, `localPort` and `protocol` make a new revision, the rest changes live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of a ShopService in the same namespace, or any name for another `host`. The container calls it by this name through
    /// its HTTP proxy, and finds its address in the variable `SHOP_<NAME>_URL`.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// A host that is no ShopService, as in `pay.example.com` or `pay.example.com:8080`; called without TLS unless `tls` is set.
    /// Without it the pods of the ShopService are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// The sidecar calls `host` by TLS, on port 443 unless it names another one, and checks its certificate by the roots that
    /// browsers have; the container itself calls without TLS. Of ShopServices `auth.mtls` of theirs decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// What is spoken to it: `http`, the default, or `tcp`, bytes, as to a database. Of tcp connections are balanced, tried again
    /// at other pods until one takes them, counted by `circuitBreaker` and bounded by `bulkhead`; `localPort` must be written, and
    /// `host` with its port. A change makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<DependencyProtocol>,
    /// Port on 127.0.0.1 for this dependency alone, for clients that know no HTTP proxy: gRPC, Java, Node. 9440 to 9442 are the
    /// sidecar's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub local_port: Option<i32>,
    /// How long all tries together may take until an answer begins; default 15s. Less, if the request that is being answered has
    /// less left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long one try may take; default: as long as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub try_timeout: Option<Span>,
    /// Tries after the first one; default 2. Only of requests that may be repeated: by GET, HEAD, OPTIONS, TRACE, PUT or DELETE, or
    /// with an `Idempotency-Key`. What did not leave moves on to another pod in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: Option<i32>,
    /// Which pod gets a request: `leastRequest` is the one with fewer requests under way of two random ones, `weighted` more often
    /// those that answer quickly, `consistentHash` the same one for equal keys.
    #[serde(default)]
    pub balance: Balance,
    /// With `balance: consistentHash`: the header whose value is the key; default: the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub hash_header: Option<String>,
    /// Leaves it alone for a while when most requests to it fail. `{}` has the defaults; without it that never happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bounds what a slow dependency can take hold of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// What a GET is answered when there is no answer, or one with status 502 to 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// What is spoken to a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DependencyProtocol {
    /// HTTP/1.1, and HTTP/2 without TLS.
    Http,
    /// Bytes.
    Tcp,
}

/// Which pod gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Balance {
    /// The one with fewer requests under way, of two random ones.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// More often those that answer quickly.
    Weighted,
    /// The same for equal keys.
    ConsistentHash,
}

/// When a dependency is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Fewer requests than this in `window` say nothing; default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub requests: Option<i32>,
    /// Share of failed requests at which it opens; default 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Percent>,
    /// How far back requests count; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// How long everything is refused; default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Span>,
    /// Requests that are tried after it, all of which must go well; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub trials: Option<i32>,
}

/// How much may be under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Bulkhead {
    /// Requests of one pod; more are answered 503 at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: i32,
}

/// What a GET is answered when there is no answer. Exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Fallback {
    /// Always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<FixedAnswer>,
    /// The last one with status 200 to the same path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<LastGood>,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct FixedAnswer {
    /// Its status; default 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<i32>,
    /// Its `Content-Type`; default `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub content_type: Option<String>,
    /// Its body, at most 8 KiB.
    #[schemars(length(max = 8192))]
    pub body: String,
}

/// Answers that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct LastGood {
    /// Beginnings of paths whose answers are the same for everybody. Answers to requests with `Authorization` or `Cookie` are never
    /// kept, but an app may say who asks in other ways: list no path whose answer depends on it.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub paths: Vec<String>,
    /// How old an answer may be; default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

/// What holds where nothing is said.
pub mod defaults {
    use crate::Span;

    /// Of all tries together.
    pub const TIMEOUT: Span = Span::secs(15);
    /// After the first try.
    pub const RETRIES: i32 = 2;
    /// Requests without which a circuit stays closed.
    pub const REQUESTS: i32 = 20;
    /// Failures in percent at which it opens.
    pub const ERRORS: u32 = 50;
    /// How far back they count.
    pub const WINDOW: Span = Span::secs(10);
    /// How long it stays open.
    pub const OPEN: Span = Span::secs(5);
    /// Requests that close it.
    pub const TRIALS: i32 = 3;
    /// How old a last good answer may be.
    pub const MAX_AGE: Span = Span::secs(300);
}
