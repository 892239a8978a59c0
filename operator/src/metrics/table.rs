//! The one table of the operator's metrics.

use std::fmt::Write;

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Type {
    /// The word that Prometheus has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row: one metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with the base unit.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// Its labels; the values of each come from a closed list.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Buckets of times.
pub(super) const SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const fn row(name: &'static str, kind: Type, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric of the operator.
pub const METRICS: &[Metric] = &[
    row("shop_operator_leader", Type::Gauge, &[], "1 while this process holds the lease and acts."),
    row(
        "shop_operator_leader_epoch",
        Type::Gauge,
        &[],
        "Fencing epoch of this process's leadership; 0 without.",
    ),
    row(
        "shop_operator_plans_total",
        Type::Counter,
        &["outcome"],
        "Passes over a ShopService: idle (nothing to write), written, conflict, failed, stale (own write not seen yet), paced (too many writes of late), timeout, gone.",
    ),
    row(
        "shop_operator_writes_total",
        Type::Counter,
        &["kind", "outcome"],
        "Writes sent to the API server, by kind of object: done, conflict, taken, refused, failed.",
    ),
    row(
        "shop_operator_pass_seconds",
        Type::Histogram,
        &["step"],
        "Time of a pass by step: observe, plan, apply (the API server's time included), total.",
    ),
    row("shop_operator_services", Type::Gauge, &["phase"], "ShopServices by phase of their release."),
    row(
        "shop_operator_services_blocked",
        Type::Gauge,
        &["reason"],
        "ShopServices that are blocked, by reason.",
    ),
    row(
        "shop_operator_queue_depth",
        Type::Gauge,
        &["urgency"],
        "ShopServices that wait for a pass: abort, release, change, routine.",
    ),
    row(
        "shop_operator_queue_wait_seconds",
        Type::Histogram,
        &[],
        "Time from when a pass was due to its start.",
    ),
    row(
        "shop_operator_pushes_total",
        Type::Counter,
        &["kind", "outcome"],
        "Requests to sidecars (document, endpoints, query, stats): done, refused, failed.",
    ),
    row(
        "shop_operator_events_total",
        Type::Counter,
        &["outcome"],
        "Kubernetes events: done, failed, dropped.",
    ),
    row(
        "shop_operator_drift_reverted_total",
        Type::Counter,
        &["kind"],
        "Generated objects put back after somebody else changed them.",
    ),
    row(
        "shop_operator_watch_errors_total",
        Type::Counter,
        &["kind"],
        "Watches that broke and were begun again.",
    ),
    row("shop_operator_cached_objects", Type::Gauge, &["kind"], "Objects in the operator's caches."),
    row(
        "shop_operator_certificate_expiry_timestamp_seconds",
        Type::Gauge,
        &[],
        "Unix time at which the first of the services' certificates ends; 0 without any. They are renewed two days before.",
    ),
];

/// The table as Markdown.
pub fn markdown() -> String {
    let mut text = String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        let labels = metric.labels.join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            if labels.is_empty() { "–" } else { &labels },
            metric.help
        );
    }
    text
}
