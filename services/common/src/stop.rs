//! The end of a service: who is still at work, and since when nothing has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Shared by everything that serves: says that the end has begun, and counts what is in flight.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    begun: CancellationToken,
    in_flight: AtomicUsize,
    started: AtomicU64,
}

/// One request or stream in flight, from its head to the end of its answer. Counted until it is dropped.
pub struct Held {
    inner: Arc<Inner>,
}

impl Stop {
    /// A service that is not ending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the end. More calls change nothing.
    pub fn begin(&self) {
        self.inner.begun.cancel();
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        self.inner.begun.is_cancelled()
    }

    /// Returns when the end has begun.
    pub async fn begun(&self) {
        self.inner.begun.cancelled().await;
    }

    /// Counts one request or stream as in flight.
    pub fn hold(&self) -> Held {
        self.inner.started.fetch_add(1, Ordering::AcqRel);
        self.inner.in_flight.fetch_add(1, Ordering::AcqRel);
        Held { inner: Arc::clone(&self.inner) }
    }

    /// How many requests and streams are in flight.
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Acquire)
    }

    /// How many requests and streams were ever started.
    pub fn started(&self) -> u64 {
        self.inner.started.load(Ordering::Acquire)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Decides when a service that is ending is quiet: nothing in flight and nothing started for a while.
///
/// Kept-alive connections may carry one more request at any moment; waiting for quiet instead of closing them at once is what
/// loses none.
pub(crate) struct Quiet {
    wanted: Duration,
    started: u64,
    since: Instant,
}

impl Quiet {
    pub(crate) fn new(wanted: Duration, started: u64, now: Instant) -> Self {
        Self { wanted, started, since: now }
    }

    /// Takes what is seen now; true when it has been quiet for long enough.
    pub(crate) fn observe(&mut self, in_flight: usize, started: u64, now: Instant) -> bool {
        if in_flight > 0 || started != self.started {
            self.started = started;
            self.since = now;
            return false;
        }
        now.saturating_duration_since(self.since) >= self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let stop = Stop::new();
        let first = stop.hold();
        let second = stop.hold();
        assert_eq!((stop.in_flight(), stop.started()), (2, 2));
        drop(first);
        drop(second);
        assert_eq!((stop.in_flight(), stop.started()), (0, 2));
    }

    #[test]
    fn quiet_starts_anew_with_every_request() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut quiet = Quiet::new(Duration::from_secs(1), 5, start);
        assert!(!quiet.observe(0, 5, at(900)));
        assert!(!quiet.observe(0, 6, at(1000)), "one came and went");
        assert!(!quiet.observe(1, 7, at(1900)), "one is in flight");
        assert!(!quiet.observe(0, 7, at(2800)));
        assert!(quiet.observe(0, 7, at(2900)));
    }
}
