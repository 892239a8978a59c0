//! What a sidecar tells about itself: metrics from one table, an access log that never blocks, and its own log.

pub mod access_log;
pub mod dependencies;
pub mod log;
pub mod metrics;
pub mod table;
pub mod window;

pub use access_log::AccessLog;
pub use metrics::{Metrics, RevisionMetrics};
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
    /// The clock of durations.
    pub clock: Clock,
}
