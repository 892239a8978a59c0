//! When a revision is cut, returned to, or left alone: the user's inputs against what lives.

use std::time::Duration;

use shop_crds::{
    Reason,
    status::{Colour, Pending, Phase, ReleaseState, RevisionResult, RevisionState},
};

use crate::{
    abort, adopt, eject, kept, recreate,
    view::{Draft, View, active, after, revision_state},
    write::Write,
};

/// After this long a refused template is shown to the API server again: what refused it may have changed.
const CHECK_AGAIN: Duration = Duration::from_mins(1);

/// What the wish for new inputs came to.
pub(crate) enum Wish {
    /// Nothing to do, or not yet.
    None,
    /// The status was changed: look again.
    Changed,
}

/// Revisions whose inputs the spec has left may be tried again once it returns to them.
pub(crate) fn unbar(view: &View<'_>, draft: &mut Draft) {
    let Some(hash) = &view.hash else { return };
    for state in draft.status.revisions.iter_mut().filter(|state| state.hash != *hash) {
        state.barred = false;
    }
}

/// Whether other inputs have settled and wait for their turn.
pub(crate) fn settled(view: &View<'_>, draft: &Draft) -> bool {
    let settle = view.release.settle().duration();
    draft.status.pending.as_ref().is_some_and(|pending| after(pending.since.0, settle) <= view.now)
}

/// Compares the inputs with what is released or being released, and starts, replaces or ends a release.
pub(crate) fn follow(view: &View<'_>, draft: &mut Draft) -> Wish {
    let Some(hash) = view.hash.clone().filter(|_| !eject::is_wanted(view)) else { return Wish::None };
    let going = draft.release().filter(|release| release.aborting.is_none()).cloned();
    let target = going.as_ref().map(|release| release.to).or_else(|| active(&draft.status));
    let hash_of = |number: Option<i64>| {
        number.and_then(|number| revision_state(&draft.status, number)).map(|s| &s.hash)
    };
    if hash_of(target) == Some(&hash) {
        draft.status.pending = None;
        return Wish::None;
    }
    let reversible = going.as_ref().is_some_and(|release| !release.returning) && before_switch(draft.phase());
    if let Some(release) = going.as_ref().filter(|_| reversible)
        && release.from.is_some()
        && hash_of(release.from) == Some(&hash)
    {
        draft.status.pending = None;
        abort::begin(
            view,
            draft,
            Reason::InputsRestored,
            "the spec is back at the inputs of the active revision",
        );
        return Wish::Changed;
    }
    if draft.status.revisions.iter().any(|state| state.barred && state.hash == hash) {
        draft.status.pending = None;
        return Wish::None;
    }
    match &draft.status.pending {
        Some(pending) if pending.hash == hash => {}
        _ => {
            draft.status.pending = Some(Pending { hash: hash.clone(), since: view.micro() });
            kept::note(view, draft);
        }
    }
    if !settled(view, draft) {
        draft.wake(after(view.now_or_pending(draft), view.release.settle().duration()));
        return Wish::None;
    }
    if unchecked(view, draft, &hash) {
        return Wish::None;
    }
    if comes_back(view, draft, &hash) {
        draft.status.release = None;
        draft.status.candidate = None;
        draft.status.phase = Some(Phase::Stable);
        begin_wanted(view, draft, &hash);
        return Wish::Changed;
    }
    match going {
        None if draft.release().is_none() => begin_wanted(view, draft, &hash),
        Some(release) if release.from.is_none() => begin_wanted(view, draft, &hash),
        Some(release) if reversible => {
            let message = format!("newer inputs take the place of revision {}", release.to);
            abort::begin(view, draft, Reason::Superseded, &message);
        }
        None if abort::stuck(view, draft) => {
            abort::give_up(view, draft);
            begin_wanted(view, draft, &hash);
        }
        // After the switch a newer revision waits until this release has ended; `phases` cuts its keepOld short.
        _ => return Wish::None,
    }
    Wish::Changed
}

/// Whether the inputs are those of the revision that users have just left, and that still has its pods: what is left to do is to
/// drain it, and that would take from it what it needs in a moment.
fn comes_back(view: &View<'_>, draft: &Draft, hash: &str) -> bool {
    let Some(release) = draft.release().filter(|release| !release.recreate) else { return false };
    let left = match &release.aborting {
        None => release.from.filter(|_| release.succeeded.is_some()),
        Some(abort) => Some(release.to).filter(|_| abort.back_since.is_some()),
    };
    let runs = |left: &i64| view.deployment(*left).is_some_and(|deployment| deployment.replicas > 0);
    let left = left.filter(runs).and_then(|left| revision_state(&draft.status, left));
    left.is_some_and(|left| left.hash == hash)
}

/// Whether a revision of these inputs has to wait for the API server's word about its template.
fn unchecked(view: &View<'_>, draft: &Draft, hash: &str) -> bool {
    let laid_over = view.inputs.as_ref().is_ok_and(|inputs| inputs.pod.is_some());
    let checked = view.observed.checked.as_ref().filter(|checked| checked.hash == hash);
    let lives = draft.status.revisions.iter().any(|state| state.hash == hash);
    laid_over && !lives && checked.is_none_or(|checked| checked.refused.is_some())
}

/// The question whether the API server takes the template of the inputs that are about to be cut.
pub(crate) fn check(view: &View<'_>, draft: &mut Draft) -> Option<Write> {
    let hash = view.hash.as_ref().filter(|_| settled(view, draft))?;
    let inputs = view.inputs.as_ref().ok().filter(|_| unchecked(view, draft, hash))?;
    if let Some(checked) = view.observed.checked.as_ref().filter(|checked| checked.hash == *hash) {
        let due = after(checked.at, CHECK_AGAIN);
        if due > view.now {
            draft.wake(due);
            return None;
        }
    }
    let revision = draft.status.last_revision + 1;
    Some(Write::CheckTemplate { revision, inputs: Box::new(inputs.clone()) })
}

/// Whether the Services have not been touched yet.
pub(crate) fn before_switch(phase: Phase) -> bool {
    matches!(phase, Phase::Preparing | Phase::Verifying | Phase::Scaling | Phase::Shifting)
}

/// Starts the release of the living revision with these inputs, or of a new one.
fn begin_wanted(view: &View<'_>, draft: &mut Draft, hash: &str) {
    let living = draft.status.revisions.iter().find(|state| state.hash == hash).map(|state| state.number);
    let number = living.unwrap_or_else(|| cut(view, draft, hash));
    draft.status.pending = None;
    begin(view, draft, number, None);
}

/// Gives the inputs the next number.
fn cut(view: &View<'_>, draft: &mut Draft, hash: &str) -> i64 {
    let number = draft.status.last_revision + 1;
    draft.status.last_revision = number;
    draft.status.revisions.push(RevisionState {
        number,
        hash: hash.to_owned(),
        image: view.subject.spec.image.clone(),
        digest: None,
        colour: Colour::Blue,
        created: view.micro(),
        outcome: None,
        proven: false,
        barred: false,
        restarts: 0,
        generation: 0,
        expanded: false,
        contract: None,
    });
    draft.tell(
        false,
        Reason::RevisionCut,
        format!("revision {number} was cut, image {}", view.subject.spec.image),
    );
    number
}

/// Starts the release of a revision that the status knows; `returning` to a proven one needs no verification, and names who
/// wanted it.
pub(crate) fn begin(view: &View<'_>, draft: &mut Draft, number: i64, returning: Option<&str>) {
    // A first revision that never had pods cannot be what users have: the next one takes its place.
    let served = |active: &i64| {
        view.deployment(*active).is_some()
            || revision_state(&draft.status, *active).is_some_and(|state| state.proven)
    };
    let from = active(&draft.status).filter(served).filter(|active| *active != number);
    let colour = from
        .and_then(|from| revision_state(&draft.status, from))
        .map_or(Colour::Blue, |state| state.colour.other());
    let straight = from.is_some() && in_window(view, draft, number);
    let window = || format!("spec.release.rollbackWindow: {}", view.release.rollback_window());
    if let Some(state) = draft.revision_mut(number) {
        state.colour = colour;
        state.outcome = None;
        state.barred = false;
    }
    draft.status.candidate = Some(draft.named(number));
    draft.status.release = Some(ReleaseState {
        returning: returning.is_some(),
        straight,
        recreate: recreate::wanted(view, from),
        waiting_since: Some(view.micro()),
        promoted_by: straight.then(|| returning.map_or_else(window, str::to_owned)),
        ..ReleaseState::begun(from, number, &view.micro())
    });
    if from.is_some() {
        draft.status.stable.clone_from(&draft.status.active);
    } else {
        draft.status.active = Some(draft.named(number));
        draft.status.stable = None;
        draft.status.role_epoch += 1;
    }
    draft.enter(Phase::Preparing, view, true);
    let alone = draft.release().is_some_and(adopt::alone);
    let how = if alone {
        "; revision 0 was adopted without sidecars: users move all at once by the Service, without canary steps"
    } else {
        ""
    };
    draft.tell(false, Reason::ReleaseStarted, format!("the release of revision {number} began{how}"));
}

/// Whether the revision is one of the newest proven ones, as many as rollbackWindow says. One that users left last time, or that
/// was aborted, is none of them.
fn in_window(view: &View<'_>, draft: &Draft, number: i64) -> bool {
    let left =
        |result: RevisionResult| matches!(result, RevisionResult::Aborted | RevisionResult::RolledBack);
    let active = active(&draft.status);
    let proven = draft.status.revisions.iter().filter(|state| {
        let well = state.outcome.as_ref().is_none_or(|outcome| !left(outcome.result));
        state.proven && well && Some(state.number) != active
    });
    let mut numbers: Vec<i64> = proven.map(|state| state.number).collect();
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    numbers.iter().take(view.release.rollback_window()).any(|proven| *proven == number)
}

impl View<'_> {
    fn now_or_pending(&self, draft: &Draft) -> jiff::Timestamp {
        draft.status.pending.as_ref().map_or(self.now, |pending| pending.since.0)
    }
}
