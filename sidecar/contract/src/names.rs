//! Ports, paths, headers and environment variables that both sides rely on.

/// Ports of the sidecar. A service's own port must be another one.
pub mod ports {
    /// Inbound: HTTP/1.1, HTTP/2, gRPC, WebSocket.
    pub const INBOUND: u16 = 9440;
    /// Outbound, loopback only.
    pub const OUTBOUND: u16 = 9441;
    /// Probes, metrics, statistics, configuration.
    pub const ADMIN: u16 = 9442;
}

/// Paths of the admin port.
pub mod paths {
    /// App and sidecar can serve.
    pub const READY: &str = "/readyz";
    /// The sidecar's listeners are up.
    pub const LIVE: &str = "/livez";
    /// Prometheus text format.
    pub const METRICS: &str = "/metrics";
    /// [`crate::Stats`] as JSON.
    pub const STATS: &str = "/stats";
    /// The app's preStop hook: answers when the inbound side is idle.
    pub const DRAIN: &str = "/drain";
    /// The role of this pod, for background work; long poll with `?epoch=N`.
    pub const ROLE: &str = "/role";
    /// Told by other pods of the service: who is suspended, under the service's MAC.
    pub const SUSPEND: &str = "/suspend";
    /// A signed [`crate::Push`]; answers with a [`crate::Acknowledgement`].
    pub const CONFIG: &str = "/config";
}

/// Headers of requests and answers.
pub mod headers {
    /// A request handed over by another revision: who it came from, under the service's MAC.
    pub const HANDOVER: &str = "x-shop-handover";
    /// A copy of a request whose answer nobody waits for: `1`. Apps that write elsewhere must leave that out for it.
    pub const MIRROR: &str = "x-shop-mirror";
    /// Why the sidecar itself answered; one word of [`super::reasons`].
    pub const REASON: &str = "x-shop-reason";
    /// Of a request: its sender wants to know whether the trace is kept (`tell`). Of an answer: it is (`keep`).
    pub const TRACE: &str = "x-shop-trace";
    /// The request's identity in logs, made where it is missing.
    pub const REQUEST_ID: &str = "x-request-id";
    /// Milliseconds that are left for an answer, spent hop by hop.
    pub const DEADLINE: &str = "x-shop-deadline-ms";
    /// SPIFFE id of the service that sent a request, by its certificate; what a caller writes there is removed.
    pub const CALLER: &str = "x-shop-caller";
    /// Colour pin of a request.
    pub const RELEASE: &str = "x-shop-release";
}

/// The closed list of words in [`headers::REASON`].
pub mod reasons {
    /// The pod stops and takes nothing new.
    pub const DRAINING: &str = "draining";
    /// The app could not be reached.
    pub const APP_UNREACHABLE: &str = "app-unreachable";
    /// The app closed the connection before it answered.
    pub const APP_RESET: &str = "app-reset";
    /// What the app sent is no answer, or one that can be read in two ways.
    pub const BAD_ANSWER: &str = "bad-answer";
    /// More connections than `sidecar.maxConnections`.
    pub const TOO_MANY_CONNECTIONS: &str = "too-many-connections";
    /// The request itself is malformed.
    pub const BAD_REQUEST: &str = "bad-request";
    /// More or longer header fields than allowed.
    pub const HEAD_TOO_LARGE: &str = "head-too-large";
    /// Protocol or method that the sidecar does not pass on.
    pub const NOT_SUPPORTED: &str = "not-supported";
    /// `Max-Forwards` said that the request goes no further.
    pub const MAX_FORWARDS: &str = "max-forwards";
    /// The caller sent its body too slowly.
    pub const BODY_TOO_SLOW: &str = "body-too-slow";
    /// No token, where one is needed.
    pub const TOKEN_MISSING: &str = "token-missing";
    /// A token that is not good: of somebody else, for somebody else, or none at all.
    pub const TOKEN_INVALID: &str = "token-invalid";
    /// A token whose time is over.
    pub const TOKEN_EXPIRED: &str = "token-expired";
    /// Tokens cannot be verified yet: their keys were never reached.
    pub const TOKEN_KEYS_MISSING: &str = "token-keys-missing";
    /// A dependency failed so often that it is left alone for a moment; what was asked was not sent.
    pub const CIRCUIT_OPEN: &str = "circuit-open";
    /// More requests to a dependency are under way than `bulkhead.maxInFlight`; what was asked was not sent.
    pub const BULKHEAD_FULL: &str = "bulkhead-full";
    /// A dependency failed, and too many requests to it have been repeated already to repeat this one.
    pub const RETRY_BUDGET: &str = "retry-budget";
    /// A dependency did not answer within its timeout, or within what the request had left.
    pub const DEADLINE: &str = "deadline";
    /// No pod of a dependency could be reached.
    pub const DEPENDENCY_UNREACHABLE: &str = "dependency-unreachable";
    /// A dependency closed the connection before it answered.
    pub const DEPENDENCY_RESET: &str = "dependency-reset";
    /// A dependency answered 502, 503 or 504, and its fallback is answered instead.
    pub const DEPENDENCY_FAILED: &str = "dependency-failed";
    /// More requests at once than `limits.concurrency` lets in and wait.
    pub const QUEUE_FULL: &str = "queue-full";
    /// By the time that others take, the request could not have been answered before its deadline.
    pub const WOULD_MISS_DEADLINE: &str = "would-miss-deadline";
    /// The deadline that came with the request has passed.
    pub const DEADLINE_EXCEEDED: &str = "deadline-exceeded";
    /// No answer within `limits.requestTimeout`.
    pub const REQUEST_TIMEOUT: &str = "request-timeout";
    /// A body of more than `limits.maxBodyBytes`.
    pub const BODY_TOO_LARGE: &str = "body-too-large";
    /// More requests than `limits.rate` allows.
    pub const RATE_LIMITED: &str = "rate-limited";
    /// So many more that nothing is let in for a while.
    pub const SUSPENDED: &str = "suspended";
    /// The address is one of `limits.deny`.
    pub const ADDRESS_DENIED: &str = "address-denied";
    /// A plain connection, where TLS with a certificate is asked for.
    pub const TLS_REQUIRED: &str = "tls-required";
    /// The caller's certificate is of a service that `auth.callers` does not list.
    pub const CALLER_DENIED: &str = "caller-denied";
    /// A `FaultPolicy` asked for it.
    pub const FAULT: &str = "fault";
    /// All of them, for metrics that want a closed label set.
    pub const ALL: [&str; 32] = [
        DRAINING,
        APP_UNREACHABLE,
        APP_RESET,
        BAD_ANSWER,
        TOO_MANY_CONNECTIONS,
        BAD_REQUEST,
        HEAD_TOO_LARGE,
        NOT_SUPPORTED,
        MAX_FORWARDS,
        BODY_TOO_SLOW,
        TOKEN_MISSING,
        TOKEN_INVALID,
        TOKEN_EXPIRED,
        TOKEN_KEYS_MISSING,
        CIRCUIT_OPEN,
        BULKHEAD_FULL,
        RETRY_BUDGET,
        DEADLINE,
        DEPENDENCY_UNREACHABLE,
        DEPENDENCY_RESET,
        DEPENDENCY_FAILED,
        QUEUE_FULL,
        WOULD_MISS_DEADLINE,
        DEADLINE_EXCEEDED,
        REQUEST_TIMEOUT,
        BODY_TOO_LARGE,
        RATE_LIMITED,
        SUSPENDED,
        ADDRESS_DENIED,
        TLS_REQUIRED,
        CALLER_DENIED,
        FAULT,
    ];
}

/// Files of the mounted Secret that have the same name whatever they hold; they change there together.
pub mod files {
    /// Certificate of the service, PEM, with what it takes to get from it to a root.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its private key, PEM, PKCS 8.
    pub const PRIVATE_KEY: &str = "tls.key";
    /// Roots that other services' certificates come from, PEM: the one in use, and for a while the one before or after it.
    pub const ROOTS: &str = "ca.crt";
}

/// Environment variables by which the operator starts a sidecar.
pub mod env {
    /// Directory with `document.json`: the mounted ConfigMap.
    pub const CONFIG_DIR: &str = "SHOP_CONFIG_DIR";
    /// DNS server to ask in place of those of the system, for trying and debugging: `address:port`.
    pub const DNS: &str = "SHOP_DNS";
    /// Directory with one file per MAC key, named by key id: the mounted Secret.
    pub const KEYS_DIR: &str = "SHOP_KEYS_DIR";
    /// Directory that outlives the container: the emptyDir with the last accepted document.
    pub const STATE_DIR: &str = "SHOP_STATE_DIR";
    /// File name of the document in the first and the last of these.
    pub const DOCUMENT_FILE: &str = "document.json";
}
