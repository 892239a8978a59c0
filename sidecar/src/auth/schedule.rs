//! When keys are fetched: pure, with the time as an argument.

use std::time::Duration;

/// How old keys become before they are fetched again.
pub const FRESH: Duration = Duration::from_mins(10);
/// Between two fetches because of an unknown key.
pub const ASKED: Duration = Duration::from_secs(30);
/// After the first failure while there are no keys at all; it doubles up to [`ASKED`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest shift of it.
const MOST_DOUBLED: u32 = 6;

/// When the next fetch is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    due: Duration,
    /// When the last fetch began, and when one was asked for because of an unknown key.
    begun: Option<Duration>,
    asked: Option<Duration>,
    failures: u32,
    has_keys: bool,
}

impl Schedule {
    /// The first fetch is due now.
    pub fn new(now: Duration) -> Self {
        Self { due: now, begun: None, asked: None, failures: 0, has_keys: false }
    }

    /// When the next one is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A token names a key that is not there. Whether it is worth waiting for the next fetch: it is under way, or due now.
    pub fn ask(&mut self, now: Duration) -> bool {
        if !self.has_keys || self.due <= now {
            return self.due <= now || self.begun.is_some();
        }
        let last = self.asked.max(self.begun);
        if last.is_some_and(|last| now < last + ASKED) {
            return false;
        }
        self.asked = Some(now);
        self.due = now;
        true
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Duration) {
        self.begun = Some(now);
    }

    /// A fetch has ended; what it brought counts even if nothing is new.
    pub fn end(&mut self, now: Duration, fetched: bool) {
        if fetched {
            self.has_keys = true;
            self.failures = 0;
            self.due = now + FRESH;
        } else {
            let pause = FIRST_RETRY * 2_u32.pow(self.failures.min(MOST_DOUBLED));
            self.failures = self.failures.saturating_add(1);
            self.due = now + if self.has_keys { ASKED } else { pause.min(ASKED) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn keys_are_fetched_now_and_every_ten_minutes() {
        let mut schedule = Schedule::new(at(5));
        assert_eq!(schedule.due(), at(5));
        schedule.begin(at(5));
        schedule.end(at(6), true);
        assert_eq!(schedule.due(), at(606));
    }

    #[test]
    fn an_unknown_key_brings_one_fetch_in_thirty_seconds() {
        let mut schedule = Schedule::new(at(0));
        schedule.begin(at(0));
        schedule.end(at(0), true);
        assert!(!schedule.ask(at(29)));
        let mut fetches = 0;
        for now in 30..330 {
            let worth = schedule.ask(at(now));
            if schedule.due() <= at(now) {
                assert!(worth);
                fetches += 1;
                schedule.begin(at(now));
                schedule.end(at(now), now % 60 < 30);
            }
        }
        assert_eq!(fetches, 10);
    }

    #[test]
    fn an_outage_is_asked_about_seldom_once_there_are_keys() {
        let mut schedule = Schedule::new(at(0));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let now = schedule.due();
            schedule.begin(now);
            schedule.end(now, false);
            pauses.push(schedule.due().saturating_sub(now).as_millis());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        let now = schedule.due();
        schedule.end(now, true);
        schedule.end(now, false);
        assert_eq!(schedule.due(), now + ASKED);
    }
}
