//! How long 99 of 100 requests take, estimated as they end.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling of the duration: a bound is at most an eighth above what it stands for.
const STEPS: u64 = 8;
/// Up to 134 s; what takes longer counts as that.
const BUCKETS: usize = 200;
/// Requests before the first estimate, and between two.
const LEAST: u32 = 256;
/// Time between two estimates. What was seen before counts half from then on.
const EVERY: Duration = Duration::from_secs(10);
/// There is no estimate yet.
const UNKNOWN: u64 = u64::MAX;

/// The 99th percentile of durations: a histogram whose past fades. Of fixed size, without locks.
#[derive(Debug)]
pub struct Latency {
    counts: Vec<AtomicU32>,
    /// Since the last estimate.
    fresh: AtomicU32,
    /// When the next one is due, in microseconds.
    due: AtomicU64,
    /// In microseconds.
    slow: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            fresh: AtomicU32::new(0),
            due: AtomicU64::new(0),
            slow: AtomicU64::new(UNKNOWN),
        }
    }
}

impl Latency {
    /// Counts a request that has ended.
    pub fn observe(&self, took: Duration, now: Duration) {
        if let Some(count) = self.counts.get(bucket(micros(took))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let fresh = self.fresh.fetch_add(1, Ordering::Relaxed) + 1;
        if fresh >= LEAST {
            self.estimate(micros(now));
        }
    }

    /// Whether a request that took so long, or has taken so long already, is slower than 99 of 100. Nothing is before there
    /// is an estimate.
    pub fn is_slow(&self, took: Duration) -> bool {
        micros(took) > self.slow.load(Ordering::Relaxed)
    }

    /// Estimates anew if it is time to. One of several that come at once does.
    fn estimate(&self, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(micros(EVERY));
        if now < due || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.fresh.store(0, Ordering::Relaxed);
        let counts: Vec<u32> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().copied().map(u64::from).sum();
        let rank = (all * 99).div_ceil(100);
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        });
        self.slow.store(found.map_or(UNKNOWN, upper), Ordering::Relaxed);
        for (count, read) in self.counts.iter().zip(counts) {
            count.fetch_sub(read.div_ceil(2), Ordering::Relaxed);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The first ones are single microseconds, then eight per doubling.
fn bucket(micros: u64) -> usize {
    let index = if micros < STEPS {
        micros
    } else {
        let doubling = u64::from(micros.ilog2()) - u64::from(STEPS.ilog2());
        STEPS + doubling * STEPS + ((micros >> doubling) & (STEPS - 1))
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest duration that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    match bucket as u64 {
        index @ 0..STEPS => index,
        index => {
            let (doubling, step) = ((index - STEPS) / STEPS, (index - STEPS) % STEPS);
            ((STEPS + step + 1) << doubling) - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observe_all(latency: &Latency, durations: impl IntoIterator<Item = u64>, now: Duration) {
        durations.into_iter().for_each(|took| latency.observe(Duration::from_micros(took), now));
    }

    #[test]
    fn nothing_is_slow_before_enough_was_seen() {
        let latency = Latency::default();
        observe_all(&latency, vec![1_000; 255], Duration::ZERO);
        assert!(!latency.is_slow(Duration::MAX));
        observe_all(&latency, [1_000], Duration::ZERO);
        assert!(latency.is_slow(Duration::from_millis(2)) && !latency.is_slow(Duration::from_millis(1)));
    }

    #[test]
    fn what_was_slow_once_is_not_for_ever() {
        let latency = Latency::default();
        observe_all(&latency, vec![1_000; 256], Duration::ZERO);
        // The app gets ten times slower and stays so.
        for round in 1..=20 {
            observe_all(&latency, vec![10_000; 256], EVERY * round);
        }
        assert!(!latency.is_slow(Duration::from_millis(10)) && latency.is_slow(Duration::from_millis(12)));
        // And fast again: what is rare has faded.
        for round in 21..=40 {
            observe_all(&latency, vec![1_000; 256], EVERY * round);
        }
        assert!(latency.is_slow(Duration::from_millis(2)));
    }

    #[test]
    fn an_estimate_costs_one_in_a_while() {
        let latency = Latency::default();
        observe_all(&latency, vec![1_000; 256], Duration::ZERO);
        observe_all(&latency, vec![10_000; 10_000], EVERY / 2);
        assert!(latency.is_slow(Duration::from_millis(2)), "not yet");
        observe_all(&latency, [10_000], EVERY);
        assert!(!latency.is_slow(Duration::from_millis(2)));
    }

    proptest! {
        #[test]
        fn a_duration_is_in_the_bucket_with_its_bound(micros in 0_u64..=134_217_727) {
            let index = bucket(micros);
            prop_assert!(index < BUCKETS && micros <= upper(index));
            prop_assert!(index == 0 || micros > upper(index - 1));
            prop_assert!(upper(index) <= micros + micros / STEPS);
        }

        /// At most one in a hundred is slower than the estimate, and it is at most an eighth above the exact figure.
        #[test]
        fn the_estimate_is_near(mut durations in prop::collection::vec(0_u64..100_000_000, 256)) {
            let latency = Latency::default();
            observe_all(&latency, durations.iter().copied(), Duration::ZERO);
            let slow = durations.iter().filter(|took| latency.is_slow(Duration::from_micros(**took))).count();
            prop_assert!(slow * 100 <= durations.len());
            durations.sort_unstable();
            let exact = durations[(durations.len() * 99).div_ceil(100) - 1];
            let estimate = latency.slow.load(Ordering::Relaxed);
            prop_assert!((exact..=exact + exact / STEPS).contains(&estimate), "{estimate} for {exact}");
        }
    }
}
