//! The way forward by decision: `promote`, by as many people as it takes, and `retry`.

use std::time::Duration;

use shop_crds::{
    Reason,
    status::{Approval, Phase},
};

use super::{Verdict, fenced};
use crate::{
    abort, analysis, canary, cut, gates,
    observed::Decision,
    view::{Draft, View, active, after, revision_state},
};

pub(super) fn promote(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let release = match fenced(draft, decision) {
        Ok(release) => release,
        Err(verdict) => return verdict,
    };
    let revision = release.to;
    if let Some(verdict) = other_image(draft, decision) {
        return verdict;
    }
    let stuck = abort::stuck(view, draft) && view.enough_forward(&draft.status, release.from, revision);
    if release.aborting.is_some() && !stuck {
        return Verdict::refused(Reason::DecidedAlready, format!("revision {revision} is being left"));
    }
    if let Some(paused) = &release.paused {
        let by = &paused.by;
        let message = format!("revision {revision} was paused by {by}; `kubectl shop resume` comes first");
        return Verdict::refused(Reason::Paused, message);
    }
    let more = decision.spec.full && !release.full || decision.spec.force && !release.force;
    let waits = release.held || analysis::holds(view, draft) || canary::awaits(view, draft);
    if release.promoted_by.is_some() && !waits && !stuck && !more {
        return Verdict::done(format!("revision {revision} is promoted already"));
    }
    if let Some(verdict) = approve(view, draft, decision) {
        return verdict;
    }
    let steps = canary::awaits(view, draft) && !decision.spec.full;
    carry_out(view, draft, stuck);
    if let Some(release) = draft.status.release.as_mut() {
        release.decision = Some(decision.name.clone());
    }
    let follows =
        if steps { "goes on with the step after the pause" } else { "becomes active when it is ready" };
    Verdict::accepted(format!("revision {revision} {follows}"))
}

/// Why the image that was tested is not the one that would be promoted.
fn other_image(draft: &Draft, decision: &Decision) -> Option<Verdict> {
    let (revision, wanted) = (decision.spec.revision, decision.spec.digest.as_ref()?);
    let runs = revision_state(&draft.status, revision).and_then(|state| state.digest.clone());
    if runs.as_ref() == Some(wanted) {
        return None;
    }
    let runs = runs.unwrap_or_else(|| "no image that is known yet".to_owned());
    let message = format!("revision {revision} runs {runs}, not {wanted}");
    Some(Verdict::refused(Reason::DigestMismatch, message))
}

/// Notes who wants the promotion; the answer, as long as more people must.
fn approve(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Option<Verdict> {
    let (by, needed) = (decision.spec.actor.clone(), view.release.approvals());
    let revision = decision.spec.revision;
    let release = draft.status.release.as_mut()?;
    let again = release.approvals.iter().any(|approval| approval.by == by);
    if !again {
        let (full, force) = (decision.spec.full, decision.spec.force);
        release.approvals.push(Approval { by: by.clone(), at: view.micro(), full, force });
    }
    let missing = needed.saturating_sub(release.approvals.len());
    let people = if missing == 1 { "person" } else { "people" };
    match (again, missing) {
        (_, 0) => None,
        (true, _) => {
            let message = format!(
                "{by} has decided for revision {revision} already; {missing} other {people} must as well"
            );
            Some(Verdict::done(message))
        }
        (false, _) => {
            let message = format!(
                "{missing} other {people} must decide for revision {revision} as well ({needed} in all)"
            );
            Some(Verdict::accepted(message))
        }
    }
}

/// Promotes a revision for which enough people have decided since `approvals` was lowered.
pub(super) fn recount(view: &View<'_>, draft: &mut Draft) {
    let Some(release) = draft.release() else { return };
    let idle = release.aborting.is_none() && release.paused.is_none();
    if idle && !release.approvals.is_empty() && release.approvals.len() >= view.release.approvals() {
        carry_out(view, draft, false);
    }
}

/// The release goes on, in the name of those who decided.
fn carry_out(view: &View<'_>, draft: &mut Draft, stuck: bool) {
    if canary::awaits(view, draft) {
        canary::next(view, draft);
    }
    if stuck {
        draft.enter(Phase::Shifting, view, true);
        let revision = draft.release().map_or(0, |release| release.to);
        if let Some(state) = draft.revision_mut(revision) {
            state.outcome = None;
            state.barred = false;
        }
    }
    restart_clocks(view, draft);
    let Some(release) = draft.status.release.as_mut() else { return };
    let approvals = std::mem::take(&mut release.approvals);
    let names: Vec<&str> = approvals.iter().map(|approval| approval.by.as_str()).collect();
    let by = names.join(", ");
    release.promoted_by = Some(by.clone());
    // Users who are to leave a revision without pods are not kept there by steps.
    release.full |= stuck || approvals.iter().all(|approval| approval.full);
    release.force |= approvals.iter().all(|approval| approval.force);
    release.held = false;
    release.failing = None;
    release.aborting = None;
    analysis::accept(view, draft, &by);
}

/// Lets the clocks of a release that goes on start anew.
pub(super) fn restart_clocks(view: &View<'_>, draft: &mut Draft) {
    let now = view.micro();
    let Some(release) = draft.status.release.as_mut() else { return };
    release.waiting_since = release.waiting_since.as_ref().map(|_| now.clone());
    release.healthy_since = release.healthy_since.as_ref().map(|_| now);
}

pub(super) fn retry(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
    let revision = decision.spec.revision;
    let again = gates::jobs::again(view, draft, revision);
    if again && draft.release().is_none_or(|release| !release.held) {
        return Verdict::done(format!("the Job of revision {revision} is run again"));
    }
    if let Some(release) = draft.release() {
        let waits = release.held || analysis::holds(view, draft);
        if release.to == revision && waits && release.aborting.is_none() {
            restart_clocks(view, draft);
            analysis::again(draft);
            if let Some(release) = draft.status.release.as_mut() {
                release.decision = Some(decision.name.clone());
                release.held = false;
                release.failing = None;
            }
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
