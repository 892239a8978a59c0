//! The one place that reads the monotonic clock for the state machines of `shop-flow`.

use std::time::{Duration, Instant};

/// Time since the process began to serve.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// The instant of a time since the start, for timers.
    pub fn instant(&self, at: Duration) -> tokio::time::Instant {
        (self.0 + at).into()
    }
}
