//! The faults of a running service: fixed ones, and those that are switched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Fault;

/// What the faults do to one API request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Wait this long before the answer.
    pub delay: Option<Duration>,
    /// Answer a failure instead.
    pub fails: bool,
}

/// The faults of a running service. Clones share their state.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    not_ready: AtomicBool,
    /// The share of failures as the bits of an `f64`: changed as one value, read per request.
    error_rate: AtomicU64,
    latency: Option<Duration>,
    not_ready_after: Option<Duration>,
    crash_after: Option<Duration>,
    crash_at_start: bool,
    never_listen: bool,
    switchable: bool,
}

impl Faults {
    /// The faults asked for; of two of the same kind the later one counts.
    pub fn new(asked: &[Fault]) -> Self {
        let mut inner = Inner {
            not_ready: AtomicBool::new(false),
            error_rate: AtomicU64::new(0),
            latency: None,
            not_ready_after: None,
            crash_after: None,
            crash_at_start: false,
            never_listen: false,
            switchable: false,
        };
        for fault in asked {
            match *fault {
                Fault::NotReady => inner.not_ready = AtomicBool::new(true),
                Fault::NotReadyAfter(after) => inner.not_ready_after = Some(after),
                Fault::ErrorRate(share) => inner.error_rate = AtomicU64::new(share.to_bits()),
                Fault::Latency(delay) => inner.latency = Some(delay),
                Fault::CrashAfter(after) => inner.crash_after = Some(after),
                Fault::CrashAtStart => inner.crash_at_start = true,
                Fault::NeverListen => inner.never_listen = true,
                Fault::Switchable => inner.switchable = true,
            }
        }
        Self { inner: Arc::new(inner) }
    }

    /// Starts what comes later: `not-ready-after` and `crash-after`. Needs a tokio runtime.
    pub fn start_timers(&self) {
        if let Some(after) = self.inner.not_ready_after {
            let faults = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                tracing::warn!(fault = "not-ready-after", "not ready from now on, as asked for");
                faults.set_not_ready(true);
            });
        }
        if let Some(after) = self.inner.crash_after {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                crash("crash-after");
            });
        }
    }

    /// What happens to one API request; `draw` is uniform in 0..1.
    pub fn fate(&self, draw: f64) -> Fate {
        Fate { delay: self.inner.latency, fails: draw < self.error_rate() }
    }

    /// Whether any API request is touched: spares the draw where there is no fault.
    pub fn touch_requests(&self) -> bool {
        self.inner.latency.is_some() || self.error_rate() > 0.0
    }

    /// Whether readiness is withheld.
    pub fn not_ready(&self) -> bool {
        self.inner.not_ready.load(Ordering::Acquire)
    }

    /// The share of API answers that fail.
    pub fn error_rate(&self) -> f64 {
        f64::from_bits(self.inner.error_rate.load(Ordering::Acquire))
    }

    /// Whether requests to `/faults` are served.
    pub fn switchable(&self) -> bool {
        self.inner.switchable
    }

    /// Whether the process is to end before it listens.
    pub fn crash_at_start(&self) -> bool {
        self.inner.crash_at_start
    }

    /// Whether the port stays closed.
    pub fn never_listen(&self) -> bool {
        self.inner.never_listen
    }

    pub(super) fn set_not_ready(&self, on: bool) {
        self.inner.not_ready.store(on, Ordering::Release);
    }

    pub(super) fn set_error_rate(&self, share: f64) {
        self.inner.error_rate.store(share.to_bits(), Ordering::Release);
    }
}

/// Ends the process at once, without an answer to anything in flight: that is the fault.
pub(super) fn crash(fault: &'static str) -> ! {
    tracing::error!(fault, "crashing, as asked for");
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_faults_nothing_is_touched() {
        let faults = Faults::new(&[]);
        assert!(!faults.touch_requests());
        assert!(!faults.not_ready());
        assert_eq!(faults.fate(0.0), Fate { delay: None, fails: false });
    }

    #[test]
    fn the_error_rate_is_a_share_of_the_draws() {
        let faults = Faults::new(&[Fault::ErrorRate(0.5), Fault::Latency(Duration::from_millis(200))]);
        assert!(faults.fate(0.49).fails);
        assert!(!faults.fate(0.5).fails);
        assert_eq!(faults.fate(0.9).delay, Some(Duration::from_millis(200)));
        let always = Faults::new(&[Fault::ErrorRate(1.0)]);
        assert!(always.fate(0.999_999).fails);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_is_withheld_after_its_time() {
        let faults = Faults::new(&[Fault::NotReadyAfter(Duration::from_secs(10))]);
        faults.start_timers();
        assert!(!faults.not_ready());
        while !faults.not_ready() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
