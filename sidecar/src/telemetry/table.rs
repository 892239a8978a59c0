//! Every metric: name, kind, labels, help. Metrics are made from this table, and the README's table is.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// The word for it in documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name with unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels, each with few values.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Requests that have ended.
pub const REQUESTS: Metric = metric(
    "shop_sidecar_requests_total",
    Kind::Counter,
    &["revision", "colour", "role", "code_class", "protocol"],
    "Requests served here, by class of status and by protocol",
);
/// How long requests take.
pub const DURATION: Metric = metric(
    "shop_sidecar_request_duration_seconds",
    Kind::Histogram,
    &["revision", "colour", "role"],
    "Time from a request's head to the end of its answer, of those served here; upgraded connections left out",
);
/// Requests that have ended, by route.
pub const ROUTE_REQUESTS: Metric = metric(
    "shop_sidecar_route_requests_total",
    Kind::Counter,
    &["route", "code_class"],
    "Requests served here, by route (those of `metrics.routes`, `other`) and by class of status",
);
/// How long requests of a route take.
pub const ROUTE_DURATION: Metric = metric(
    "shop_sidecar_route_duration_seconds",
    Kind::Histogram,
    &["route"],
    "Time from a request's head to the end of its answer, by route; upgraded connections left out",
);
/// Label sets beyond a metric's budget.
pub const OVERFLOWED: Metric = metric(
    "shop_sidecar_series_overflowed_total",
    Kind::Counter,
    &["family"],
    "Label sets that found no room in a metric's budget, and count as `overflow` since",
);
/// Spans that are kept.
pub const SPANS: Metric = metric(
    "shop_sidecar_spans_total",
    Kind::Counter,
    &["kept"],
    "Spans that were kept: `error`, `slow`, as part of the share of the `rest`, or for a service further down (`chain`)",
);
/// Spans that were lost.
pub const SPANS_DROPPED: Metric = metric(
    "shop_sidecar_spans_dropped_total",
    Kind::Counter,
    &["cause"],
    "Kept spans that never reached the collector: no room to wait (`full`), or it took none (`unsent`)",
);
/// Requests under way.
pub const IN_FLIGHT: Metric = metric(
    "shop_sidecar_in_flight",
    Kind::Gauge,
    &[],
    "Requests and streams that were begun and have not ended",
);
/// Open connections.
pub const CONNECTIONS: Metric =
    metric("shop_sidecar_connections", Kind::Gauge, &[], "Inbound connections that are open, idle ones too");
/// Open upgraded connections.
pub const UPGRADED: Metric = metric(
    "shop_sidecar_upgraded_connections",
    Kind::Gauge,
    &[],
    "Inbound connections that became WebSockets or the like",
);
/// Requests answered here.
pub const SERVED: Metric = metric(
    "shop_sidecar_served_total",
    Kind::Counter,
    &[],
    "Requests answered by the app or by the sidecar itself",
);
/// Failed requests.
pub const ERRORS: Metric = metric(
    "shop_sidecar_errors_total",
    Kind::Counter,
    &[],
    "Answers with status 500 and above, of those served here",
);
/// Requests that another revision answers.
pub const HANDED_OVER: Metric =
    metric("shop_sidecar_handed_over_total", Kind::Counter, &[], "Requests that another revision answered");
/// Requests of another revision.
pub const TAKEN_OVER: Metric = metric(
    "shop_sidecar_taken_over_total",
    Kind::Counter,
    &[],
    "Requests that another revision handed to this one",
);
/// Hand-overs that did not work out.
pub const HAND_OFF_FAILURES: Metric = metric(
    "shop_sidecar_hand_off_failures_total",
    Kind::Counter,
    &[],
    "Attempts to hand a request to an address of another revision that failed",
);
/// Requests that the other revision owes an answer.
pub const HAND_OVER_LOST: Metric = metric(
    "shop_sidecar_hand_over_lost_total",
    Kind::Counter,
    &[],
    "Requests that another revision should have answered, and none of its pods did",
);
/// Copies that went well.
pub const MIRRORED: Metric = metric(
    "shop_sidecar_mirrored_total",
    Kind::Counter,
    &[],
    "Copies of requests that another revision answered",
);
/// Copies that did not.
pub const NOT_MIRRORED: Metric = metric(
    "shop_sidecar_mirror_dropped_total",
    Kind::Counter,
    &["cause"],
    "Copies of requests that were not made (`busy`: too many at once; `body`: too long, or not read to its end) or not answered (`unanswered`)",
);
/// Copies that came here.
pub const MIRROR_TAKEN: Metric = metric(
    "shop_sidecar_mirror_taken_total",
    Kind::Counter,
    &[],
    "Copies of requests that another revision sent to this one; in no other number of requests",
);
/// Answers by the sidecar itself.
pub const SELF_ANSWERED: Metric = metric(
    "shop_sidecar_self_answered_total",
    Kind::Counter,
    &["reason"],
    "Requests that the sidecar itself answered, by the word in x-shop-reason",
);
/// Requests that came too often.
pub const RATE_LIMITED: Metric = metric(
    "shop_sidecar_rate_limited_total",
    Kind::Counter,
    &["per"],
    "Requests that were refused because an address (`ip`), a `user` or a `route` had too many, suspended ones included",
);
/// Suspensions.
pub const SUSPENSIONS: Metric = metric(
    "shop_sidecar_suspensions_total",
    Kind::Counter,
    &[],
    "Addresses, users and routes that this pod has suspended",
);
/// Suspensions by other pods.
pub const SUSPENSIONS_HEARD: Metric = metric(
    "shop_sidecar_suspensions_heard_total",
    Kind::Counter,
    &[],
    "Suspensions that pods of the service have told this one, its own included",
);
/// Suspensions that others do not know.
pub const SUSPENSIONS_UNTOLD: Metric = metric(
    "shop_sidecar_suspensions_untold_total",
    Kind::Counter,
    &[],
    "Messages about suspensions that a pod did not take, and suspensions that were in none because there were too many",
);
/// Keys of the rate limits.
pub const LIMITER_KEYS: Metric = metric(
    "shop_sidecar_limiter_keys",
    Kind::Gauge,
    &[],
    "Addresses, users and routes that are remembered for rate limits; at most 110,000",
);
/// Keys that were forgotten.
pub const LIMITER_FORGOTTEN: Metric = metric(
    "shop_sidecar_limiter_forgotten_total",
    Kind::Counter,
    &[],
    "Keys that gave way to new ones before their limits were full again",
);
/// Requests that wait for a place.
pub const WAITING: Metric = metric(
    "shop_sidecar_queue_waiting",
    Kind::Gauge,
    &[],
    "Requests that wait for a place among those that the app works on",
);
/// How long they wait.
pub const QUEUE_WAIT: Metric = metric(
    "shop_sidecar_queue_wait_seconds",
    Kind::Histogram,
    &[],
    "Time in the queue for a place, of those that waited",
);
/// Bytes of connections whose protocol is tcp.
pub const TCP_BYTES: Metric = metric(
    "shop_sidecar_tcp_bytes_total",
    Kind::Counter,
    &["direction"],
    "Bytes of connections of a tcp service: `received` from clients, and `sent` to them",
);
/// How long they last.
pub const TCP_DURATION: Metric = metric(
    "shop_sidecar_tcp_connection_duration_seconds",
    Kind::Histogram,
    &[],
    "Time from the beginning of a connection of a tcp service to its end, of those served here",
);
/// The document in use.
pub const GENERATION: Metric = metric(
    "shop_sidecar_config_generation",
    Kind::Gauge,
    &[],
    "Generation of the document in use; 0 before the first",
);
/// Refused documents.
pub const CONFIG_REFUSED: Metric = metric(
    "shop_sidecar_config_refused_total",
    Kind::Counter,
    &["cause"],
    "Documents and endpoint lists that were refused, by cause",
);
/// What faults did.
pub const FAULTS: Metric = metric(
    "shop_sidecar_faults_total",
    Kind::Counter,
    &["kind"],
    "Requests and calls that a FaultPolicy made slower (`delay`), answered (`abort`) or left without an answer (`drop`)",
);
/// Tokens of requests.
pub const TOKENS: Metric = metric(
    "shop_sidecar_tokens_total",
    Kind::Counter,
    &["outcome"],
    "Tokens of requests: `known` (verified before), `verified`, `refused`",
);
/// Fetches of keys for tokens.
pub const JWKS_FETCHES: Metric = metric(
    "shop_sidecar_jwks_fetches_total",
    Kind::Counter,
    &["outcome"],
    "Fetches of the keys that tokens are verified with: `done`, `failed`",
);
/// Whether keys are old.
pub const JWKS_STALE: Metric = metric(
    "shop_sidecar_jwks_stale",
    Kind::Gauge,
    &[],
    "1 while the last fetch of keys has failed and those from before are used, else 0",
);
/// Handshakes of callers.
pub const HANDSHAKES: Metric = metric(
    "shop_sidecar_tls_handshakes_total",
    Kind::Counter,
    &["outcome"],
    "Callers' handshakes: `full`, `resumed` (a session from before went on), `failed`",
);
/// When the certificate ends.
pub const CERTIFICATE_NOT_AFTER: Metric = metric(
    "shop_sidecar_certificate_not_after_seconds",
    Kind::Gauge,
    &[],
    "When the certificate in use ends, in seconds since 1970; 0 without one",
);
/// Certificates that were mounted.
pub const CERTIFICATES: Metric = metric(
    "shop_sidecar_certificates_total",
    Kind::Counter,
    &["outcome"],
    "Sets of certificate, key and roots that were found in the mounted Secret: `accepted`, `refused`",
);
/// Lost log lines.
pub const LOG_DROPPED: Metric = metric(
    "shop_sidecar_access_log_dropped_total",
    Kind::Counter,
    &[],
    "Access log lines that were dropped because the log's reader was too slow",
);
/// Whether the pod stops.
pub const DRAINING: Metric =
    metric("shop_sidecar_draining", Kind::Gauge, &[], "1 while the pod drains, else 0");

/// Calls out that have ended.
pub const DEPENDENCY_REQUESTS: Metric = metric(
    "shop_sidecar_dependency_requests_total",
    Kind::Counter,
    &["dependency", "code_class"],
    "Calls of the app through the sidecar, by class of the status that the app got; one that was repeated counts once",
);
/// How long calls out take.
pub const DEPENDENCY_DURATION: Metric = metric(
    "shop_sidecar_dependency_request_duration_seconds",
    Kind::Histogram,
    &["dependency"],
    "Time from a call's head to the end of its answer, all its tries together; upgraded connections left out",
);
/// Repeated calls out.
pub const DEPENDENCY_RETRIES: Metric = metric(
    "shop_sidecar_dependency_retries_total",
    Kind::Counter,
    &["dependency"],
    "Tries of calls after their first one; without those that only moved on because a pod could not be reached",
);
/// Pods of a dependency.
pub const DEPENDENCY_ENDPOINTS: Metric = metric(
    "shop_sidecar_dependency_endpoints",
    Kind::Gauge,
    &["dependency"],
    "Addresses that DNS told last of a dependency",
);
/// Dependencies that are left alone.
pub const DEPENDENCY_OPEN: Metric = metric(
    "shop_sidecar_dependency_circuit_open",
    Kind::Gauge,
    &["dependency"],
    "1 from the moment at which a circuit breaker opens until a trial goes well, else 0",
);

/// All of them, in the order of the documentation.
pub const ALL: [Metric; 46] = [
    REQUESTS,
    DURATION,
    ROUTE_REQUESTS,
    ROUTE_DURATION,
    OVERFLOWED,
    SPANS,
    SPANS_DROPPED,
    IN_FLIGHT,
    CONNECTIONS,
    UPGRADED,
    SERVED,
    ERRORS,
    HANDED_OVER,
    TAKEN_OVER,
    HAND_OFF_FAILURES,
    HAND_OVER_LOST,
    MIRRORED,
    NOT_MIRRORED,
    MIRROR_TAKEN,
    SELF_ANSWERED,
    RATE_LIMITED,
    SUSPENSIONS,
    SUSPENSIONS_HEARD,
    SUSPENSIONS_UNTOLD,
    LIMITER_KEYS,
    LIMITER_FORGOTTEN,
    WAITING,
    QUEUE_WAIT,
    TCP_BYTES,
    TCP_DURATION,
    GENERATION,
    CONFIG_REFUSED,
    FAULTS,
    TOKENS,
    JWKS_FETCHES,
    JWKS_STALE,
    HANDSHAKES,
    CERTIFICATE_NOT_AFTER,
    CERTIFICATES,
    LOG_DROPPED,
    DRAINING,
    DEPENDENCY_REQUESTS,
    DEPENDENCY_DURATION,
    DEPENDENCY_RETRIES,
    DEPENDENCY_ENDPOINTS,
    DEPENDENCY_OPEN,
];

/// The table as it stands in the README.
pub fn markdown() -> String {
    let rows = ALL.iter().map(|metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind.as_str(), metric.help)
    });
    format!("| metric | kind | labels | tells |\n| --- | --- | --- | --- |\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_this_table() {
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&markdown()), "write this into sidecar/README.md:\n\n{}", markdown());
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        for (index, metric) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(index + 1).all(|other| other.name != metric.name), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.name.starts_with("shop_sidecar_"));
        }
    }
}
