//! The operator's metrics: one table of names, types, labels and help, from which they are registered and documented.
//!
//! Label values come from closed lists, so that the number of series is bounded whatever is in the cluster.

mod table;

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use shop_crds::{Reason, status::Phase};

pub use table::{METRICS, Metric, Type, markdown};

/// Why metrics cannot be made or shown.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A name of the table that code asks for is missing there, or is there twice.
    #[error("metric {0} is not in the table of metrics")]
    NotInTable(&'static str),
    /// The metrics library refuses.
    #[error("metrics: {0}")]
    Library(#[from] prometheus::Error),
}

/// Every metric, as handles: nothing is looked up by name while the operator works.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// Epoch of this process's leadership; 0 without.
    pub leader_epoch: IntGauge,
    /// Plans made, by outcome.
    pub plans: IntCounterVec,
    /// Writes sent to the API server, by kind and outcome.
    pub writes: IntCounterVec,
    /// Time a pass took, by step.
    pub pass: HistogramVec,
    /// ShopServices by phase.
    pub phases: IntGaugeVec,
    /// ShopServices that are blocked, by reason.
    pub blocked: IntGaugeVec,
    /// ShopServices that wait for a pass, by urgency.
    pub queue_depth: IntGaugeVec,
    /// Time a due ShopService waited for its pass.
    pub queue_wait: Histogram,
    /// Pushes to sidecars, by kind and outcome.
    pub pushes: IntCounterVec,
    /// Events recorded, by outcome.
    pub events: IntCounterVec,
    /// Objects put back after somebody else changed them, by kind.
    pub drift: IntCounterVec,
    /// Times a watch had to be begun again, by kind.
    pub watch_errors: IntCounterVec,
    /// Objects in the caches, by kind.
    pub cached: IntGaugeVec,
    /// When the first certificate ends.
    pub certificate_ends: IntGauge,
}

impl Metrics {
    /// Registers everything in the table.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            leader: make.gauge("shop_operator_leader")?,
            leader_epoch: make.gauge("shop_operator_leader_epoch")?,
            plans: make.counters("shop_operator_plans_total")?,
            writes: make.counters("shop_operator_writes_total")?,
            pass: make.histograms("shop_operator_pass_seconds")?,
            phases: make.gauges("shop_operator_services")?,
            blocked: make.gauges("shop_operator_services_blocked")?,
            queue_depth: make.gauges("shop_operator_queue_depth")?,
            queue_wait: make.histogram("shop_operator_queue_wait_seconds")?,
            pushes: make.counters("shop_operator_pushes_total")?,
            events: make.counters("shop_operator_events_total")?,
            drift: make.counters("shop_operator_drift_reverted_total")?,
            watch_errors: make.counters("shop_operator_watch_errors_total")?,
            cached: make.gauges("shop_operator_cached_objects")?,
            certificate_ends: make.gauge("shop_operator_certificate_expiry_timestamp_seconds")?,
            registry,
        };
        metrics.show_zeroes();
        Ok(metrics)
    }

    // Gauges over a closed list are shown from the start, so that rules need no `absent()`.
    fn show_zeroes(&self) {
        for phase in Phase::ALL {
            self.phases.with_label_values(&[phase.as_str()]).set(0);
        }
        for reason in Reason::ALL {
            self.blocked.with_label_values(&[reason.as_str()]).set(0);
        }
    }

    /// Counts a pass's time in one of its steps.
    pub fn took(&self, step: &'static str, time: Duration) {
        self.pass.with_label_values(&[step]).observe(time.as_secs_f64());
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn row(name: &'static str, kind: Type) -> Result<&'static Metric, MetricsError> {
        METRICS
            .iter()
            .find(|metric| metric.name == name && metric.kind == kind)
            .ok_or(MetricsError::NotInTable(name))
    }

    fn gauge(&self, name: &'static str) -> Result<IntGauge, MetricsError> {
        let row = Self::row(name, Type::Gauge)?;
        let gauge = IntGauge::new(row.name, row.help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauges(&self, name: &'static str) -> Result<IntGaugeVec, MetricsError> {
        let row = Self::row(name, Type::Gauge)?;
        let gauges = IntGaugeVec::new(Opts::new(row.name, row.help), row.labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn counters(&self, name: &'static str) -> Result<IntCounterVec, MetricsError> {
        let row = Self::row(name, Type::Counter)?;
        let counters = IntCounterVec::new(Opts::new(row.name, row.help), row.labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn histograms(&self, name: &'static str) -> Result<HistogramVec, MetricsError> {
        let row = Self::row(name, Type::Histogram)?;
        let options = HistogramOpts::new(row.name, row.help).buckets(table::SECONDS.to_vec());
        let histograms = HistogramVec::new(options, row.labels)?;
        self.0.register(Box::new(histograms.clone()))?;
        Ok(histograms)
    }

    fn histogram(&self, name: &'static str) -> Result<Histogram, MetricsError> {
        let row = Self::row(name, Type::Histogram)?;
        let histogram =
            Histogram::with_opts(HistogramOpts::new(row.name, row.help).buckets(table::SECONDS.to_vec()))?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}

/// Adds one to a counter of a family with these label values.
pub fn count(family: &IntCounterVec, labels: &[&str]) {
    let counter: IntCounter = family.with_label_values(labels);
    counter.inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_registered() {
        let metrics = Metrics::new().unwrap();
        // A family without series is not shown; one of each is enough to see it.
        for family in [&metrics.plans, &metrics.events, &metrics.drift, &metrics.watch_errors] {
            count(family, &["x"]);
        }
        for family in [&metrics.writes, &metrics.pushes] {
            count(family, &["x", "x"]);
        }
        metrics.took("plan", Duration::ZERO);
        metrics.queue_depth.with_label_values(&["x"]).set(0);
        metrics.cached.with_label_values(&["x"]).set(0);
        let text = metrics.text().unwrap();
        for row in METRICS {
            let wanted = format!("# TYPE {} {}", row.name, row.kind.as_str());
            assert!(text.contains(&wanted), "{wanted} is not in\n{text}");
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        assert!(
            readme.contains(&markdown()),
            "operator/README.md has another table of metrics; print it with `shop-operator metrics`"
        );
    }
}
