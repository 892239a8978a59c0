//! What people decide: taken once, for one revision, and answered.

use std::time::Duration;

use shop_crds::{
    DecisionOutcome, Reason, ReleaseDecisionStatus, Verb,
    status::{Phase, ReleaseState, RevisionOutcome, RevisionResult},
};

use crate::{
    abort, cut,
    observed::Decision,
    view::{Draft, View, active, after, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// Decisions of a service that are kept after they were answered.
const KEPT: usize = 50;

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
    open.sort_by(|left, right| (left.created, &left.name).cmp(&(right.created, &right.name)));
    let mut writes = Vec::new();
    for decision in open {
        let taken = draft.release().is_some_and(|release| release.decision.as_ref() == Some(&decision.name));
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

/// Answers the decisions whose release has got where they wanted it, and removes the oldest answered ones.
pub(crate) fn finish(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    let mut writes = Vec::new();
    for decision in
        view.observed.decisions.iter().filter(|one| outcome(one) == Some(DecisionOutcome::Accepted))
    {
        let release = draft.release().filter(|release| release.decision.as_ref() == Some(&decision.name));
        let verdict = match (decision.spec.verb, release) {
            (Verb::Promote, Some(release))
                if release.aborting.is_none() && cut::before_switch(draft.phase()) =>
            {
                continue;
            }
            (Verb::Promote, Some(_)) if draft.phase() == Phase::Switching => continue,
            (Verb::Abort | Verb::Rollback, Some(release)) if release.succeeded.is_none() => continue,
            _ => ended(draft, decision),
        };
        writes.push(answer(view, decision, verdict));
    }
    let mut answered: Vec<&Decision> = view
        .observed
        .decisions
        .iter()
        .filter(|one| matches!(outcome(one), Some(DecisionOutcome::Done | DecisionOutcome::Refused)))
        .collect();
    answered.sort_by(|left, right| (left.created, &left.name).cmp(&(right.created, &right.name)));
    let surplus = answered.len().saturating_sub(KEPT);
    writes.extend(answered.into_iter().take(surplus).map(|decision| Write::Delete {
        object: ObjectRef::new(ObjectKind::ReleaseDecision, &decision.name),
        precondition: Precondition::version(&decision.uid, &decision.resource_version),
    }));
    writes
}

/// How an accepted decision ended, now that its release has moved on.
fn ended(draft: &Draft, decision: &Decision) -> Verdict {
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
        Verb::Promote => promote(view, draft, decision),
        Verb::Abort => abort(view, draft, decision),
        Verb::Rollback => rollback(view, draft, decision),
        Verb::Retry => retry(view, draft, decision),
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
    // A creation time has whole seconds, cut off.
    if after(decision.created, Duration::from_secs(1)) <= release.started.0 {
        let message = format!("the decision is older than this release of revision {revision}");
        return Err(Verdict::refused(Reason::StaleRevision, message));
    }
    if release.succeeded.is_some() {
        let message = format!("revision {revision} is stable already; `kubectl shop rollback` leaves it");
        return Err(Verdict::refused(Reason::NothingToDecide, message));
    }
    Ok(release.clone())
}

fn promote(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let release = match fenced(draft, decision) {
        Ok(release) => release,
        Err(verdict) => return verdict,
    };
    let revision = release.to;
    if let Some(wanted) = &decision.spec.digest {
        let runs = revision_state(&draft.status, revision).and_then(|state| state.digest.clone());
        if runs.as_ref() != Some(wanted) {
            let runs = runs.unwrap_or_else(|| "no image that is known yet".to_owned());
            let message = format!("revision {revision} runs {runs}, not {wanted}");
            return Verdict::refused(Reason::DigestMismatch, message);
        }
    }
    let stuck = abort::stuck(view, draft) && view.enough_forward(&draft.status, release.from, revision);
    if release.aborting.is_some() && !stuck {
        return Verdict::refused(Reason::DecidedAlready, format!("revision {revision} is being left"));
    }
    if release.promoted_by.is_some() && !release.held && !stuck {
        return Verdict::done(format!("revision {revision} is promoted already"));
    }
    if stuck {
        draft.enter(Phase::Shifting, view, true);
        if let Some(state) = draft.revision_mut(revision) {
            state.outcome = None;
            state.barred = false;
        }
    }
    resume(view, draft, decision);
    if let Some(release) = draft.status.release.as_mut() {
        release.promoted_by = Some(decision.spec.actor.clone());
        release.aborting = None;
    }
    Verdict::accepted(format!("revision {revision} becomes active when it is ready"))
}

/// Ends a hold and lets the clocks start anew.
fn resume(view: &View<'_>, draft: &mut Draft, decision: &Decision) {
    let now = view.micro();
    let Some(release) = draft.status.release.as_mut() else { return };
    release.decision = Some(decision.name.clone());
    release.held = false;
    release.failing = None;
    release.waiting_since = release.waiting_since.as_ref().map(|_| now.clone());
    release.healthy_since = release.healthy_since.as_ref().map(|_| now);
}

fn abort(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let release = match fenced(draft, decision) {
        Ok(release) => release,
        Err(verdict) => return verdict,
    };
    if release.aborting.is_some() {
        return Verdict::refused(
            Reason::DecidedAlready,
            format!("revision {} is being left already", release.to),
        );
    }
    leave(view, draft, decision, Reason::Decided)
}

/// Turns the release round, if there is somewhere to go.
fn leave(view: &View<'_>, draft: &mut Draft, decision: &Decision, reason: Reason) -> Verdict {
    let moves =
        matches!(draft.phase(), Phase::Shifting | Phase::Switching | Phase::Watching | Phase::Draining);
    if moves && !abort::may_move(view, draft) {
        let message = "the revision to go back to has too few ready pods; users stay where they are";
        return Verdict::refused(Reason::NoWayBack, message);
    }
    let actor = &decision.spec.actor;
    let why = decision.spec.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
    abort::begin(view, draft, reason, &format!("{actor} decided so{why}"));
    if let Some(release) = draft.status.release.as_mut() {
        release.decision = Some(decision.name.clone());
    }
    Verdict::accepted("users go back")
}

fn rollback(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    if active(&draft.status) != Some(revision) {
        let current = active(&draft.status).map_or("none".to_owned(), |active| format!("revision {active}"));
        let message = format!("the active one is {current}, not revision {revision}");
        return Verdict::refused(Reason::StaleRevision, message);
    }
    if let Some(release) = draft.release().cloned() {
        if release.aborting.is_some() {
            return Verdict::refused(Reason::DecidedAlready, "users are going back already");
        }
        let Some(from) = release.from else {
            return Verdict::refused(Reason::NoWayBack, "this is the first revision");
        };
        if !matches!(draft.phase(), Phase::Watching | Phase::Draining) || release.to != revision {
            let message = format!("revision {} is being released; abort that first", release.to);
            return Verdict::refused(Reason::NothingToDecide, message);
        }
        let warm = view.deployment(from).is_some_and(|deployment| deployment.replicas > 0);
        if draft.phase() == Phase::Watching || (warm && view.enough_back(&draft.status, revision, from)) {
            return leave(view, draft, decision, Reason::RolledBack);
        }
        draft.status.release = None;
        draft.status.phase = Some(Phase::Stable);
    }
    go_back(view, draft, decision)
}

/// Releases the proven revision before the active one again.
fn go_back(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let left = decision.spec.revision;
    let before = |number: &i64| *number < left && view.stored(*number).is_some();
    let proven = draft.status.revisions.iter().filter(|state| state.proven).map(|state| state.number);
    let Some(target) = proven.filter(before).max() else {
        return Verdict::refused(Reason::NoWayBack, format!("no proven revision before {left} is kept"));
    };
    let at = view.micro();
    let hash = view.hash.clone();
    if let Some(state) = draft.revision_mut(left) {
        state.barred = hash.is_none_or(|hash| hash == state.hash);
        let message = format!("{} decided so", decision.spec.actor);
        let (result, reason) = (RevisionResult::RolledBack, Reason::RolledBack);
        state.outcome = Some(RevisionOutcome { result, reason, message, at });
    }
    cut::begin(view, draft, target, Some(&decision.spec.actor));
    if let Some(release) = draft.status.release.as_mut() {
        release.decision = Some(decision.name.clone());
    }
    Verdict::accepted(format!("revision {target} is brought up, then users go back to it"))
}

fn retry(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    if let Some(release) = draft.release() {
        if release.to == revision && release.held && release.aborting.is_none() {
            resume(view, draft, decision);
            return Verdict::done(format!("revision {revision} is tried again"));
        }
        let message = format!("revision {} is being released", release.to);
        return Verdict::refused(Reason::NothingToDecide, message);
    }
    let Some(state) = revision_state(&draft.status, revision) else {
        let message = format!("revision {revision} does not exist, or not any more");
        return Verdict::refused(Reason::StaleRevision, message);
    };
    if !state.barred || view.hash.as_ref() != Some(&state.hash) || active(&draft.status) == Some(revision) {
        let message = format!("revision {revision} is not one that the spec asks for and that was left");
        return Verdict::refused(Reason::NothingToDecide, message);
    }
    let left_at = state.outcome.as_ref().map(|outcome| outcome.at.0);
    if left_at.is_some_and(|at| after(decision.created, Duration::from_secs(1)) <= at) {
        let message = format!("the decision is older than the end of the last try of revision {revision}");
        return Verdict::refused(Reason::StaleRevision, message);
    }
    cut::begin(view, draft, revision, None);
    if let Some(release) = draft.status.release.as_mut() {
        release.decision = Some(decision.name.clone());
    }
    Verdict::accepted(format!("revision {revision} is tried again"))
}
