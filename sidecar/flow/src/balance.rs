//! Which endpoint gets a request: the less loaded of two random ones, leaving out those that failed lately.
//!
//! Two choices come near to the best possible balance without a look at all endpoints (Mitzenmacher, "The Power of Two
//! Choices"); a failure seen by a request replaces active health checks.

use core::time::Duration;

/// How long an endpoint is avoided after its first failure.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long it is avoided at most.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Remembers an endpoint's failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    failures: u32,
    avoid_until: Duration,
}

impl Health {
    /// A request to the endpoint failed: it is avoided for 1 s, twice as long at each further failure, at most 10 s.
    ///
    /// Failures while it is avoided already are those of requests that were under way, and count once.
    pub fn failed(&mut self, now: Duration) {
        if self.avoided(now) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(4)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.avoid_until = now.saturating_add(pause);
    }

    /// The endpoint answered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether the endpoint failed so lately that another one is better.
    pub fn avoided(&self, now: Duration) -> bool {
        self.failures > 0 && now < self.avoid_until
    }
}

/// What [`pick`] wants to know of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests it is answering for this caller.
    pub in_flight: usize,
    /// [`Health::avoided`].
    pub avoided: bool,
}

/// Index of the endpoint for the next request, `None` without endpoints.
///
/// `random` is any 64 random bits. When both choices are avoided the first one after them that is not is taken; when all are
/// avoided it is as if none were.
pub fn pick(endpoints: usize, random: u64, load: impl Fn(usize) -> Load) -> Option<usize> {
    if endpoints == 0 {
        return None;
    }
    let first = below(random >> 32, endpoints);
    if endpoints == 1 {
        return Some(first);
    }
    // The second choice is drawn from the others, so that it differs from the first.
    let second = (first + 1 + below(random & 0xffff_ffff, endpoints - 1)) % endpoints;
    let (a, b) = (load(first), load(second));
    match (a.avoided, b.avoided) {
        (false, true) => Some(first),
        (true, false) => Some(second),
        (true, true) => {
            let healthy =
                (1..endpoints).map(|step| (first + step) % endpoints).find(|index| !load(*index).avoided);
            Some(healthy.unwrap_or(if b.in_flight < a.in_flight { second } else { first }))
        }
        (false, false) => Some(if b.in_flight < a.in_flight { second } else { first }),
    }
}

/// Maps 32 random bits to `0..bound` without a division (Lemire).
fn below(random: u64, bound: usize) -> usize {
    usize::try_from((u128::from(random & 0xffff_ffff) * bound as u128) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let mut health = Health::default();
        let mut now = at(0);
        for pause in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert!(!health.avoided(now));
            health.failed(now);
            assert!(health.avoided(now + at(pause - 1)), "{pause}");
            now += at(pause);
            assert!(!health.avoided(now), "{pause}");
        }
        health.failed(now);
        health.succeeded();
        assert!(!health.avoided(now));
        health.failed(now);
        assert!(!health.avoided(now + at(1_000)), "starts again at one second");
    }

    #[test]
    fn failures_of_requests_under_way_count_once() {
        let mut health = Health::default();
        for _ in 0..5 {
            health.failed(at(0));
        }
        assert!(!health.avoided(at(1_000)));
    }

    proptest! {
        #[test]
        fn a_healthy_endpoint_is_taken_if_there_is_one(avoided in prop::collection::vec(any::<bool>(), 1..20), random: u64) {
            let index = pick(avoided.len(), random, |index| Load { in_flight: 0, avoided: avoided[index] }).expect("endpoints");
            prop_assert!(!avoided[index] || avoided.iter().all(|avoided| *avoided));
        }

        #[test]
        fn never_the_busiest_of_unequal_ones(loads in prop::collection::hash_set(0_usize..1_000, 2..20), random: u64) {
            let loads: Vec<usize> = loads.into_iter().collect();
            let index = pick(loads.len(), random, |index| Load { in_flight: loads[index], avoided: false }).expect("endpoints");
            prop_assert!(loads.iter().any(|other| *other > loads[index]));
        }
    }

    #[test]
    fn every_endpoint_gets_requests() {
        let mut seen = [0_u32; 7];
        for step in 0..10_000_u64 {
            let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            seen[pick(7, random, |_| Load { in_flight: 0, avoided: false }).expect("endpoints")] += 1;
        }
        assert!(seen.iter().all(|count| *count > 1_000), "{seen:?}");
        assert_eq!(pick(0, 1, |_| Load { in_flight: 0, avoided: false }), None);
    }
}
