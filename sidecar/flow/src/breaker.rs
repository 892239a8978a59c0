//! Circuit breaker: what fails most of the time is left alone for a while, and then tried with a few requests.
//!
//! Closed, it counts the requests of the last seconds. When enough of them failed it opens, and everything is refused without
//! being sent. After a pause it is half open: a bounded number of requests is let through, and decides (Nygard, "Release It!").

use core::time::Duration;

use crate::tally::Tally;

/// When it opens, and for how long. Counted is over at least `requests` requests of the last `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Fewer requests than this say nothing.
    pub requests: u32,
    /// Failures in percent at which it opens.
    pub error_percent: u32,
    /// How far back requests count.
    pub window: Duration,
    /// How long everything is refused.
    pub open: Duration,
    /// Requests that are tried after it, at once at most; all must go well.
    pub trials: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let (window, open) = (Duration::from_secs(10), Duration::from_secs(5));
        Self { requests: 20, error_percent: 50, window, open, trials: 3 }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Good,
    /// It was not, or with a failure of the server.
    Bad,
    /// Nobody knows: the caller went away.
    Unknown,
}

/// A request that was let through; tells the breaker which of its times the request belongs to.
#[derive(Debug)]
#[must_use = "how it ended is to be told"]
pub struct Ticket {
    time: u64,
}

/// The breaker of one dependency.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    counts: Tally,
    state: State,
    /// Rises with every change of state: what ends in another time than it began in says nothing.
    time: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    HalfOpen {
        since: Duration,
        begun: u32,
        good: u32,
    },
}

impl Breaker {
    /// Whether a request may be sent; if not, how long it stays so at most.
    pub fn admit(&mut self, rules: &Rules, now: Duration) -> Result<Ticket, Duration> {
        match &mut self.state {
            State::Closed => {}
            State::Open { until } if now < *until => return Err(until.saturating_sub(now)),
            // Trials that take longer than the pause did block nobody: others are tried.
            State::HalfOpen { since, begun, .. } if now < *since + rules.open => {
                if *begun >= rules.trials {
                    return Err((*since + rules.open).saturating_sub(now));
                }
                *begun += 1;
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.change(State::HalfOpen { since: now, begun: 1, good: 0 });
            }
        }
        Ok(Ticket { time: self.time })
    }

    /// A request that was let through has ended.
    pub fn ended(&mut self, rules: &Rules, ticket: &Ticket, outcome: Outcome, now: Duration) {
        if ticket.time != self.time {
            return;
        }
        match (&mut self.state, outcome) {
            (State::Open { .. }, _) | (State::Closed, Outcome::Unknown) => {}
            (State::Closed, Outcome::Good) => self.counts.add(rules.window, now, 1, 0),
            (State::Closed, Outcome::Bad) => {
                self.counts.add(rules.window, now, 1, 1);
                let (all, bad) = self.counts.sums(rules.window, now);
                if all >= u64::from(rules.requests) && bad * 100 >= all * u64::from(rules.error_percent) {
                    self.change(State::Open { until: now + rules.open });
                }
            }
            (State::HalfOpen { .. }, Outcome::Bad) => self.change(State::Open { until: now + rules.open }),
            (State::HalfOpen { begun, .. }, Outcome::Unknown) => *begun = begun.saturating_sub(1),
            (State::HalfOpen { good, .. }, Outcome::Good) => {
                *good += 1;
                if *good >= rules.trials {
                    self.change(State::Closed);
                }
            }
        }
    }

    /// Whether requests are refused now.
    pub fn is_open(&self, now: Duration) -> bool {
        matches!(self.state, State::Open { until } if now < until)
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.time += 1;
        self.counts = Tally::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        requests: 20,
        error_percent: 50,
        window: Duration::from_secs(10),
        open: Duration::from_secs(5),
        trials: 3,
    };

    fn request(breaker: &mut Breaker, outcome: Outcome, now: Duration) -> bool {
        let Ok(ticket) = breaker.admit(&RULES, now) else { return false };
        breaker.ended(&RULES, &ticket, outcome, now);
        true
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn opens_at_half_of_twenty_and_closes_after_three_good_trials() {
        let mut breaker = Breaker::default();
        for index in 0..19 {
            assert!(request(&mut breaker, if index % 2 == 0 { Outcome::Good } else { Outcome::Bad }, at(0)));
        }
        assert!(!breaker.is_open(at(1)));
        assert!(request(&mut breaker, Outcome::Bad, at(1)), "the twentieth, the tenth that fails");
        assert!(breaker.is_open(at(1)));
        assert_eq!(breaker.admit(&RULES, at(4)).expect_err("open"), at(2));
        let trials: Vec<_> = (0..3).map(|_| breaker.admit(&RULES, at(6)).expect("a trial")).collect();
        assert!(breaker.admit(&RULES, at(6)).is_err(), "no fourth");
        for trial in &trials {
            breaker.ended(&RULES, trial, Outcome::Good, at(7));
        }
        assert!((0..100).all(|_| request(&mut breaker, Outcome::Good, at(7))));
    }

    #[test]
    fn a_trial_that_fails_opens_it_again_and_one_that_was_given_up_is_replaced() {
        let mut breaker = Breaker::default();
        (0..20).for_each(|_| assert!(request(&mut breaker, Outcome::Bad, at(0))));
        (0..10).for_each(|_| assert!(request(&mut breaker, Outcome::Unknown, at(5)), "nobody knows yet"));
        assert!(request(&mut breaker, Outcome::Bad, at(6)));
        assert!(!request(&mut breaker, Outcome::Good, at(10)));
        assert!(request(&mut breaker, Outcome::Good, at(11)));
    }

    #[test]
    fn trials_without_end_block_nobody() {
        let mut breaker = Breaker::default();
        (0..20).for_each(|_| assert!(request(&mut breaker, Outcome::Bad, at(0))));
        let endless: Vec<_> = (0..3).map(|_| breaker.admit(&RULES, at(5)).expect("a trial")).collect();
        assert!(breaker.admit(&RULES, at(9)).is_err());
        (0..3).for_each(|_| assert!(request(&mut breaker, Outcome::Good, at(10))));
        assert!((0..10).all(|_| request(&mut breaker, Outcome::Good, at(10))), "closed");
        for late in &endless {
            breaker.ended(&RULES, late, Outcome::Bad, at(11));
        }
        assert!(!breaker.is_open(at(11)), "they are of another time");
    }

    proptest! {
        #[test]
        fn stays_closed_below_its_rules_and_never_refuses_longer_than_it_may(
            steps in prop::collection::vec((0_u64..2_000, 0_u8..3), 1..400),
        ) {
            let mut breaker = Breaker::default();
            let (mut now, mut bad) = (Duration::ZERO, 0);
            for (step, outcome) in steps {
                now += Duration::from_millis(step);
                let outcome = [Outcome::Good, Outcome::Bad, Outcome::Unknown][usize::from(outcome)];
                bad += usize::from(outcome == Outcome::Bad);
                match breaker.admit(&RULES, now) {
                    Ok(ticket) => breaker.ended(&RULES, &ticket, outcome, now),
                    Err(left) => prop_assert!(left <= RULES.open && bad >= 10),
                }
            }
            // Whatever was: good answers close it after one pause.
            now += RULES.open;
            for _ in 0..RULES.trials {
                prop_assert!(request(&mut breaker, Outcome::Good, now));
            }
            prop_assert!(request(&mut breaker, Outcome::Good, now));
        }
    }
}
