//! Ids that rise with time and that no two workers ever share: 1 bit 0, 41 bits of milliseconds since 2025, 5 of the data centre, 5 of
//! the worker, 12 of a sequence.
//!
//! The ten bits between are a slot that is leased in the store: two workers never have the same one at a time, and who gets a slot
//! that another one had begins after everything that one can have made. A clock that goes back makes no ids until it is where it was.

use super::Millis;

/// Where ids begin to count: 2025-01-01T00:00:00Z.
pub const EPOCH: Millis = 1_735_689_600_000;
/// How many slots there are: 32 data centres of 32 workers.
pub const SLOTS: u16 = 1024;
/// Ids of one slot in one millisecond.
pub const PER_MILLI: u16 = 4096;
/// How far the clock may go back without an error: the ids that follow wait for it.
pub const SMALL_STEP_BACK: Millis = 5;

const SEQUENCE_BITS: u32 = 12;
const SLOT_BITS: u32 = 10;
const MAX_TIME: Millis = (1 << 41) - 1;

/// Why there is no id now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// All ids of this millisecond are used, or the clock went back by very little.
    #[error("no id is free until {0} ms since 1970")]
    Wait(Millis),
    /// The clock went back.
    #[error("the clock has gone back by {0} ms: ids wait until it is where it was")]
    ClockMovedBack(Millis),
    /// The clock is before 2025 or after 2094.
    #[error("the clock says {0} ms since 1970, which ids cannot hold")]
    OutOfRange(Millis),
    /// No slot is leased.
    #[error("no slot for ids is leased: all are in use, or the lease could not be renewed")]
    NoSlot,
}

/// The ids of one slot.
#[derive(Clone, Debug)]
pub struct Ids {
    slot: u16,
    last: Millis,
    sequence: u16,
}

impl Ids {
    /// The ids of a slot after `last`, the last millisecond in which somebody else can have used it.
    pub const fn new(slot: u16, last: Millis) -> Self {
        Self { slot: slot % SLOTS, last, sequence: PER_MILLI - 1 }
    }

    /// The next id.
    pub fn next(&mut self, now: Millis) -> Result<i64, IdError> {
        let time = now - EPOCH;
        if !(0..=MAX_TIME).contains(&time) {
            return Err(IdError::OutOfRange(now));
        }
        if now < self.last {
            let back = self.last - now;
            return Err(if back <= SMALL_STEP_BACK {
                IdError::Wait(self.last)
            } else {
                IdError::ClockMovedBack(back)
            });
        }
        if now > self.last {
            self.last = now;
            // Not always from 0, so that ids modulo a small number spread evenly when few are made in a millisecond.
            self.sequence = low_bits(time, 63);
        } else if self.sequence + 1 >= PER_MILLI {
            return Err(IdError::Wait(self.last + 1));
        } else {
            self.sequence += 1;
        }
        let high = (time << SLOT_BITS) | Millis::from(self.slot);
        Ok((high << SEQUENCE_BITS) | Millis::from(self.sequence))
    }

    /// How long to wait until `wanted` ids can be made at once: for the next millisecond, or for a clock that went back by very
    /// little. Zero when they can be made now, or when waiting does not help.
    pub fn pause(&self, now: Millis, wanted: usize) -> Millis {
        let back = self.last - now;
        let left = usize::from(PER_MILLI - 1 - self.sequence);
        match back {
            0 if left < wanted => 1,
            1..=SMALL_STEP_BACK => back + 1,
            _ => 0,
        }
    }

    /// The slot.
    pub const fn slot(&self) -> u16 {
        self.slot
    }

    /// The millisecond of the last id.
    pub const fn last(&self) -> Millis {
        self.last
    }
}

/// The parts of an id: when it was made, data centre, worker, sequence.
///
/// ```
/// use shop_ledger::domain::ids::{EPOCH, Ids, parts};
/// let id = Ids::new(37, 0).next(EPOCH + 64).unwrap();
/// assert_eq!(parts(id), (EPOCH + 64, 1, 5, 0));
/// ```
pub fn parts(id: i64) -> (Millis, u16, u16, u16) {
    let slot = id >> SEQUENCE_BITS;
    let time = (id >> (SEQUENCE_BITS + SLOT_BITS)) + EPOCH;
    (time, low_bits(slot >> 5, 31), low_bits(slot, 31), low_bits(id, PER_MILLI - 1))
}

/// The lowest bits of a number, as many as `mask` has.
fn low_bits(number: i64, mask: u16) -> u16 {
    let [low, next, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, next]) & mask
}

/// A slot that is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which.
    pub slot: u16,
    /// Rises with each holder.
    pub epoch: i64,
    /// No id of this millisecond or before may be made.
    pub last: Millis,
}

/// A row of the slots' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// Which.
    pub slot: u16,
    /// Rises with each holder.
    pub epoch: i64,
    /// Until when it is leased.
    pub expires_at: Millis,
    /// The last millisecond that its holder wrote down.
    pub last: Millis,
}

/// How long a lease holds without being renewed.
pub const LEASE: Millis = 30_000;
/// How often it is renewed.
pub const RENEW: Millis = 10_000;
/// A holder makes no more ids this long before its lease ends, measured on a clock that never goes back.
pub const MARGIN: Millis = 5_000;

/// The slot to take at `now`, of the rows there are: the lowest one that is free.
///
/// One that was given back is free at once. One whose holder vanished is free when its lease is over, and what that holder made
/// after it last wrote its time down is counted as made.
pub fn free_slot(rows: &[SlotRow], now: Millis) -> Option<Lease> {
    (0..SLOTS).find_map(|slot| match rows.iter().find(|row| row.slot == slot) {
        None => Some(Lease { slot, epoch: 1, last: 0 }),
        Some(row) if row.expires_at == 0 => Some(Lease { slot, epoch: row.epoch + 1, last: row.last }),
        Some(row) if row.expires_at <= now => {
            Some(Lease { slot, epoch: row.epoch + 1, last: row.last.max(row.expires_at) })
        }
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_are_where_they_belong() {
        let id = Ids::new(31 * 32 + 17, 0).next(EPOCH + MAX_TIME).unwrap();
        assert_eq!(parts(id), (EPOCH + MAX_TIME, 31, 17, 63));
        assert!(id > 0);
    }

    #[test]
    fn a_clock_that_goes_back_makes_none_until_it_is_where_it_was() {
        let mut ids = Ids::new(1, 0);
        let start = EPOCH + 1_000_000;
        let first = ids.next(start).unwrap();
        assert_eq!(ids.next(start - 5), Err(IdError::Wait(start)));
        assert_eq!(ids.next(start - 1000), Err(IdError::ClockMovedBack(1000)));
        assert!(ids.next(start).unwrap() > first);
    }

    #[test]
    fn a_full_millisecond_waits_for_the_next_one() {
        let mut ids = Ids::new(1, 0);
        let now = EPOCH + 64_000;
        for _ in 0..PER_MILLI {
            ids.next(now).unwrap();
        }
        assert_eq!(ids.next(now), Err(IdError::Wait(now + 1)));
        assert_eq!((ids.pause(now, 1), ids.pause(now - 2, 1), ids.pause(now - 6, 1)), (1, 3, 0));
        assert_eq!(ids.pause(now + 1, 1000), 0);
        assert!(ids.next(now + 1).is_ok());
        assert_eq!((ids.pause(now + 1, 1000), ids.pause(now + 1, 4096)), (0, 1));
    }

    #[test]
    fn who_follows_on_a_slot_begins_after_all_that_was_made() {
        let mut before = Ids::new(4, 0);
        let now = EPOCH + 9_999;
        let last = before.next(now).unwrap();
        let mut after = Ids::new(4, before.last());
        assert_eq!(after.next(now), Err(IdError::Wait(now + 1)));
        assert_eq!(after.next(now - 10_000 + 1_000), Err(IdError::ClockMovedBack(9_000)));
        assert!(after.next(now + 1).unwrap() > last);
    }

    #[test]
    fn a_clock_that_ids_cannot_hold_is_refused() {
        assert_eq!(Ids::new(0, 0).next(EPOCH - 1), Err(IdError::OutOfRange(EPOCH - 1)));
        let late = EPOCH + MAX_TIME + 1;
        assert_eq!(Ids::new(0, 0).next(late), Err(IdError::OutOfRange(late)));
    }

    #[test]
    fn slots_are_given_once() {
        let held = |slot, expires_at| SlotRow { slot, epoch: 3, expires_at, last: 500 };
        assert_eq!(free_slot(&[], 1000), Some(Lease { slot: 0, epoch: 1, last: 0 }));
        assert_eq!(free_slot(&[held(0, 1001)], 1000), Some(Lease { slot: 1, epoch: 1, last: 0 }));
        assert_eq!(free_slot(&[held(0, 1000)], 1000), Some(Lease { slot: 0, epoch: 4, last: 1000 }));
        assert_eq!(free_slot(&[held(0, 0)], 1000), Some(Lease { slot: 0, epoch: 4, last: 500 }));
        let all: Vec<_> = (0..SLOTS).map(|slot| held(slot, 1001)).collect();
        assert_eq!(free_slot(&all, 1000), None);
    }

    proptest! {
        /// However the clock moves, ids rise and never repeat.
        #[test]
        fn ids_rise_however_the_clock_moves(steps in proptest::collection::vec(-20_i64..20, 1..300)) {
            let mut ids = Ids::new(9, 0);
            let mut now = EPOCH + 1_000_000;
            let mut last = 0;
            for step in steps {
                now += step;
                if let Ok(id) = ids.next(now) {
                    prop_assert!(id > last);
                    last = id;
                }
            }
        }
    }
}
