//! Which requests' spans are kept, decided when a request has ended: failures and slow ones nearly always, of the rest a share.
//!
//! The choice within a share depends on nothing but the trace's id, by the rule of OpenTelemetry's consistent probability
//! sampling: services that have the same share choose the same traces without a word between them, and so do collectors and
//! SDKs that follow it. A higher share holds all traces of a lower one. What one service keeps for its own reasons the others
//! learn from a mark on the answer ([`Chain`]): from the cause to the root no span is missing, of siblings that had ended
//! before it there may be.

mod latency;

use std::sync::atomic::{AtomicU64, Ordering};

pub use latency::Latency;

/// The whole, in parts.
pub const WHOLE: u32 = 10_000;

/// Bits of a trace's id that are random (W3C Trace Context, level 2).
const RANDOM: u128 = (1 << 56) - 1;

/// Traces that are remembered as kept; beyond them the oldest may be forgotten.
const REMEMBERED: usize = 1_024;

/// Shares of requests whose spans are kept, in parts per 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of those that failed.
    pub errors: u32,
    /// Of those that took longer than 99 of 100 lately.
    pub slow: u32,
    /// Of all others.
    pub rest: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { errors: WHOLE, slow: 8_000, rest: 500 }
    }
}

/// Why a span is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its trace is one of the share that is kept whatever happens.
    Rest,
    /// It took longer than 99 of 100.
    Slow,
    /// It failed.
    Error,
    /// A service further down keeps its own.
    Chain,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rest, Self::Slow, Self::Error, Self::Chain];

    /// The word for it in labels and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Slow => "slow",
            Self::Error => "error",
            Self::Chain => "chain",
        }
    }

    /// Whether the callers must be told: those of [`Why::Rest`] find out by themselves.
    pub fn is_told(self) -> bool {
        self != Self::Rest
    }
}

/// What is known of a request when it is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// The trace it belongs to.
    pub trace_id: u128,
    /// Whether it failed.
    pub failed: bool,
    /// Whether it took longer than 99 of 100.
    pub slow: bool,
    /// Whether a service further down keeps its span of this trace.
    pub marked: bool,
}

impl Rates {
    /// Whether a request's span is kept, and why.
    pub fn decide(&self, ending: Ending) -> Option<Why> {
        let Ending { trace_id, failed, slow, marked } = ending;
        let classes = [
            (marked, WHOLE, Why::Chain),
            (failed, self.errors, Why::Error),
            (slow, self.slow, Why::Slow),
            (true, self.rest, Why::Rest),
        ];
        let mut chosen = classes.into_iter().filter(|(fits, share, _)| *fits && is_in(trace_id, *share));
        chosen.next().map(|(_, _, why)| why)
    }
}

/// Whether a trace is in a share: its random bits, as a number, are in the upper part of their range that is as large.
pub fn is_in(trace_id: u128, share: u32) -> bool {
    let left_out = (RANDOM + 1) * u128::from(WHOLE.saturating_sub(share)) / u128::from(WHOLE);
    trace_id & RANDOM >= left_out
}

/// Traces that a service further down keeps. Who sees the mark on an answer is not who ends the request that was waiting for
/// it, and nothing but the trace is common to both.
///
/// A place per trace by its id, without locks; a trace that comes to a place that is taken replaces the one before.
#[derive(Debug)]
pub struct Chain(Vec<AtomicU64>);

impl Default for Chain {
    fn default() -> Self {
        Self((0..REMEMBERED).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Chain {
    /// Remembers a trace.
    pub fn keep(&self, trace_id: u128) {
        let (place, id) = self.place(trace_id);
        if let Some(place) = place {
            place.store(id, Ordering::Relaxed);
        }
    }

    /// Whether a trace is remembered.
    pub fn has(&self, trace_id: u128) -> bool {
        let (place, id) = self.place(trace_id);
        place.is_some_and(|place| place.load(Ordering::Relaxed) == id)
    }

    fn place(&self, trace_id: u128) -> (Option<&AtomicU64>, u64) {
        // The lower half is the one that is random everywhere. Nothing is zero but a place that was never taken.
        let id = u64::try_from(trace_id & u128::from(u64::MAX)).unwrap_or_default().max(1);
        let index = usize::try_from(id % REMEMBERED as u64).unwrap_or_default();
        (self.0.get(index), id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates { errors: WHOLE, slow: 8_000, rest: 500 };

    fn ending(trace_id: u128) -> Ending {
        Ending { trace_id, failed: false, slow: false, marked: false }
    }

    /// The rule's own examples: with a probability of one half, ids whose random part begins with 8 to f are chosen.
    #[test]
    fn chosen_as_opentelemetry_does() {
        for (id, half, quarter) in [
            (0x0af7_6519_16cd_43dd_84ff_ffff_ffff_ffff, true, true),
            (0x0af7_6519_16cd_43dd_8480_0000_0000_0000, true, false),
            (0x0af7_6519_16cd_43dd_847f_ffff_ffff_ffff, false, false),
            (0x0af7_6519_16cd_43dd_84c0_0000_0000_0000, true, true),
            (0xffff_ffff_ffff_ffff_ff00_0000_0000_0000, false, false),
        ] {
            assert_eq!((is_in(id, 5_000), is_in(id, 2_500)), (half, quarter), "{id:x}");
        }
    }

    #[test]
    fn the_reason_is_the_strongest_one() {
        let id = u128::MAX;
        let all = Ending { failed: true, slow: true, marked: true, ..ending(id) };
        assert_eq!(RATES.decide(all), Some(Why::Chain));
        assert_eq!(RATES.decide(Ending { marked: false, ..all }), Some(Why::Error));
        assert_eq!(RATES.decide(Ending { slow: true, ..ending(id) }), Some(Why::Slow));
        assert_eq!(RATES.decide(ending(id)), Some(Why::Rest));
        // A failure that is not in the share of failures may still be in that of the rest.
        let rates = Rates { errors: 0, slow: 0, rest: WHOLE };
        assert_eq!(rates.decide(Ending { failed: true, slow: true, ..ending(0) }), Some(Why::Rest));
        assert_eq!(Rates { rest: 0, ..rates }.decide(Ending { failed: true, ..ending(id) }), None);
    }

    #[test]
    fn a_chain_forgets_when_its_place_is_taken() {
        let chain = Chain::default();
        assert!(!chain.has(0) && !chain.has(7));
        chain.keep(7);
        chain.keep(0);
        assert!(chain.has(7) && chain.has(0) && !chain.has(7 + REMEMBERED as u128));
        chain.keep(7 + REMEMBERED as u128);
        assert!(!chain.has(7) && chain.has(7 + REMEMBERED as u128));
    }

    proptest! {
        /// Whatever else is different in two services: what the one keeps by its id the other keeps too.
        #[test]
        fn a_trace_of_the_rest_is_whole(id: u128, failed: bool, slow: bool, marked: bool, rest in 0..=WHOLE) {
            let rates = Rates { rest, ..RATES };
            if rates.decide(ending(id)).is_some() {
                let elsewhere = rates.decide(Ending { failed, slow, marked, ..ending(id) });
                prop_assert!(elsewhere.is_some());
            }
        }

        #[test]
        fn failures_and_chains_are_always_kept(id: u128, slow: bool) {
            prop_assert_eq!(RATES.decide(Ending { failed: true, slow, ..ending(id) }), Some(Why::Error));
            prop_assert_eq!(RATES.decide(Ending { marked: true, slow, ..ending(id) }), Some(Why::Chain));
        }

        #[test]
        fn a_higher_share_holds_a_lower_one(id: u128, low in 0..=WHOLE, high in 0..=WHOLE) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(!is_in(id, low) || is_in(id, high));
            prop_assert!(!is_in(id, 0) && is_in(id, WHOLE));
        }

        /// Of random ids a share is chosen, within five standard deviations.
        #[test]
        fn shares_are_what_they_say(ids in prop::collection::vec(any::<u128>(), 4_000), share in 0..=WHOLE) {
            let (count, part) = (ids.len() as f64, f64::from(share) / f64::from(WHOLE));
            let chosen = ids.into_iter().filter(|id| is_in(*id, share)).count() as f64;
            let spread = (count * part * (1.0 - part)).sqrt();
            prop_assert!((chosen - count * part).abs() <= 5.0 * spread + 1.0, "{chosen} of {count} at {part}");
        }
    }
}
