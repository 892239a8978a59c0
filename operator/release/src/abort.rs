//! The way back: an abort or a rollback that is quick, and depends on nothing but the stable revision.

use std::time::Duration;

use shop_crds::{
    Reason,
    status::{Abort, Phase, RevisionOutcome, RevisionResult},
};

use crate::{
    handoff, health, recreate,
    view::{Draft, View, after, revision_state},
    write::ServiceKind,
};

/// Longest wait for acknowledgements before the Services are pointed back.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Turns the running release round. The reason says how it counts for the revision that is left.
pub(crate) fn begin(view: &View<'_>, draft: &mut Draft, reason: Reason, message: &str) {
    let phase = draft.phase();
    let Some(release) = draft.status.release.as_mut() else { return };
    let Some(from) = release.from else { return };
    let left = release.to;
    release.aborting = Some(Abort {
        reason,
        message: message.to_owned(),
        since: view.micro(),
        traffic: !release.recreate && !matches!(phase, Phase::Preparing | Phase::Verifying | Phase::Scaling),
        back_since: None,
    });
    release.failing = None;
    (release.step, release.step_since, release.weight) = (None, None, None);
    release.held = false;
    release.paused = None;
    release.approvals.clear();
    release.full = false;
    release.succeeded = None;
    release.healthy_since = None;
    let returning = release.returning;
    let result = match reason {
        Reason::RolledBack => RevisionResult::RolledBack,
        Reason::Superseded | Reason::InputsRestored => RevisionResult::Superseded,
        _ => RevisionResult::Aborted,
    };
    let again = result == RevisionResult::Superseded;
    let same = view.hash.clone();
    let at = view.micro();
    if let Some(state) = draft.revision_mut(left) {
        state.barred = !again && same.as_ref().is_none_or(|hash| *hash == state.hash);
        state.outcome = Some(RevisionOutcome { result, reason, message: message.to_owned(), at });
    }
    if returning && let Some(state) = draft.revision_mut(from) {
        // Users stay with the revision that was to be left: it is not rolled back after all.
        state.barred = false;
        state.outcome = None;
    }
    draft.status.role_epoch += 1;
    draft.status.stable = Some(draft.named(from));
    draft.status.candidate = Some(draft.named(left));
    draft.enter(Phase::Aborting, view, false);
    draft.tell(!again, reason, format!("revision {left} is left for revision {from}: {message}"));
}

/// Whether users may be moved back now; while the stable revision has no pods for them they stay where they are.
pub(crate) fn may_move(view: &View<'_>, draft: &Draft) -> bool {
    draft.release().is_some_and(|release| {
        let enough = |from| view.enough_back(&draft.status, release.to, from);
        // Where the old revision was stopped it starts again first.
        release.from.is_some_and(|from| release.recreate || enough(from))
    })
}

/// Whether the way back leads nowhere: the stable revision has no pods for the users.
pub(crate) fn stuck(view: &View<'_>, draft: &Draft) -> bool {
    let abort = draft.release().and_then(|release| release.aborting.as_ref());
    abort.is_some_and(|abort| abort.traffic && abort.back_since.is_none()) && !may_move(view, draft)
}

/// Ends a way back that leads nowhere, because a newer revision may help: users stay where they are until it is ready.
pub(crate) fn give_up(view: &View<'_>, draft: &mut Draft) {
    let selected = view.service(ServiceKind::Users).and_then(|service| service.selects);
    if let Some(users) = selected.filter(|users| revision_state(&draft.status, *users).is_some()) {
        draft.status.active = Some(draft.named(users));
        draft.status.stable = Some(draft.named(users));
    }
    draft.status.release = None;
    draft.status.candidate = None;
    draft.status.phase = Some(Phase::Stable);
}

/// Whether the Services may be pointed back: acknowledged on both sides, or waited long enough.
pub(crate) fn may_point(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.release().cloned() else { return false };
    let (Some(from), Some(abort)) = (release.from, release.aborting) else { return false };
    if !may_move(view, draft) {
        return false;
    }
    let status = &draft.status;
    if handoff::acknowledged(view, status, from) && handoff::acknowledged(view, status, release.to) {
        return true;
    }
    let due = after(abort.since.0, PATIENCE);
    if due > view.now {
        draft.wake(due);
    }
    due <= view.now
}

/// Whether the revision that is left may be scaled to zero: users are back, and it is quiet or had long enough.
pub(crate) fn may_shrink(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.release().cloned() else { return false };
    let Some(abort) = release.aborting else { return false };
    if !abort.traffic {
        return true;
    }
    let Some(back) = abort.back_since else { return false };
    let due = health::drained_by(view, release.to, &back);
    let drained = due <= view.now || health::quiet(view, release.to, back.0);
    if !drained {
        draft.wake(due.min(after(view.now, Duration::from_secs(1))));
    }
    drained
}

/// Goes on in `Aborting`; true when the status was changed.
pub(crate) fn advance(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.release().cloned() else { return false };
    if let Some(from) = release.from.filter(|_| release.recreate) {
        return recreate::back(view, draft, &release, from);
    }
    let (Some(from), Some(abort)) = (release.from, release.aborting) else { return false };
    let back = view.select(&[ServiceKind::Users, ServiceKind::Pods], from);
    if abort.traffic && abort.back_since.is_none() {
        if !back || !may_move(view, draft) {
            return false;
        }
        draft.status.active = Some(draft.named(from));
        if let Some(abort) = draft.status.release.as_mut().and_then(|release| release.aborting.as_mut()) {
            abort.back_since = Some(view.micro());
        }
        return true;
    }
    let gone = view.deployment(release.to).is_none_or(|deployment| deployment.replicas == 0);
    if !(gone && back && view.select(&[ServiceKind::Preview], from)) {
        return false;
    }
    end(draft, from, release.to);
    true
}

/// Users are back with `from`.
pub(crate) fn end(draft: &mut Draft, from: i64, to: i64) {
    draft.status.release = None;
    draft.status.candidate = None;
    draft.status.phase = Some(Phase::Stable);
    draft.status.active = Some(draft.named(from));
    let message = format!("users are with revision {from}; revision {to} is gone");
    draft.tell(false, Reason::ReleaseAborted, message);
}
