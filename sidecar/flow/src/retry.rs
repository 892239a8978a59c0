//! Whether and when a request is sent once more.
//!
//! Retries help against a pod that goes, and make an overload worse. So they are a bounded share of all requests (the budget,
//! as in Finagle and linkerd), and wait for a random time that grows (Brooker, "Exponential Backoff and Jitter", full jitter).

use core::time::Duration;

use crate::tally::Tally;

/// Of 100 requests of the last ten seconds, so many may be sent once more.
pub const SHARE_PERCENT: u64 = 20;
/// So many a second may be in any case: a service with few requests has a share of nothing.
pub const MIN_PER_SECOND: u64 = 10;
/// How far back requests count.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Longest pause before the first retry; twice as long before each further one.
pub const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// No pause is longer.
pub const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// A server that wants to be left alone for longer is not asked again for this request.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How many retries the requests of one dependency may have.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    counts: Tally,
}

impl Budget {
    /// A request begins.
    pub fn request(&mut self, now: Duration) {
        self.counts.add(WINDOW, now, 1, 0);
    }

    /// Takes one retry, if there is one left.
    pub fn take(&mut self, now: Duration) -> bool {
        let (requests, retries) = self.counts.sums(WINDOW, now);
        let allowed = MIN_PER_SECOND * WINDOW.as_secs() + requests * SHARE_PERCENT / 100;
        let may = retries < allowed;
        if may {
            self.counts.add(WINDOW, now, 0, 1);
        }
        may
    }
}

/// How long to wait before a retry; the first is number 0. `random` is any 64 random bits.
pub fn pause(number: u32, random: u64) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << number.min(16)).min(LONGEST_PAUSE);
    let nanos = (longest.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Seconds of a `Retry-After` field (RFC 9110 section 10.2.3). A date says nothing without a clock that both sides share.
pub fn retry_after(value: &[u8]) -> Option<Duration> {
    let text = core::str::from_utf8(value).ok()?.trim();
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_are_never_more_than_the_budget(steps in prop::collection::vec((0_u64..50, any::<bool>()), 1..2_000)) {
            let mut budget = Budget::default();
            let (mut now, mut requests, mut taken) = (Duration::ZERO, Vec::new(), Vec::new());
            for (step, retries) in steps {
                now += Duration::from_millis(step);
                budget.request(now);
                requests.push(now);
                if retries && budget.take(now) {
                    taken.push(now);
                }
                let young = |times: &[Duration], age| times.iter().filter(|at| now < **at + age).count() as u64;
                let most = MIN_PER_SECOND * 10 + young(&requests, WINDOW) * SHARE_PERCENT / 100;
                prop_assert!(young(&taken, WINDOW * 9 / 10) <= most);
            }
        }

        #[test]
        fn pauses_grow_to_their_bound_and_spread_over_all_of_it(number in 0_u32..100, random: u64) {
            let longest = FIRST_PAUSE * 2_u32.pow(number.min(8));
            let longest = longest.min(LONGEST_PAUSE);
            prop_assert!(pause(number, random) <= longest);
            prop_assert!(pause(number, u64::MAX) + Duration::from_millis(1) > longest);
            prop_assert_eq!(pause(number, 0), Duration::ZERO);
        }
    }

    #[test]
    fn few_requests_have_ten_retries_a_second() {
        let mut budget = Budget::default();
        let taken = (0..1_000).filter(|_| budget.take(Duration::from_secs(1))).count();
        assert_eq!(taken, 100);
        assert!(!budget.take(Duration::from_secs(10)));
        assert!(budget.take(Duration::from_secs(11)));
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(retry_after(b" 3 "), Some(Duration::from_secs(3)));
        for other in [&b""[..], b"-1", b"1.5", b"Wed, 21 Oct 2015 07:28:00 GMT", b"99999999999", b"\xff"] {
            assert_eq!(retry_after(other), None);
        }
    }
}
