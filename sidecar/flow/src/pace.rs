//! Whether a peer takes or gives bytes fast enough, counted while somebody waits for it.

use core::time::Duration;

/// Bytes per second that a caller must send of a body, or take of an answer, in the mean.
pub const MIN_RATE: u64 = 240;
/// A caller's body, until the answer to it begins.
pub const BODY: Limits = Limits { grace: Duration::from_secs(5), pause: Duration::from_secs(30) };
/// An answer. Kernels take and tell in large pieces, so it has more time between two of them.
pub const ANSWER: Limits = Limits { grace: Duration::from_mins(1), pause: Duration::from_mins(1) };

/// How slow a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time that is given before the rate counts.
    pub grace: Duration,
    /// Longest time without a byte.
    pub pause: Duration,
}

/// The pace of one message.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    limits: Limits,
    bytes: u64,
    /// Time that was spent waiting, without the present wait.
    waited: Duration,
    /// Since when it is being waited.
    since: Option<Duration>,
}

impl Pace {
    /// Nothing has moved, and nobody has waited.
    pub fn new(limits: Limits) -> Self {
        Self { limits, bytes: 0, waited: Duration::ZERO, since: None }
    }

    /// Whether it is being waited.
    pub fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// So many bytes moved; none changes nothing. `now` only counts while it is being waited.
    pub fn moved(&mut self, now: Duration, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(now.saturating_sub(since));
        }
    }

    /// It is being waited; answers until when.
    pub fn waits(&mut self, now: Duration) -> Duration {
        let since = *self.since.get_or_insert(now);
        let earned = self.limits.grace.saturating_add(Duration::from_secs(self.bytes / MIN_RATE));
        since.saturating_add(earned.saturating_sub(self.waited).min(self.limits.pause))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_sends_nothing_has_the_grace() {
        let mut pace = Pace::new(BODY);
        assert_eq!(pace.waits(s(100)), s(105));
        assert_eq!(pace.waits(s(103)), s(105), "asking again gives no time");
    }

    #[test]
    fn bytes_earn_time_and_waiting_spends_it() {
        let mut pace = Pace::new(BODY);
        pace.waits(s(0));
        pace.moved(s(4), 480);
        // 5 s of grace and 2 s for the bytes, of which 4 are spent.
        assert_eq!(pace.waits(s(50)), s(53), "time in which nobody waited does not count");
        pace.moved(s(53), 0);
        assert_eq!(pace.waits(s(53)), s(53), "nothing earns nothing");
        pace.moved(s(53), 240);
        assert_eq!(pace.waits(s(53)), s(54));
    }

    #[test]
    fn no_pause_is_longer_than_allowed() {
        let mut pace = Pace::new(BODY);
        pace.moved(s(0), 1_000_000_000);
        assert_eq!(pace.waits(s(1)), s(31));
    }

    proptest! {
        /// Whoever is in time has sent enough: the wait is never longer than grace and rate allow.
        #[test]
        fn the_rate_holds(steps in prop::collection::vec((0_u64..20_000, 0_usize..2_000), 1..60)) {
            let (mut pace, mut now, mut waited, mut bytes) = (Pace::new(BODY), Duration::ZERO, Duration::ZERO, 0_usize);
            for (millis, more) in steps {
                let until = pace.waits(now);
                let took = Duration::from_millis(millis);
                if now + took > until {
                    return Ok(());
                }
                now += took;
                waited += took;
                let allowed = BODY.grace + Duration::from_secs(bytes as u64 / MIN_RATE);
                prop_assert!(waited <= allowed);
                pace.moved(now, more);
                bytes += more;
            }
        }
    }
}
