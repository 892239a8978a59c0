//! What a load says afterwards: latencies inside and outside of windows, how long two versions answered, what failed.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    outcome::{Connections, Failure, Kind, Sample, VersionId},
    record::Clock,
};

/// Longest latency told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Everything that was taken down.
#[derive(Clone, Debug)]
pub struct Report {
    /// The clock of its samples.
    pub clock: Clock,
    /// When it was made.
    pub ended: u64,
    /// The requests, in the order in which they ended; as many as the plan allowed to keep.
    pub samples: Vec<Sample>,
    /// Requests that were counted without keeping their sample.
    pub not_kept: u64,
    /// Versions by [`VersionId`]; the first is empty.
    pub versions: Vec<String>,
    /// Counts per kind of connection.
    pub kinds: BTreeMap<Kind, KindCount>,
    /// Failed requests by reason.
    pub failures: BTreeMap<Failure, u64>,
    /// How late the generator itself was at most, in microseconds: the machine's doing, not the server's.
    pub late: u64,
}

/// What one kind of connection saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindCount {
    /// Requests that have ended.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// What happened to the connections.
    #[serde(flatten)]
    pub connections: Connections,
}

/// Percentiles of latency in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many answers it is made of.
    pub count: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// 95 % were faster.
    pub p95_ms: f64,
    /// 99 % were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// How two versions answered side by side. Times are microseconds since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// When the first answer of the new version was complete.
    pub first_new: u64,
    /// When the last request or stream began that was begun later and yet answered by the old version.
    pub last_old: Option<u64>,
}

impl Overlap {
    /// From the first answer of the new version to the last request begun after it that the old one answered.
    pub fn both(&self) -> Duration {
        Duration::from_micros(self.last_old.map_or(0, |last| last.saturating_sub(self.first_new)))
    }
}

/// The time in which a switch could be felt: from a second before it until three seconds after it.
pub fn window(switch: u64) -> Range<u64> {
    switch.saturating_sub(1_000_000)..switch.saturating_add(3_000_000)
}

impl Report {
    /// Requests that have ended.
    pub fn requests(&self) -> u64 {
        self.kinds.values().map(|count| count.requests).sum()
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.kinds.values().map(|count| count.failed).sum()
    }

    /// The id of a version, if any answer named it.
    pub fn version(&self, name: &str) -> Option<VersionId> {
        let index = self.versions.iter().position(|version| version == name)?;
        u8::try_from(index).ok().map(VersionId)
    }

    /// How many requests a version answered, well or not.
    pub fn answered_by(&self, version: &str) -> u64 {
        let Some(version) = self.version(version) else { return 0 };
        self.samples.iter().filter(|sample| sample.version == version).count() as u64
    }

    /// Latency of the answers that were due inside one of the windows.
    pub fn inside(&self, windows: &[Range<u64>]) -> Latency {
        self.latency(|sample| windows.iter().any(|window| window.contains(&sample.scheduled)))
    }

    /// Latency of the answers that were due outside of all windows.
    pub fn outside(&self, windows: &[Range<u64>]) -> Latency {
        self.latency(|sample| !windows.iter().any(|window| window.contains(&sample.scheduled)))
    }

    /// Latency of the answers chosen. Requests that failed have none: they are counted as failed instead.
    pub fn latency(&self, chosen: impl Fn(&Sample) -> bool) -> Latency {
        // An hour in microseconds at three digits is well within what a histogram can be.
        let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, LONGEST, 3) else {
            return Latency::default();
        };
        for sample in self.samples.iter().filter(|sample| sample.failure.is_none() && chosen(sample)) {
            histogram.saturating_record(sample.latency());
        }
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency {
            count: histogram.len(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: histogram.max() as f64 / 1_000.0,
        }
    }

    /// How long two versions answered side by side within a time; `None` while the new one has not answered in it.
    pub fn overlap(&self, old: &str, new: &str, within: Range<u64>) -> Option<Overlap> {
        let new = self.version(new)?;
        let answers = self.samples.iter().filter(|sample| sample.version == new);
        let first_new =
            answers.filter(|sample| within.contains(&sample.ended)).map(|sample| sample.ended).min()?;
        let last_old = self.last_begun(old, first_new..within.end);
        Some(Overlap { first_new, last_old })
    }

    /// From a decision to the last request or stream begun after it that a version nevertheless answered; zero when there is
    /// none. Only what began before `until` is looked at.
    pub fn lingered(&self, version: &str, decided: u64, until: u64) -> Duration {
        let last = self.last_begun(version, decided..until);
        Duration::from_micros(last.map_or(0, |last| last.saturating_sub(decided)))
    }

    /// When the last request or stream began that a version answered, of those begun within a time, its start excluded.
    fn last_begun(&self, version: &str, within: Range<u64>) -> Option<u64> {
        let version = self.version(version)?;
        let answers = self.samples.iter().filter(|sample| sample.version == version);
        answers.map(|sample| sample.begun).filter(|begun| *begun > within.start && *begun < within.end).max()
    }
}

#[cfg(test)]
mod tests;
