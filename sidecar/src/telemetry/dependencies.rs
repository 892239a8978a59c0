//! What is counted of calls out, by dependency: at most 32 names, because a document has no more.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::metrics::{self, CLASSES};
use super::table;

/// The families.
#[derive(Debug)]
pub(super) struct Families {
    requests: IntCounterVec,
    duration: HistogramVec,
    retries: IntCounterVec,
    endpoints: IntGaugeVec,
    open: IntGaugeVec,
}

/// Handles of one dependency.
#[derive(Debug)]
pub struct DependencyMetrics {
    requests: Vec<IntCounter>,
    /// See [`table::DEPENDENCY_DURATION`].
    pub duration: Histogram,
    /// See [`table::DEPENDENCY_RETRIES`].
    pub retries: IntCounter,
    /// See [`table::DEPENDENCY_ENDPOINTS`].
    pub endpoints: IntGauge,
    /// See [`table::DEPENDENCY_OPEN`].
    pub open: IntGauge,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: metrics::counters(registry, table::DEPENDENCY_REQUESTS)?,
            duration: metrics::histograms(registry, table::DEPENDENCY_DURATION)?,
            retries: metrics::counters(registry, table::DEPENDENCY_RETRIES)?,
            endpoints: metrics::gauges(registry, table::DEPENDENCY_ENDPOINTS)?,
            open: metrics::gauges(registry, table::DEPENDENCY_OPEN)?,
        })
    }

    pub(super) fn of(&self, name: &str) -> DependencyMetrics {
        let requests = CLASSES.iter().map(|class| self.requests.with_label_values(&[name, class]));
        DependencyMetrics {
            requests: requests.collect(),
            duration: self.duration.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            endpoints: self.endpoints.with_label_values(&[name]),
            open: self.open.with_label_values(&[name]),
        }
    }
}

impl DependencyMetrics {
    /// Counts a call that has ended.
    pub fn count(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        if let Some(counter) = self.requests.get(class) {
            counter.inc();
        }
    }

    /// Calls, and those with status 500 and above.
    pub fn counted(&self) -> (u64, u64) {
        let failed = self.requests.last().map_or(0, IntCounter::get);
        (self.requests.iter().map(IntCounter::get).sum(), failed)
    }
}
