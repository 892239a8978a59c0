//! Two counts of the recent past, in ten slots: what is old falls out a tenth at a time, and memory does not grow with traffic.

use core::time::Duration;

/// Slots of the past that count.
const SLOTS: usize = 10;

/// Two counts over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Number of the slot since time began, and one: 0 was never written.
    number: u64,
    first: u32,
    second: u32,
}

impl Tally {
    /// Adds to the counts of now.
    pub(crate) fn add(&mut self, span: Duration, now: Duration, first: u32, second: u32) {
        let number = number(span, now);
        let place = usize::try_from(number % SLOTS as u64).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.number != number {
            *slot = Slot { number, first: 0, second: 0 };
        }
        slot.first = slot.first.saturating_add(first);
        slot.second = slot.second.saturating_add(second);
    }

    /// Both counts over the span that ends now.
    pub(crate) fn sums(&self, span: Duration, now: Duration) -> (u64, u64) {
        let last = number(span, now);
        let recent =
            |slot: &&Slot| slot.number > 0 && slot.number + SLOTS as u64 > last && slot.number <= last;
        let sum =
            |sums: (u64, u64), slot: &Slot| (sums.0 + u64::from(slot.first), sums.1 + u64::from(slot.second));
        self.slots.iter().filter(recent).fold((0, 0), sum)
    }
}

fn number(span: Duration, now: Duration) -> u64 {
    let width = (span.as_nanos() / SLOTS as u128).max(1);
    u64::try_from(now.as_nanos() / width).unwrap_or(u64::MAX - 1).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    proptest! {
        #[test]
        fn what_is_young_counts_and_what_is_old_does_not(steps in prop::collection::vec(0_u64..3_000, 1..200)) {
            let mut tally = Tally::default();
            let (mut now, mut times) = (Duration::ZERO, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                tally.add(SPAN, now, 1, 2);
                times.push(now);
                let (first, second) = tally.sums(SPAN, now);
                let younger = |age: u64| times.iter().filter(|at| now < **at + Duration::from_secs(age)).count() as u64;
                // Between nine and ten slots of one second are looked at.
                prop_assert!((younger(9)..=younger(10)).contains(&first), "{first}");
                prop_assert_eq!(second, 2 * first);
            }
            prop_assert_eq!(tally.sums(SPAN, now + SPAN), (0, 0));
        }
    }
}
