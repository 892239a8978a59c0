//! What operator and sidecars exchange: the configuration document, the pushed endpoints, the acknowledgement and the
//! statistics. Both sides use these types, so that neither can send what the other does not know.
//!
//! Nothing here does I/O or signs anything: `operator` signs and sends, `sidecar` verifies and serves.

mod auth;
mod dependency;
mod document;
mod fault;
mod limits;
mod names;
mod network;
mod push;
mod stats;
mod telemetry;
mod traffic;

pub use auth::{
    Auth, ClaimHeader, Jwt, JwtKeys, MAX_CALLERS, MAX_CLAIM_HEADERS, MAX_OPEN, Mtls, MtlsMode, Open,
    RESERVED_HEADERS, RESERVED_PREFIXES, USER_HEADER,
};
pub use dependency::{
    Balance, CircuitBreaker, Dependency, DependencyProtocol, DependencyTls, Fallback, MAX_ANSWER,
    MAX_DEPENDENCIES, MAX_PATHS, MAX_RETRIES, url_variable,
};
pub use document::{
    App, Colour, Document, Endpoints, HandoverKeys, Identity, InvalidDocument, MAX_TRUSTED_HOPS, Protocol,
    PublicKeys, Readiness, Role, SCHEMA,
};
pub use fault::{Delay, Fault, FaultEnd, FaultMatch, MAX_DELAY_MS, MAX_FAULT_HEADERS, MAX_FAULTS};
pub use limits::{
    Concurrency, Limits, MAX_RULES, Per, Priority, PriorityClass, Rate, RouteMatch, Timeouts, UserKey,
};
pub use names::{env, files, headers, paths, ports, reasons};
pub use network::{Network, NotANetwork};
pub use push::{Acknowledgement, Push, SIGNATURE_HEADER, document_hash};
pub use stats::{Certificate, DependencyCalls, Histogram, LATENCY_BOUNDS_US, RevisionCounters, Stats};
pub use telemetry::{AccessLog, MAX_ROUTES, Otlp, Telemetry, Tracing};
pub use traffic::{HandOff, MAX_MATCHES, MAX_METHODS, Match, Mirror, Pair, Sticky, WHOLE, safe_methods};

#[cfg(test)]
mod tests;
