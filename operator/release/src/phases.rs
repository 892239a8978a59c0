//! The way forward: from one phase to the next, by what is in the cluster.

use std::time::Duration;

use jiff::Timestamp;
use shop_crds::{
    Reason, ShopServiceStatus, Span,
    names::ADOPTED,
    service::release::{OnFailure, Promote},
    status::{Failing, Phase, ReleaseState, RevisionOutcome, RevisionResult},
};

use crate::{
    abort, analysis, canary, cut, gates, handoff, health, recreate,
    view::{Draft, View, after, nearly_all, revision_state},
    write::ServiceKind,
};

/// How long the new revision must be well with all users before the release counts as successful.
const WATCH: Duration = Duration::from_secs(10);

/// Takes at most one step; true when the status was changed.
pub(crate) fn advance(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.release().cloned() else { return false };
    if release.aborting.is_some() {
        return abort::advance(view, draft);
    }
    if recreate::follow(view, draft, &release) {
        return true;
    }
    health::record_digest(view, draft, release.to);
    analysis::advance(view, draft);
    if release.succeeded.is_none() && trouble(view, draft, &release) {
        return true;
    }
    let Some(release) = draft.release().cloned() else { return false };
    if release.held
        || release.paused.is_some()
        || (release.failing.is_some() && draft.phase() != Phase::Watching)
    {
        return false;
    }
    match (draft.phase(), release.from) {
        (Phase::Preparing, None) => first(view, draft, &release),
        (Phase::Preparing, Some(_)) => prepare(view, draft, &release),
        (Phase::Verifying, _) => verify(view, draft, &release),
        (Phase::Scaling, Some(from)) if release.recreate => recreate::replace(view, draft, &release, from),
        (Phase::Scaling, _) => scale(view, draft, &release),
        (Phase::Shifting, Some(_)) => shift(view, draft),
        (Phase::Switching, Some(from)) => switch(view, draft, from, release.to),
        (Phase::Watching, Some(from)) => watch(view, draft, &release, from),
        (Phase::Draining, Some(from)) => drain(view, draft, from),
        _ => false,
    }
}

/// Looks for failures and deadlines, and acts on them; true when the release was turned round or stopped by it just now.
fn trouble(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let mut failed = health::check(view, draft).or_else(|| gates::jobs::failed(view, draft));
    if failed.is_none() {
        failed = analysis::failure(view, draft);
    }
    if failed.is_none()
        && let Some(since) = release.waiting_since.as_ref().filter(|_| release.paused.is_none())
    {
        let due = after(since.0, view.release.progress_deadline().duration());
        if due > view.now {
            draft.wake(due);
        } else {
            let limit = view.release.progress_deadline();
            let why = health::why_not_ready(view, release.to).map_or(String::new(), |why| format!(": {why}"));
            let message = format!("{} took longer than progressDeadline ({limit}){why}", late(draft));
            failed = Some(Failing { reason: Reason::ProgressDeadlineExceeded, message, since: view.micro() });
        }
    }
    if failed.is_none() && release.held && view.release.on_failure == OnFailure::Abort {
        failed = draft.release().and_then(|release| release.failing.clone());
    }
    // The first revision has nothing to go back to: it stays, and the report says what is wrong with it.
    let Some(failed) = failed.filter(|_| release.from.is_some()) else { return false };
    match view.release.on_failure {
        OnFailure::Abort => {
            abort::begin(view, draft, failed.reason, &failed.message);
            true
        }
        OnFailure::Hold => {
            let Some(release) = draft.status.release.as_mut().filter(|release| !release.held) else {
                return false;
            };
            release.held = true;
            release.failing = Some(failed.clone());
            draft.tell(true, Reason::OnHold, format!("{}; it waits for a decision", failed.message));
            true
        }
    }
}

fn late(draft: &Draft) -> &'static str {
    match draft.phase() {
        Phase::Shifting => "sidecars",
        Phase::Switching => "endpoints",
        _ => "pods",
    }
}

fn first(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let to = release.to;
    if !gates::jobs::expand(view, draft, release) {
        return gates::wait_no_more(draft);
    }
    // With no pods wanted nothing else says whether it can be made at all.
    let made = view.deployment(to).is_some() && view.service(ServiceKind::Preview).is_some();
    if !made || view.ready(&draft.status, to) < nearly_all(view.subject.replicas()) {
        return false;
    }
    succeed(view, draft, to);
    draft.status.release = None;
    draft.status.phase = Some(Phase::Stable);
    draft.tell(false, Reason::ReleaseCompleted, format!("revision {to} serves the users"));
    true
}

/// Pods that a candidate needs before it is looked at.
pub(crate) fn preview_size(view: &View<'_>, status: &ShopServiceStatus, release: &ReleaseState) -> i32 {
    let wanted = view.subject.replicas();
    if release.recreate || !gates::jobs::may_start(view, status, release) {
        return 0;
    }
    if release.straight { wanted } else { view.release.preview_replicas().min(wanted) }
}

/// Pods that it has while it is looked at. One that comes back keeps those that it still has: users may get them soon.
pub(crate) fn early_size(view: &View<'_>, status: &ShopServiceStatus, release: &ReleaseState) -> i32 {
    let least = preview_size(view, status, release);
    let own = view.deployment(release.to).filter(|deployment| least > 0 && !deployment.drifted);
    own.map_or(least, |own| own.replicas.min(view.subject.replicas()).max(least))
}

fn previewed(view: &View<'_>, draft: &Draft, release: &ReleaseState) -> bool {
    view.ready(&draft.status, release.to) >= nearly_all(preview_size(view, &draft.status, release))
}

fn prepare(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    if !gates::jobs::expand(view, draft, release) {
        return gates::wait_no_more(draft);
    }
    if gates::wait_again(view, draft) {
        return true;
    }
    let ready = previewed(view, draft, release);
    let ready = ready && (!release.recreate || recreate::prepared(view, release));
    if ready {
        draft.enter(Phase::Verifying, view, false);
    }
    ready
}

fn verify(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    if !previewed(view, draft, release) {
        draft.enter(Phase::Preparing, view, true);
        return true;
    }
    if !analysis::lets_go(view, draft) {
        return false;
    }
    let promoted = release.promoted_by.clone().or_else(|| promoted_by_itself(view, draft, release));
    let open = gates::open(view, draft, release, promoted.is_some());
    let Some(by) = promoted.filter(|_| open) else { return false };
    if let Some(release) = draft.status.release.as_mut() {
        release.promoted_by = Some(by.clone());
    }
    draft.enter(Phase::Scaling, view, !release.recreate);
    draft.tell(false, Reason::Promoted, format!("revision {} is promoted by {by}", release.to));
    true
}

/// Who promoted a candidate that needed nobody.
pub(crate) const AUTOMATIC: &str = "spec.release.promote: automatic";

/// What in the spec promotes the candidate now, if anything does.
fn promoted_by_itself(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> Option<String> {
    if view.release.promote == Promote::Automatic {
        return Some(AUTOMATIC.to_owned());
    }
    let (patience, due) = promoted_at(view, release)?;
    if due > view.now {
        draft.wake(due);
        return None;
    }
    Some(format!("spec.release.promoteAfter: {patience}"))
}

/// promoteAfter, and when it is over for a candidate that is ready.
pub(crate) fn promoted_at(view: &View<'_>, release: &ReleaseState) -> Option<(Span, Timestamp)> {
    // Where several people must decide, time does not decide for them.
    let alone = view.release.promote == Promote::Manual && view.release.approvals() <= 1;
    let patience = view.release.promote_after.filter(|_| alone)?;
    Some((patience, after(release.phase_since.0, patience.duration())))
}

fn scale(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let wanted = canary::size(view, release);
    let sized = view.deployment(release.to).is_some_and(|deployment| deployment.replicas == wanted);
    let ready = view.ready(&draft.status, release.to) >= nearly_all(wanted);
    let told = handoff::acknowledged(view, &draft.status, release.to);
    if !(sized && ready && told) {
        return gates::wait_again(view, draft);
    }
    // A freeze may have begun meanwhile; here no user has moved yet.
    if !gates::thawed(view, draft, release) {
        return gates::wait_no_more(draft);
    }
    draft.enter(Phase::Shifting, view, true);
    true
}

fn shift(view: &View<'_>, draft: &mut Draft) -> bool {
    match canary::advance(view, draft) {
        canary::Walk::Stands => return false,
        canary::Walk::Moved => {}
        canary::Walk::Arrived => draft.enter(Phase::Switching, view, true),
    }
    true
}

fn switch(view: &View<'_>, draft: &mut Draft, from: i64, to: i64) -> bool {
    if draft.release().is_some_and(|release| canary::fell_back(view, draft, release)) {
        draft.status.phase = Some(Phase::Shifting);
        return true;
    }
    let pointed = view.select(&[ServiceKind::Users, ServiceKind::Pods], to);
    if !pointed || !endpoints_show(view, draft, to) {
        return false;
    }
    draft.status.active = Some(draft.named(to));
    draft.status.role_epoch += 1;
    draft.enter(Phase::Watching, view, false);
    if let Some(release) = draft.status.release.as_mut() {
        release.healthy_since = Some(view.micro());
    }
    draft.tell(false, Reason::Switched, format!("users moved from revision {from} to revision {to}"));
    true
}

/// Whether the EndpointSlices list ready pods of the revision and no others.
pub(crate) fn endpoints_show(view: &View<'_>, draft: &Draft, revision: i64) -> bool {
    let own = |uid: &String| view.pods(revision).any(|pod| pod.uid == *uid);
    let listed = view.observed.endpoints.len();
    let least = usize::try_from(view.least().min(view.ready(&draft.status, revision))).unwrap_or(0);
    view.observed.endpoints.iter().all(own) && listed >= least.max(usize::from(view.subject.replicas() > 0))
}

fn watch(view: &View<'_>, draft: &mut Draft, release: &ReleaseState, from: i64) -> bool {
    if let Some(succeeded) = &release.succeeded {
        let due = after(succeeded.0, view.release.keep_old().duration());
        if due > view.now && !release.recreate && !cut::settled(view, draft) {
            draft.wake(due);
            return false;
        }
        draft.enter(Phase::Draining, view, false);
        return true;
    }
    if !analysis::lets_go(view, draft) {
        return false;
    }
    let healthy = release.failing.is_none().then_some(release.healthy_since.as_ref()).flatten();
    let Some(since) = healthy else { return false };
    let due = after(since.0, WATCH);
    if due > view.now {
        draft.wake(due);
        return false;
    }
    succeed(view, draft, release.to);
    if let Some(release) = draft.status.release.as_mut() {
        release.succeeded = Some(view.micro());
    }
    let message = format!(
        "revision {} is stable; revision {from} stays warm for {}",
        release.to,
        view.release.keep_old()
    );
    draft.tell(false, Reason::ReleaseCompleted, message);
    true
}

/// Stable moves to the revision.
fn succeed(view: &View<'_>, draft: &mut Draft, to: i64) {
    let at = view.micro();
    if let Some(state) = draft.revision_mut(to) {
        state.proven = true;
        let message = "users are with it".to_owned();
        let (result, reason) = (RevisionResult::Completed, Reason::ReleaseCompleted);
        state.outcome = Some(RevisionOutcome { result, reason, message, at });
    }
    draft.status.stable = Some(draft.named(to));
    draft.status.candidate = None;
}

fn drain(view: &View<'_>, draft: &mut Draft, from: i64) -> bool {
    if view.deployment(from).is_some_and(|deployment| deployment.replicas > 0) {
        return false;
    }
    if let Some(release) = draft.release().cloned() {
        gates::jobs::drained(view, draft, &release);
    }
    draft.status.release = None;
    draft.status.phase = Some(Phase::Stable);
    if revision_state(&draft.status, from).is_some() {
        draft.tell(
            false,
            Reason::Drained,
            format!("revision {from} has no traffic left and was scaled to zero"),
        );
    }
    true
}

/// Whether the old revision may be scaled to zero in `Draining`.
pub(crate) fn may_shrink_old(view: &View<'_>, draft: &mut Draft) -> bool {
    let Some(release) = draft.release().cloned() else { return false };
    let Some(from) = release.from else { return false };
    if from == ADOPTED {
        // Nobody counts its connections: keepOld, which is over, was theirs.
        return true;
    }
    let due = health::drained_by(view, from, &release.phase_since);
    // With a newer revision waiting, the pods' own drain does the rest: it is as long, and holds nobody up.
    let drained =
        due <= view.now || cut::settled(view, draft) || health::quiet(view, from, release.phase_since.0);
    if !drained {
        draft.wake(due.min(after(view.now, Duration::from_secs(1))));
    }
    drained
}
