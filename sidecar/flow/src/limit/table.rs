//! Many keys in bounded memory.
//!
//! Keys are 64-bit hashes under a secret, so that nobody can choose two that collide. Two that do would share a limit: the chance
//! that any two of 100,000 do is 3 in ten thousand million. A key costs 64 bytes and its place in the index, 90 to 110 all told.
//!
//! When the table is full, a new key takes the place of another: of [`SAMPLE`] in turn the one that is full again, or the soonest.
//! A key that is full again is not missed. One that is not begins anew: it may do once more what its rule allows at once. So
//! somebody with more addresses than the table has places is limited by addresses times limit, as before, and can make others be
//! forgotten, never refused. A suspension is forgotten only when all of the sample last longer.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::rate::State;

/// Keys that are looked at to find one whose place is taken.
const SAMPLE: usize = 8;

/// The keys.
#[derive(Debug)]
pub struct Table {
    places: HashMap<u64, u32, BuildHasherDefault<Ready>>,
    entries: Vec<Entry>,
    most: usize,
    /// Where the next sample begins.
    hand: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    state: State,
}

impl Table {
    /// For so many keys; memory grows as they come.
    pub fn new(most: usize) -> Self {
        Self {
            places: HashMap::default(),
            entries: Vec::new(),
            most: most.clamp(1, u32::MAX as usize),
            hand: 0,
            forgotten: 0,
        }
    }

    /// What is remembered of a key. A new one may take another's place.
    pub fn state(&mut self, key: u64, now: Duration) -> &mut State {
        let place = match self.places.get(&key) {
            Some(place) => *place as usize,
            None => self.settle(key, now),
        };
        debug_assert!(place < self.entries.len());
        // In range: places are those of entries, and entries are never removed.
        let last = self.entries.len() - 1;
        #[allow(clippy::indexing_slicing)]
        &mut self.entries[place.min(last)].state
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys that were forgotten before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn settle(&mut self, key: u64, now: Duration) -> usize {
        let entry = Entry { key, state: State::default() };
        let place = if self.entries.len() < self.most {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.victim(now);
            if let Some(found) = self.entries.get_mut(place) {
                if found.state.fresh_at() > now {
                    self.forgotten += 1;
                }
                self.places.remove(&found.key);
                *found = entry;
            }
            place
        };
        self.places.insert(key, u32::try_from(place).unwrap_or(u32::MAX));
        place
    }

    /// Of the next few, the one that is full again, or soonest.
    fn victim(&mut self, now: Duration) -> usize {
        let mut victim = (self.hand % self.most, Duration::MAX);
        for _ in 0..SAMPLE {
            self.hand = (self.hand + 1) % self.most;
            let Some(entry) = self.entries.get(self.hand) else { continue };
            if entry.state.fresh_at() < victim.1 {
                victim = (self.hand, entry.state.fresh_at());
            }
            if victim.1 <= now {
                break;
            }
        }
        victim.0
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rate::{Rule, Verdict};
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn admitted(table: &mut Table, rule: &Rule, key: u64, now: Duration) -> bool {
        matches!(table.state(key, now).take(rule, now), Verdict::Admitted { .. })
    }

    #[test]
    fn a_key_is_64_bytes() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn keys_do_not_share_and_are_remembered_up_to_the_bound() {
        let (rule, mut table) = (Rule::window(2, MINUTE), Table::new(1_000));
        for key in 0..1_000_u64 {
            assert!(admitted(&mut table, &rule, key << 40, Duration::ZERO));
        }
        for key in 0..1_000_u64 {
            assert!(admitted(&mut table, &rule, key << 40, Duration::ZERO));
            assert!(!admitted(&mut table, &rule, key << 40, Duration::ZERO));
        }
        assert_eq!((table.len(), table.forgotten()), (1_000, 0));
    }

    /// A flood of new keys takes the places of those that are full again first, and never those of suspended ones while
    /// there are others.
    #[test]
    fn suspensions_outlive_a_flood() {
        let (rule, mut table) = (Rule::window(1, MINUTE).suspending(MINUTE * 60), Table::new(512));
        for key in 0..8 {
            assert!(admitted(&mut table, &rule, key << 20, Duration::ZERO));
            assert!(!admitted(&mut table, &rule, key << 20, Duration::ZERO));
        }
        for key in 1..100_000_u64 {
            let now = Duration::from_millis(key);
            assert!(admitted(&mut table, &rule, key.wrapping_mul(0x9e37_79b9_7f4a_7c15), now));
        }
        let now = Duration::from_secs(100);
        let suspended = (0..8).filter(|key| !admitted(&mut table, &rule, key << 20, now)).count();
        // Eight in a row may be a whole sample once.
        assert!(suspended >= 7, "{suspended} of 8");
        assert_eq!(table.len(), 512);
    }

    proptest! {
        #[test]
        fn never_beyond_its_bound_and_always_the_same_as_alone_below_it(
            most in 1_usize..40,
            asks in prop::collection::vec((0_u64..60, 0_u64..200), 1..400),
        ) {
            let rule = Rule::window(2, Duration::from_secs(1));
            let (mut table, mut alone, mut now) = (Table::new(most), HashMap::new(), 0);
            let mut keys = std::collections::HashSet::new();
            for (key, gap) in asks {
                now += gap;
                let at = Duration::from_millis(now);
                keys.insert(key);
                let found = table.state(key, at).take(&rule, at);
                let expected = alone.entry(key).or_insert_with(State::default).take(&rule, at);
                prop_assert!(table.len() <= most);
                prop_assert_eq!(table.places.len(), table.entries.len());
                if keys.len() <= most {
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
