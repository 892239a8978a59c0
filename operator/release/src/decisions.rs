//! What people decide: taken once, for one revision, and answered.
//!
//! A plan writes the status before the answers, and the answers oldest first. So what is not answered yet when a plan fails is
//! always the end of the row, and taking that end once more comes to the same status.

mod back;
mod forward;
mod pause;
mod restart;

use std::time::Duration;

use shop_crds::{
    DecisionOutcome, Reason, ReleaseDecisionStatus, Verb,
    status::{Phase, ReleaseState, RevisionResult},
};

use crate::{
    cut,
    observed::Decision,
    view::{Draft, View, active, after, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// Decisions of a service that are kept after they were answered.
const KEPT: usize = 50;
/// Decisions that may wait for an answer; of more, the oldest that do not lead back are refused unread.
const OPEN: usize = 100;
/// Decisions that one plan refuses or removes at most because there are too many.
const PER_PLAN: usize = 50;

/// What a decision came to.
struct Verdict {
    outcome: DecisionOutcome,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn accepted(message: impl Into<String>) -> Self {
        Self { outcome: DecisionOutcome::Accepted, reason: Reason::DecisionAccepted, message: message.into() }
    }

    fn done(message: impl Into<String>) -> Self {
        Self { outcome: DecisionOutcome::Done, reason: Reason::DecisionDone, message: message.into() }
    }

    fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: DecisionOutcome::Refused, reason, message: message.into() }
    }
}

/// Takes up every decision that has no answer, oldest first; the status holds that it was taken before anything follows.
pub(crate) fn take(view: &View<'_>, draft: &mut Draft) -> Vec<Write> {
    let mut open: Vec<&Decision> =
        view.observed.decisions.iter().filter(|one| outcome(one).is_none()).collect();
    open.sort_by(|left, right| age(left).cmp(&age(right)));
    let mut writes = flood(view, draft, &mut open);
    forward::recount(view, draft);
    for decision in open {
        let taken = draft.release().is_some_and(|release| release.decision.as_ref() == Some(&decision.name))
            || restart::goes_on(draft, decision);
        let verdict =
            if taken { Verdict::accepted("is being carried out") } else { judge(view, draft, decision) };
        if verdict.outcome == DecisionOutcome::Refused {
            draft.tell(
                true,
                verdict.reason,
                format!("decision {} is refused: {}", decision.name, verdict.message),
            );
        } else if !taken {
            let (verb, revision, actor) =
                (decision.spec.verb.as_str(), decision.spec.revision, &decision.spec.actor);
            draft.tell(
                false,
                Reason::DecisionAccepted,
                format!("{actor} decided: {verb} revision {revision}"),
            );
        }
        writes.push(answer(view, decision, verdict));
    }
    writes
}

/// Takes out what is too much, and refuses as much of it as one plan may; the rest stays unread until the next one.
fn flood(view: &View<'_>, draft: &mut Draft, open: &mut Vec<&Decision>) -> Vec<Write> {
    let surplus = open.len().saturating_sub(OPEN);
    if surplus == 0 {
        return Vec::new();
    }
    let back = |decision: &&Decision| matches!(decision.spec.verb, Verb::Abort | Verb::Rollback);
    let (kept, forward): (Vec<&Decision>, Vec<&Decision>) = open.iter().copied().partition(back);
    let (unread, read) = forward.split_at(surplus.min(forward.len()));
    let mut rest = [kept.as_slice(), read].concat();
    rest.sort_by(|left, right| age(left).cmp(&age(right)));
    *open = rest;
    let message = format!("more than {OPEN} decisions waited: this one was not read, decide again");
    draft.tell(true, Reason::TooManyDecisions, format!("{} decisions are refused unread", unread.len()));
    let refused = || Verdict::refused(Reason::TooManyDecisions, message.as_str());
    unread.iter().take(PER_PLAN).map(|decision| answer(view, decision, refused())).collect()
}

/// What decisions are sorted by: when they were made, as far as that is known.
fn age(decision: &Decision) -> (jiff::Timestamp, Option<u64>, &str) {
    // Creation times have whole seconds. The version of an object that has no answer is that of its creation.
    (decision.created, decision.resource_version.parse().ok(), &decision.name)
}

/// Answers the decisions whose release has got where they wanted it, and removes the oldest answered ones.
pub(crate) fn finish(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    let mut writes = Vec::new();
    for decision in
        view.observed.decisions.iter().filter(|one| outcome(one) == Some(DecisionOutcome::Accepted))
    {
        if !goes_on(draft, decision) {
            writes.push(answer(view, decision, ended(view, draft, decision)));
        }
    }
    let mut answered: Vec<&Decision> = view
        .observed
        .decisions
        .iter()
        .filter(|one| matches!(outcome(one), Some(DecisionOutcome::Done | DecisionOutcome::Refused)))
        .collect();
    answered.sort_by(|left, right| (left.created, &left.name).cmp(&(right.created, &right.name)));
    let surplus = answered.len().saturating_sub(KEPT).min(PER_PLAN);
    writes.extend(answered.into_iter().take(surplus).map(|decision| Write::Delete {
        object: ObjectRef::new(ObjectKind::ReleaseDecision, &decision.name),
        precondition: Precondition::version(&decision.uid, &decision.resource_version),
    }));
    writes
}

/// Whether the release has not got yet where this decision, which was accepted, wants it.
fn goes_on(draft: &Draft, decision: &Decision) -> bool {
    let (revision, phase) = (decision.spec.revision, draft.phase());
    if decision.spec.verb == Verb::Restart {
        return restart::goes_on(draft, decision);
    }
    let Some(release) = draft.release() else { return false };
    let named = release.decision.as_ref() == Some(&decision.name);
    match decision.spec.verb {
        // Several may wait for the same promotion.
        Verb::Promote => {
            let same = release.to == revision && !is_older(decision, release);
            let before = release.aborting.is_none() && cut::before_switch(phase) || phase == Phase::Switching;
            same && before
        }
        Verb::Abort => named && release.succeeded.is_none(),
        Verb::Rollback => {
            // Another decision may have moved the release on meanwhile.
            let returns = release.returning && release.from == Some(revision) && release.aborting.is_none();
            (named || returns) && release.succeeded.is_none()
        }
        Verb::Retry | Verb::Pause | Verb::Resume | Verb::Restart => false,
    }
}

/// Whether the decision was made before the release began.
fn is_older(decision: &Decision, release: &ReleaseState) -> bool {
    // A creation time has whole seconds, cut off.
    after(decision.created, Duration::from_secs(1)) <= release.started.0
}

/// How an accepted decision ended, now that its release has moved on.
fn ended(view: &View<'_>, draft: &Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    let state = revision_state(&draft.status, revision);
    let result = state.and_then(|state| state.outcome.as_ref());
    match (decision.spec.verb, result) {
        (Verb::Promote, Some(outcome)) if outcome.result != RevisionResult::Completed => Verdict::refused(
            outcome.reason,
            format!("revision {revision} was left again: {}", outcome.message),
        ),
        (Verb::Promote, _) => Verdict::done(format!("users are with revision {revision}")),
        (Verb::Retry, _) => Verdict::done(format!("revision {revision} was tried again")),
        (Verb::Pause | Verb::Resume, _) => Verdict::done("it was carried out"),
        (Verb::Restart, _) => restart::ended(view, draft, decision),
        (Verb::Abort | Verb::Rollback, _) if active(&draft.status) == Some(revision) => {
            Verdict::refused(Reason::ReleaseAborted, format!("users are still with revision {revision}"))
        }
        (Verb::Abort | Verb::Rollback, _) => {
            Verdict::done(format!("users are not with revision {revision} any more"))
        }
    }
}

fn outcome(decision: &Decision) -> Option<DecisionOutcome> {
    decision.status.as_ref().and_then(|status| status.outcome)
}

fn answer(view: &View<'_>, decision: &Decision, verdict: Verdict) -> Write {
    let first = decision.status.as_ref().and_then(|status| status.accepted_at.clone());
    Write::WriteDecision {
        name: decision.name.clone(),
        precondition: Precondition::version(&decision.uid, &decision.resource_version),
        status: Box::new(ReleaseDecisionStatus {
            outcome: Some(verdict.outcome),
            reason: Some(verdict.reason),
            message: Some(verdict.message),
            accepted_at: first.or_else(|| Some(view.micro())),
        }),
    }
}

fn judge(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    match decision.spec.verb {
        Verb::Promote => forward::promote(view, draft, decision),
        Verb::Abort => back::abort(view, draft, decision),
        Verb::Rollback => back::rollback(view, draft, decision),
        Verb::Retry => forward::retry(view, draft, decision),
        Verb::Pause => pause::pause(view, draft, decision),
        Verb::Resume => pause::resume(view, draft, decision),
        Verb::Restart => restart::restart(view, draft, decision),
    }
}

/// The release that a decision about a candidate is for, or why it is for none.
fn fenced(draft: &Draft, decision: &Decision) -> Result<ReleaseState, Verdict> {
    let revision = decision.spec.revision;
    let Some(release) = draft.release().filter(|release| release.from.is_some()) else {
        let active = active(&draft.status).map_or("none".to_owned(), |active| format!("revision {active}"));
        return Err(Verdict::refused(
            Reason::NothingToDecide,
            format!("no release runs; the active one is {active}"),
        ));
    };
    if release.to != revision {
        let message = format!("the candidate is revision {}, not {revision}", release.to);
        return Err(Verdict::refused(Reason::StaleRevision, message));
    }
    // An abort is never too early: clocks that differ (this machine's, and the API server's) must not stop it.
    if decision.spec.verb != Verb::Abort && is_older(decision, release) {
        let message = format!("the decision is older than this release of revision {revision}");
        return Err(Verdict::refused(Reason::StaleRevision, message));
    }
    if release.succeeded.is_some() {
        let message = format!("revision {revision} is stable already; `kubectl shop rollback` leaves it");
        return Err(Verdict::refused(Reason::NothingToDecide, message));
    }
    Ok(release.clone())
}
