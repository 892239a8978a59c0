//! The strategy `recreate`, for what cannot run twice: the old revision stops, and only when its last pod is gone the new one
//! starts. Nobody is served in between; that is what is asked for.
//!
//! Preview, shares and hand-off do not exist here. The decision and all gates come before the old revision is stopped. The way
//! back is the same way: the candidate stops, and when its last pod is gone the old revision starts again. A revision that
//! comes back by itself (rollbackWindow) or by decision comes this way too.
//!
//! **A strategy that changes in between.** As long as only one of both has pods, the new strategy counts at once. A candidate
//! that runs beside the active revision is left, and its release begins anew as `recreate`. Once the old revision was stopped
//! the release ends as it was begun.

use shop_crds::{
    Reason,
    service::release::Strategy,
    status::{Phase, ReleaseState},
};

use crate::{
    abort, cut,
    desired::{Desired, Wanted, standing},
    document::Role,
    handoff, kept,
    view::{Draft, View, after, nearly_all},
    write::ServiceKind,
};

/// Whether a release that begins now is of this kind.
pub(crate) fn wanted(view: &View<'_>, from: Option<i64>) -> bool {
    from.is_some() && view.release.strategy == Strategy::Recreate
}

/// Whether the revision has no pods, and is to have none.
fn stopped(view: &View<'_>, revision: i64) -> bool {
    let none = view.deployment(revision).is_none_or(|deployment| deployment.replicas == 0);
    none && view.pods(revision).next().is_none()
}

/// Brings a release in line with a strategy that has changed; true when it was not.
pub(crate) fn follow(view: &View<'_>, draft: &mut Draft, before: &ReleaseState) -> bool {
    let wanted = wanted(view, before.from);
    if wanted == before.recreate || before.returning || !cut::before_switch(draft.phase()) {
        return false;
    }
    let early = matches!(draft.phase(), Phase::Preparing | Phase::Verifying);
    if early && (before.recreate || stopped(view, before.to)) {
        if let Some(release) = draft.status.release.as_mut() {
            release.recreate = wanted;
        }
        draft.enter(Phase::Preparing, view, true);
        return true;
    }
    if wanted {
        let message = format!("the strategy is recreate now, and revision {} would run twice", before.to);
        abort::begin(view, draft, Reason::Superseded, &message);
    }
    wanted
}

/// Whether everything is there that the candidate's pods will need: without it the old revision is not stopped.
pub(crate) fn prepared(view: &View<'_>, release: &ReleaseState) -> bool {
    view.stored(release.to).is_some() && view.deployment(release.to).is_some()
}

/// In `Scaling`: the old revision goes, then the new one comes; true when the status was changed.
pub(crate) fn replace(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, from: i64) -> bool {
    let full = view.subject.replicas();
    let comes = stopped(view, from) || standing(view, release.to, 0) > 0;
    // Its drain has a limit of its own; the deadline is for pods that start.
    if comes != release.waiting_since.is_some() {
        if let Some(release) = draft.status.release.as_mut() {
            release.waiting_since = comes.then(|| view.micro());
        }
        return true;
    }
    let sized = view.deployment(release.to).is_some_and(|deployment| deployment.replicas == full);
    let ready = view.ready(&draft.status, release.to) >= nearly_all(full);
    let told = handoff::acknowledged(view, &draft.status, release.to);
    if !(comes && sized && ready && told) {
        return false;
    }
    draft.enter(Phase::Switching, view, true);
    true
}

/// Whether the old revision is still on its way out, in `Scaling`.
pub(crate) fn stops(view: &View<'_>, release: &ReleaseState) -> bool {
    release.recreate
        && release.waiting_since.is_none()
        && release.from.is_some_and(|from| !stopped(view, from))
}

/// What shall be on the way forward.
pub(crate) fn releasing(view: &View<'_>, draft: &Draft, release: &ReleaseState, from: i64) -> Desired {
    let (to, full) = (release.to, view.subject.replicas());
    let all = |users: i64| ServiceKind::ALL.map(|kind| (kind, users)).to_vec();
    let comes = stopped(view, from) || standing(view, to, 0) > 0;
    let new = |role| Wanted::new(to, role, if comes { full } else { 0 }).pushed();
    match draft.phase() {
        Phase::Preparing | Phase::Verifying => {
            let (new, old) = (
                Wanted::new(to, Role::Candidate, 0),
                Wanted::new(from, Role::Active, kept::size(view, draft, from)),
            );
            Desired { revisions: vec![new, old], services: all(from) }
        }
        Phase::Scaling | Phase::Switching => {
            let there = view.select(&[ServiceKind::Users], to);
            let enough = !release.held && view.enough_forward(&draft.status, Some(from), to);
            let users = if draft.phase() == Phase::Switching && (there || enough) { to } else { from };
            let old = Wanted::gone(from, Role::Active);
            Desired { revisions: vec![new(Role::Candidate), old], services: all(users) }
        }
        _ => {
            let old = Wanted::gone(from, Role::Retiring);
            Desired { revisions: vec![new(Role::Active), old], services: all(to) }
        }
    }
}

/// What shall be on the way back.
pub(crate) fn aborting(view: &View<'_>, draft: &Draft, release: &ReleaseState, from: i64) -> Desired {
    let to = release.to;
    let comes = stopped(view, to) || standing(view, from, 0) > 0;
    let old = if comes {
        Wanted::new(from, Role::Active, kept::size(view, draft, from)).pushed()
    } else {
        Wanted::gone(from, Role::Active)
    };
    let services =
        if stopped(view, to) { ServiceKind::ALL.map(|kind| (kind, from)).to_vec() } else { Vec::new() };
    Desired { revisions: vec![old, Wanted::gone(to, Role::Retiring)], services }
}

/// Goes on in `Aborting`; true when the status was changed.
pub(crate) fn back(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, from: i64) -> bool {
    let full = view.subject.replicas();
    let sized = view.deployment(from).is_some_and(|deployment| deployment.replicas >= full);
    if !(stopped(view, release.to) && sized && view.select(&ServiceKind::ALL, from)) {
        return false;
    }
    let since = release.aborting.as_ref().map_or(view.now, |abort| abort.since.0);
    let due = after(since, view.release.progress_deadline().duration());
    let ready = view.ready(&draft.status, from) >= view.least();
    // A revision that does not come up again must not keep a newer one away, which may help.
    if ready || due <= view.now || cut::settled(view, draft) {
        abort::end(draft, from, release.to);
        return true;
    }
    draft.wake(due);
    false
}

/// Whether this revision may be stopped although it has the users.
pub(crate) fn may_stop(draft: &Draft, revision: i64) -> bool {
    let Some(release) = draft.release().filter(|release| release.recreate) else { return false };
    if release.aborting.is_some() {
        return release.to == revision;
    }
    release.from == Some(revision) && matches!(draft.phase(), Phase::Scaling | Phase::Switching)
}

/// The other one of the two revisions, which must have no pods when this one gets some.
pub(crate) fn other(draft: &Draft, revision: i64) -> Option<i64> {
    let release = draft.release().filter(|release| release.recreate)?;
    if release.to == revision {
        release.from
    } else {
        Some(release.to).filter(|_| release.from == Some(revision))
    }
}

/// Whether users have nothing to lose any more when they are sent back.
pub(crate) fn may_return(view: &View<'_>, draft: &Draft, to: i64) -> bool {
    let release = draft.release().filter(|release| release.recreate && release.aborting.is_some());
    release.is_some_and(|release| release.from == Some(to) && stopped(view, release.to))
}
