//! Which requests get a fault: a share of them, until a time, after a delay of which a part is random.

use core::time::Duration;

/// The whole of a share, in parts.
pub const WHOLE: u32 = 10_000;

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Share of requests, in parts per 10,000.
    pub share: u32,
    /// From when on it strikes nobody, in milliseconds since 1970: people say it by their clock.
    pub until_unix_ms: u64,
    /// Least delay.
    pub delay: Duration,
    /// Random part of it.
    pub jitter: Duration,
}

impl Rule {
    /// Whether a request is struck, and how long it waits then. `random` is 64 random bits.
    pub fn strikes(&self, now_unix_ms: u64, random: u64) -> Option<Duration> {
        if now_unix_ms >= self.until_unix_ms {
            return None;
        }
        // Each decision by bits of its own.
        let (choice, length) = (random >> 32, random & u64::from(u32::MAX));
        if (choice * u64::from(WHOLE)) >> 32 >= u64::from(self.share) {
            return None;
        }
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX >> 32).min(u64::MAX >> 32);
        Some(self.delay + Duration::from_micros((jitter * length) >> 32))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(share: u32, jitter: u64) -> Rule {
        let (delay, jitter) = (Duration::from_millis(200), Duration::from_millis(jitter));
        Rule { share, until_unix_ms: 1_000, delay, jitter }
    }

    #[test]
    fn the_share_is_that_of_the_random_numbers() {
        let struck = |share: u32| {
            let draws = (0..100_000_u64).map(|at| (at * (u64::from(u32::MAX) / 100_000)) << 32);
            draws.filter(|random| rule(share, 0).strikes(0, *random).is_some()).count()
        };
        assert_eq!((struck(0), struck(10_000)), (0, 100_000));
        assert!((4_990..=5_010).contains(&struck(500)), "{}", struck(500));
    }

    proptest! {
        #[test]
        fn nothing_is_struck_after_its_time_and_all_wait_as_long_as_said(
            share in 0_u32..=10_000, jitter in 0_u64..60_000, now in 0_u64..2_000, random: u64,
        ) {
            match rule(share, jitter).strikes(now, random) {
                None => prop_assert!(now >= 1_000 || share < 10_000),
                Some(wait) => {
                    prop_assert!(now < 1_000 && share > 0);
                    prop_assert!(wait >= Duration::from_millis(200));
                    prop_assert!(wait <= Duration::from_millis(200 + jitter));
                }
            }
        }
    }
}
