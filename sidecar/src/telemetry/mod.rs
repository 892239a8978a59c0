//! What a sidecar tells about itself and its requests: metrics from one table, an access log that never blocks, spans, and its
//! own log.

pub mod access_log;
pub mod dependencies;
pub mod log;
pub mod metrics;
mod observing;
pub mod routes;
pub mod series;
pub mod table;
pub mod trace;
pub mod window;

pub use access_log::AccessLog;
pub use metrics::{Metrics, RevisionMetrics};
pub use observing::Observing;
pub use trace::Traces;
pub use window::Window;

use crate::clock::Clock;

/// Everything that is counted and logged.
#[derive(Debug)]
pub struct Telemetry {
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Users' requests that this pod answered.
    pub window: Window,
    /// Copies of requests that this pod answered.
    pub mirrored: Window,
    /// One line per request, sampled.
    pub access_log: AccessLog,
    /// Spans, and which traces are kept.
    pub traces: Traces,
    /// The clock of durations.
    pub clock: Clock,
}

impl Telemetry {
    /// Hands a kept span over to be sent, and counts it.
    pub fn keep(&self, span: trace::Span) {
        self.metrics.span_kept(span.why);
        if !self.traces.submit(span) {
            self.metrics.spans_full.inc();
        }
    }
}
