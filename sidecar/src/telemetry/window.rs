//! How well this pod answers, for the operator's analysis: counters without labels or locks, read by `GET /stats`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shop_contract::{Histogram, LATENCY_BOUNDS_US, RevisionCounters};

/// Counts requests since the sidecar started.
#[derive(Debug, Default)]
pub struct Window {
    requests: AtomicU64,
    failures: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
}

impl Window {
    /// Counts a request that has ended. `took` is absent for what has no duration worth telling.
    pub fn count(&self, failed: bool, took: Option<Duration>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Release);
        }
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
            if let Some(bucket) = self.buckets.get(bucket) {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What has been counted.
    pub fn read(&self) -> RevisionCounters {
        // Failures first: a request that ends meanwhile must not be one more failure than there are requests.
        let failures = self.failures.load(Ordering::Acquire);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let latency = Histogram { counts, ..Histogram::default() };
        RevisionCounters { requests: self.requests.load(Ordering::Relaxed), failures, latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_of_its_bound() {
        let window = Window::default();
        for micros in [0, 1_000, 1_001, 300_000, 60_000_000, 60_000_001, u64::MAX] {
            window.count(micros > 300_000, Some(Duration::from_micros(micros)));
        }
        window.count(false, None);
        let read = window.read();
        assert_eq!((read.requests, read.failures, read.latency.total()), (8, 3, 7));
        assert!(read.latency.is_sound());
        let filled: Vec<_> =
            read.latency.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0).collect();
        assert_eq!(filled, [(0, 2), (1, 1), (13, 1), (23, 1), (24, 2)]);
        assert_eq!(read.latency.bounds_us.get(13), Some(&300_000));
    }
}
