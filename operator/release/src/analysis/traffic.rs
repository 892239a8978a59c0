//! What the sidecars' counters say about a candidate: against fixed bounds, and against the revision before it.
//!
//! Each bound has two promises, each kept with [`ERROR`] however often it is looked at (see [`super::bound`]): a revision that is as
//! good as the bound fails with at most 5 % (all bounds of an analysis together), and one that is clearly worse passes with at most
//! 5 %. Clearly worse is twice as many failures as the bound allows, or, where `minRequests` are too few to tell that, as many as
//! `minRequests` without a failure rule out (1.9 % for 200). A latency is a share too: at most 1 % of the requests may take longer.

use shop_crds::{
    Percent,
    names::ADOPTED,
    status::analysis::{AnalysisOutcome, AnalysisStage, CheckState},
};

use super::{
    Counters, Tally,
    bound::{Evidence, caught, compared},
    run::{Run, Standing, note},
};
use crate::view::{Draft, after};

/// Probability of a wrong result, of either kind.
const ERROR: f64 = 0.05;
/// Requests without which nothing fails.
const LEAST_TO_FAIL: u64 = 20;
/// Share of requests that may take longer than the 99th percentile.
const SLOW: f64 = 0.01;
/// How often a measurement is kept.
const KEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

const SUCCESS_RATE: &str = "successRate";
const SUCCESS_DROP: &str = "successDrop";
const LATENCY: &str = "latencyP99";
const LATENCY_INCREASE: &str = "latencyIncrease";

/// Names of the bounds that are looked at.
pub(super) fn names(run: &Run<'_>) -> Vec<&'static str> {
    let success = run.analysis.success_rate.as_ref();
    let latency = run.analysis.latency_p99.as_ref();
    let all = [
        (SUCCESS_RATE, success.is_some_and(|rate| rate.min.is_some())),
        (SUCCESS_DROP, success.is_some_and(|rate| rate.max_drop.is_some())),
        (LATENCY, latency.is_some_and(|latency| latency.max.is_some())),
        (LATENCY_INCREASE, latency.is_some_and(|latency| latency.max_increase.is_some())),
    ];
    // Before anybody uses the candidate only copies of requests can be counted.
    let mirrors = || run.view.release.canary.as_ref().is_some_and(|canary| canary.mirror.is_some());
    let counted = run.stage != AnalysisStage::Verifying || run.from != ADOPTED && mirrors();
    all.into_iter().filter(|(_, is)| *is && counted).map(|(name, _)| name).collect()
}

/// Looks at one of the bounds, and keeps a measurement of it now and then.
pub(super) fn measure(run: &Run<'_>, check: &mut CheckState, draft: &mut Draft) -> Standing {
    let standing = look(run, check);
    let kept = check.measurements.last().map_or(run.since, |last| last.at.0);
    let due = after(kept, KEEP_EVERY);
    if standing.decided != check.outcome || due <= run.view.now {
        let outcome = standing.decided.unwrap_or(AnalysisOutcome::Inconclusive);
        note(run, check, &standing.says, outcome);
    } else {
        draft.wake(due);
    }
    if run.may_pass_at() > run.view.now {
        draft.wake(run.may_pass_at());
    }
    standing
}

fn look(run: &Run<'_>, check: &mut CheckState) -> Standing {
    let Some(tally) = run.tally(run.to) else {
        return Standing::open(AnalysisOutcome::Inconclusive, "no sidecar has told what it counted");
    };
    let silent = tally.silent;
    let own = &own(run, tally);
    if silent > 0 && own.requests == 0 {
        let says = format!("{silent} sidecars of revision {} do not tell what they count", run.to);
        return Standing::open(AnalysisOutcome::Error, says);
    }
    let success = run.analysis.success_rate.as_ref();
    let latency = run.analysis.latency_p99.as_ref();
    let standing = match check.name.as_str() {
        SUCCESS_RATE => success.and_then(|rate| rate.min).map(|min| rate(run, tally, own, min)),
        SUCCESS_DROP => success.and_then(|rate| rate.max_drop).map(|drop| dropped(run, tally, own, drop)),
        LATENCY => latency.and_then(|latency| latency.max).map(|max| {
            let wanted = u64::try_from(max.duration().as_micros()).unwrap_or(u64::MAX);
            slow(run, tally, own, own.bound_at(wanted))
        }),
        _ => {
            latency.and_then(|latency| latency.max_increase).map(|most| slower(run, tally, own, most, check))
        }
    };
    standing.unwrap_or_else(|| Standing::open(AnalysisOutcome::Inconclusive, "is not asked for any more"))
}

/// Requests of the candidate. What the other revision's sidecars handed over to it and none of its pods answered is in none of its
/// own counters, and has failed.
fn own(run: &Run<'_>, tally: &Tally) -> Counters {
    if run.stage == AnalysisStage::Verifying {
        return tally.counted.mirrored.clone();
    }
    let unanswered = run.tally(run.from).map_or(0, |from| from.counted.unanswered);
    let mut own = tally.counted.users.clone();
    own.requests = own.requests.saturating_add(unanswered);
    own.failures = own.failures.saturating_add(unanswered);
    own
}

/// What is tested: `failures` of `requests`, of which a share is allowed and another one must not pass.
struct Test {
    requests: u64,
    failures: u64,
    /// Fails when the share is shown to be above.
    fails_above: f64,
    /// Passes when the share is shown to be below.
    passes_below: f64,
    /// Level of either promise, before it is shared among the bounds.
    level: f64,
}

impl Test {
    fn standing(&self, run: &Run<'_>, tally: &Tally, says: &str) -> Standing {
        let bounds = names(run).len().max(1) as f64;
        let evidence = Evidence::new(self.requests, self.failures, self.fails_above);
        let least = run.analysis.min_requests();
        let fails =
            self.requests >= LEAST_TO_FAIL && evidence.is_above(self.fails_above, self.level / bounds);
        let passes = self.requests >= least && evidence.is_below(self.passes_below, self.level);
        // A pod that is gone or silent may have seen what was not counted: it never lets an analysis pass.
        let settled = run.may_pass_at() <= run.view.now && tally.silent == 0;
        let decided = match (fails, passes && settled) {
            (true, _) => Some(AnalysisOutcome::Failed),
            (false, true) => Some(AnalysisOutcome::Passed),
            (false, false) => None,
        };
        let short = if self.requests < least && !fails {
            format!("; {least} requests are needed")
        } else {
            String::new()
        };
        Standing { decided, otherwise: AnalysisOutcome::Inconclusive, says: format!("{says}{short}") }
    }
}

fn rate(run: &Run<'_>, tally: &Tally, own: &Counters, min: Percent) -> Standing {
    let allowed = 1.0 - min.fraction();
    let test = Test {
        requests: own.requests,
        failures: own.failures,
        fails_above: allowed,
        passes_below: caught(allowed, run.analysis.min_requests(), ERROR),
        level: ERROR,
    };
    test.standing(run, tally, &format!("{} (at least {min})", succeeded(own)))
}

fn dropped(run: &Run<'_>, tally: &Tally, own: &Counters, drop: Percent) -> Standing {
    let Some(old) = before(run) else { return nothing_to_compare(run) };
    // Half of the error for what is known of the old revision, half for the test against it.
    let level = ERROR / 2.0;
    let least = run.analysis.min_requests();
    let shared = level / names(run).len().max(1) as f64;
    let (fails_above, _) = compared(old.requests, old.failures, drop.fraction(), least, shared);
    let (_, passes_below) = compared(old.requests, old.failures, drop.fraction(), least, level);
    let test = Test { requests: own.requests, failures: own.failures, fails_above, passes_below, level };
    let says =
        format!("{}, of revision {} {} (at most {drop} less)", succeeded(own), run.from, succeeded(&old));
    test.standing(run, tally, &says)
}

fn slower(run: &Run<'_>, tally: &Tally, own: &Counters, most: Percent, check: &mut CheckState) -> Standing {
    // Taken once: a bound that moves with what is seen would be no bound.
    if check.bound_us.is_none() {
        let Some(old) = before(run).filter(|old| old.timed() >= run.analysis.min_requests()) else {
            return nothing_to_compare(run);
        };
        let Some(p99) = old.p99_bound_us() else { return nothing_to_compare(run) };
        let allowed = u128::from(p99) * u128::from(10_000 + most.per_10_000()) / 10_000;
        let bound = old.bound_at(u64::try_from(allowed).unwrap_or(u64::MAX));
        check.bound_us = bound.or(old.bounds_us.last().copied()).and_then(|bound| i64::try_from(bound).ok());
    }
    let bound = check.bound_us.and_then(|bound| u64::try_from(bound).ok());
    slow(run, tally, own, bound.and_then(|bound| own.bound_at(bound)))
}

fn slow(run: &Run<'_>, tally: &Tally, own: &Counters, bound_us: Option<u64>) -> Standing {
    let Some(bound_us) = bound_us else {
        return Standing::open(AnalysisOutcome::Inconclusive, "no request was measured");
    };
    let (requests, failures) = (own.timed(), own.beyond(bound_us));
    let test = Test {
        requests,
        failures,
        fails_above: SLOW,
        passes_below: caught(SLOW, run.analysis.min_requests(), ERROR),
        level: ERROR,
    };
    let milliseconds = bound_us as f64 / 1_000.0;
    let share = if requests == 0 { 0.0 } else { failures as f64 / requests as f64 * 100.0 };
    test.standing(
        run,
        tally,
        &format!("{share:.2}% of {requests} requests took longer than {milliseconds}ms (at most 1%)"),
    )
}

/// What the old revision has to be compared with: beside canary steps what it did meanwhile, after the switch what it did as long as
/// its pods live.
fn before(run: &Run<'_>) -> Option<Counters> {
    let tally = run.tally(run.from)?;
    let counters = match run.stage {
        AnalysisStage::Watching => &tally.before.users,
        _ => &tally.counted.users,
    };
    (counters.requests >= run.analysis.min_requests()).then(|| counters.clone())
}

fn nothing_to_compare(run: &Run<'_>) -> Standing {
    let least = run.analysis.min_requests();
    let says = format!("revision {} has fewer than {least} requests to compare with", run.from);
    Standing::open(AnalysisOutcome::Inconclusive, says)
}

fn succeeded(counters: &Counters) -> String {
    let (all, failed) = (counters.requests, counters.failures);
    let share = if all == 0 { 100.0 } else { (all.saturating_sub(failed)) as f64 / all as f64 * 100.0 };
    format!("{share:.2}% of {all} requests succeeded")
}
