//! The way back by decision: `abort` and `rollback`.

use shop_crds::{
    Reason,
    status::{Phase, RevisionOutcome, RevisionResult, RevisionState},
};

use super::{Verdict, fenced};
use crate::{
    abort, cut, gates,
    observed::Decision,
    view::{Draft, View, active, revision_state},
};

pub(super) fn abort(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
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

pub(super) fn rollback(view: &View<'_>, draft: &mut Draft, decision: &Decision) -> Verdict {
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
        if let Some(other) = decision.spec.to.filter(|to| *to != from)
            && release.succeeded.is_none()
        {
            let message = format!(
                "revision {revision} is not stable yet, and revision {from} is still there: roll back to that, then to \
                 revision {other}"
            );
            return Verdict::refused(Reason::NothingToDecide, message);
        }
        let here = decision.spec.to.is_none_or(|to| to == from);
        let warm = here && view.deployment(from).is_some_and(|deployment| deployment.replicas > 0);
        if here && draft.phase() == Phase::Watching
            || (warm && view.enough_back(&draft.status, revision, from))
        {
            return leave(view, draft, decision, Reason::RolledBack);
        }
    }
    let target = match target(view, draft, decision) {
        Ok(target) => target,
        Err(verdict) => return verdict,
    };
    if let Some(newer) = gates::jobs::contracted_after(&draft.status, target).filter(|_| !decision.spec.force)
    {
        let message = format!(
            "the contract Job of revision {newer} has run: revision {target} may not work with what it left; add --force to go back all the same"
        );
        return Verdict::refused(Reason::ContractDone, message);
    }
    draft.status.release = None;
    draft.status.phase = Some(Phase::Stable);
    go_back(view, draft, decision, target)
}

/// The proven revision that is gone back to: the one that is named, or the one before.
fn target(view: &View<'_>, draft: &Draft, decision: &Decision) -> Result<i64, Verdict> {
    let left = decision.spec.revision;
    let kept = |state: &&RevisionState| state.number != left && view.stored(state.number).is_some();
    let revisions = draft.status.revisions.iter().filter(kept);
    let proven: Vec<i64> = revisions.filter(|state| state.proven).map(|state| state.number).collect();
    let Some(to) = decision.spec.to else {
        let before = proven.into_iter().filter(|number| *number < left).max();
        return before.ok_or_else(|| {
            Verdict::refused(Reason::NoWayBack, format!("no proven revision before {left} is kept"))
        });
    };
    if proven.contains(&to) {
        return Ok(to);
    }
    let list: Vec<String> = proven.iter().map(ToString::to_string).collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let why = match revision_state(&draft.status, to) {
        Some(_) => "never served users successfully",
        None => "does not exist, or not any more",
    };
    let message = format!("revision {to} {why}; revisions that one can go back to: {list}");
    Err(Verdict::refused(Reason::NoWayBack, message))
}

/// Releases a proven revision again.
fn go_back(view: &View<'_>, draft: &mut Draft, decision: &Decision, target: i64) -> Verdict {
    let left = decision.spec.revision;
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
        release.force = decision.spec.force;
    }
    Verdict::accepted(format!("revision {target} is brought up, then users go back to it"))
}
