//! Which endpoint gets a request, by the ways other than the less loaded of two, which is in [`crate::balance`].
//!
//! Endpoints that failed lately are left out as long as there is another one.

use crate::balance::Load;

/// An endpoint takes at most this much more than its even share of what is under way, in percent, when requests go by their key.
pub const BOUND_PERCENT: usize = 125;
/// A slow endpoint gets at least this part of what the quickest one gets, so that it is seen when it is quick again.
pub const LEAST_SHARE: u64 = 10;

/// One after the other; `turn` rises by one with every request.
pub fn in_turn(endpoints: usize, turn: usize, load: impl Fn(usize) -> Load) -> Option<usize> {
    let usable = usable(endpoints, &load);
    usable.get(turn.checked_rem(usable.len())?).copied()
}

/// Any. `random` is any 64 random bits.
pub fn at_random(endpoints: usize, random: u64, load: impl Fn(usize) -> Load) -> Option<usize> {
    let usable = usable(endpoints, &load);
    let index = (u128::from(random) * usable.len() as u128) >> 64;
    usable.get(usize::try_from(index).ok()?).copied()
}

/// More often the ones that answer quickly: in proportion to how many answers each could give in the same time. `took` is an
/// endpoint's [`smooth`]ed time in microseconds, 0 if it is not known: such a one counts as the quickest.
pub fn weighted(
    endpoints: usize,
    random: u64,
    load: impl Fn(usize) -> Load,
    took: impl Fn(usize) -> u64,
) -> Option<usize> {
    let usable = usable(endpoints, &load);
    let known = usable.iter().map(|index| took(*index)).filter(|took| *took > 0);
    let quickest = known.min().unwrap_or(1);
    let weight = |index: &usize| {
        let took = took(*index);
        let took = if took == 0 { quickest } else { took.min(quickest.saturating_mul(LEAST_SHARE)) };
        u128::from(quickest) * 1_000_000 / u128::from(took.max(1))
    };
    let whole: u128 = usable.iter().map(weight).sum();
    let mut at = (u128::from(random >> 32) * whole) >> 32;
    for index in &usable {
        let weight = weight(index);
        if at < weight {
            return Some(*index);
        }
        at -= weight;
    }
    usable.last().copied()
}

/// An endpoint's time with one more answer: seven parts of what was, one of the new (as TCP smooths its round trips, RFC 6298).
pub fn smooth(before_us: u64, took_us: u64) -> u64 {
    let took_us = took_us.clamp(1, 60_000_000);
    if before_us == 0 { took_us } else { ((before_us * 7 + took_us) / 8).max(1) }
}

/// Always the same for a key, as long as it is there and not overloaded; when one comes or goes, only its own keys move.
///
/// The endpoint with the highest hash of key and name (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous",
/// 1996), of those with less than 125 % of an even share of what is under way (Mirrokni, Thorup, Zadimoghaddam, "Consistent
/// Hashing with Bounded Loads", 2016): a key that everybody asks for spills over instead of drowning one endpoint.
pub fn by_key(
    endpoints: usize,
    key: u64,
    name: impl Fn(usize) -> u64,
    load: impl Fn(usize) -> Load,
) -> Option<usize> {
    let usable = usable(endpoints, &load);
    let under_way: usize = usable.iter().map(|index| load(*index).in_flight).sum();
    let bound = ((under_way + 1) * BOUND_PERCENT).div_ceil(100 * usable.len().max(1));
    let fits = usable.iter().copied().filter(|index| load(*index).in_flight < bound);
    fits.max_by_key(|index| mix(key ^ mix(name(*index))))
}

/// Every bit of the answer depends on every bit of the number (`SplitMix64`).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Those that did not fail lately; all, if all did.
fn usable(endpoints: usize, load: impl Fn(usize) -> Load) -> Vec<usize> {
    let healthy: Vec<usize> = (0..endpoints).filter(|index| !load(*index).avoided).collect();
    if healthy.is_empty() { (0..endpoints).collect() } else { healthy }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn idle(_: usize) -> Load {
        Load { in_flight: 0, avoided: false }
    }

    #[test]
    fn all_get_their_turn_and_the_avoided_one_none() {
        let load = |index: usize| Load { in_flight: 0, avoided: index == 2 };
        let mut seen = [0; 5];
        (0..400).for_each(|turn| seen[in_turn(5, turn, load).expect("endpoints")] += 1);
        assert_eq!(seen, [100, 100, 0, 100, 100]);
        assert_eq!(
            (in_turn(0, 7, idle), at_random(0, 7, idle), by_key(0, 7, |_| 0, idle)),
            (None, None, None)
        );
    }

    #[test]
    fn the_quick_ones_get_more_and_the_slow_ones_something() {
        // 1 ms, 2 ms, 10 s, not known.
        let took = [1_000, 2_000, 10_000_000, 0];
        let mut seen = [0_u32; 4];
        for step in 0..26_000_u64 {
            seen[weighted(4, mix(step), idle, |index| took[index]).expect("endpoints")] += 1;
        }
        for (seen, expected) in seen.into_iter().zip([10_000, 5_000, 1_000, 10_000]) {
            assert!(seen.abs_diff(expected) < expected / 8 + 50, "{seen} for {expected}");
        }
    }

    proptest! {
        #[test]
        fn a_healthy_endpoint_is_taken_if_there_is_one(avoided in prop::collection::vec(any::<bool>(), 1..20), random: u64) {
            let load = |index: usize| Load { in_flight: 0, avoided: avoided[index] };
            let picks = [
                in_turn(avoided.len(), usize::try_from(random >> 1).unwrap_or(0), load),
                at_random(avoided.len(), random, load),
                weighted(avoided.len(), random, load, |index| index as u64),
                by_key(avoided.len(), random, |index| index as u64, load),
            ];
            for picked in picks {
                let index = picked.expect("endpoints");
                prop_assert!(!avoided[index] || avoided.iter().all(|avoided| *avoided));
            }
        }

        #[test]
        fn only_the_keys_of_an_endpoint_that_goes_move(names in prop::collection::hash_set(any::<u64>(), 2..20), keys in prop::collection::vec(any::<u64>(), 100)) {
            let names: Vec<u64> = names.into_iter().collect();
            let gone = |index: usize| Load { in_flight: 0, avoided: index == 0 };
            for key in keys {
                let before = by_key(names.len(), key, |index| names[index], idle).expect("endpoints");
                let after = by_key(names.len(), key, |index| names[index], gone).expect("endpoints");
                prop_assert!(before == after || before == 0);
            }
        }

        #[test]
        fn one_key_does_not_drown_an_endpoint(endpoints in 1_usize..20, requests in 1_usize..500, key: u64) {
            let mut in_flight = vec![0; endpoints];
            for _ in 0..requests {
                let load = |index: usize| Load { in_flight: in_flight[index], avoided: false };
                let index = by_key(endpoints, key, |index| index as u64, load).expect("endpoints");
                in_flight[index] += 1;
            }
            let most = (requests * BOUND_PERCENT).div_ceil(100 * endpoints);
            prop_assert!(in_flight.iter().all(|under_way| *under_way <= most), "{in_flight:?}");
        }

        #[test]
        fn keys_are_spread(endpoints in 2_usize..10) {
            let mut seen = vec![0_usize; endpoints];
            for key in 0..10_000 {
                seen[by_key(endpoints, key, |index| index as u64, idle).expect("endpoints")] += 1;
            }
            prop_assert!(seen.iter().all(|seen| seen.abs_diff(10_000 / endpoints) < 600), "{seen:?}");
        }

        #[test]
        fn a_smoothed_time_stays_between_what_it_is_made_of(before in 1_u64..60_000_000, took in 1_u64..60_000_000) {
            let smoothed = smooth(before, took);
            prop_assert!((before.min(took)..=before.max(took)).contains(&smoothed) || smoothed == 1);
        }
    }
}
