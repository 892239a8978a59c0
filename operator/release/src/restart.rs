//! A restart: the active revision's pods are replaced one after the other, with another sidecar and the same everything else.
//!
//! A ControllerRevision cannot be changed. So each restart has a record of its own beside the revision's, `order-r7-s1`, and the
//! Deployment takes the template of the last one. Kubernetes replaces the pods: no old one goes before a new one is ready, so
//! that a restart whose pods do not get ready harms nobody. Under the strategy `recreate` all old ones are gone first. It begins
//! outside of releases only, and holds none up. Without pods there is nothing to replace: the next ones have the new template.

use std::time::Duration;

use shop_crds::{
    Reason, names,
    status::{Failing, RestartState},
};

use crate::{
    health,
    observed::{Pod, StoredRestart},
    view::{Draft, View, active, after, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// How long pods of a restart may look broken before that is reported: registries and quotas have short moments.
const PATIENCE: Duration = Duration::from_secs(10);

/// Goes on with the restart that runs: notes what is wrong with it, and that it has ended.
pub(crate) fn advance(view: &View<'_>, draft: &mut Draft) {
    let Some(restart) = draft.status.restart.clone() else { return };
    let (revision, by) = (restart.revision, &restart.by);
    if active(&draft.status) != Some(revision) {
        draft.status.restart = None;
        let message = format!("users have left revision {revision} before all its pods were restarted");
        draft.tell(true, Reason::Superseded, message);
        return;
    }
    if complete(view, draft, revision) {
        draft.status.restart = None;
        let message = format!("all pods of revision {revision} were restarted, as {by} decided");
        draft.tell(false, Reason::Restarted, message);
        return;
    }
    let failing = failure(view, &restart);
    let due = after(restart.since.0, view.release.progress_deadline().duration());
    if due > view.now {
        draft.wake(due);
    }
    if let Some(failing) = failing.as_ref().filter(|_| restart.failing.is_none()) {
        draft.tell(true, Reason::RestartFailed, format!("revision {revision}: {}", failing.message));
    }
    if let Some(restart) = draft.status.restart.as_mut() {
        restart.failing = failing;
    }
}

/// Why new pods do not get ready, once that has lasted.
fn failure(view: &View<'_>, restart: &RestartState) -> Option<Failing> {
    let known = |reason: Reason| restart.failing.clone().filter(|known| known.reason == reason);
    let failing =
        |(reason, message)| known(reason).unwrap_or(Failing { reason, message, since: view.micro() });
    let mut new: Vec<&Pod> = new_pods(view, restart.revision, restart.ordinal).collect();
    new.sort_by(|left, right| left.name.cmp(&right.name));
    let patient = after(restart.since.0, PATIENCE) > view.now;
    if let Some(found) = new.iter().find_map(|pod| health::broken(pod)).filter(|_| !patient) {
        return Some(failing(found));
    }
    let limit = view.release.progress_deadline();
    if after(restart.since.0, limit.duration()) > view.now {
        return None;
    }
    let why = health::why_not_ready(view, restart.revision).map_or(String::new(), |why| format!(": {why}"));
    let message = format!("it takes longer than progressDeadline ({limit}){why}");
    Some(failing((Reason::ProgressDeadlineExceeded, message)))
}

/// Pods of the revision that a restart made, and that stay.
fn new_pods<'a>(view: &View<'a>, revision: i64, ordinal: i64) -> impl Iterator<Item = &'a Pod> + use<'a> {
    view.pods(revision).filter(move |pod| pod.restart == ordinal && !pod.terminating)
}

/// Whether all pods are those of the revision's last restart, and ready.
pub(crate) fn complete(view: &View<'_>, draft: &Draft, revision: i64) -> bool {
    let Some(ordinal) = revision_state(&draft.status, revision).map(|state| state.restarts) else {
        return false;
    };
    let Some(deployment) = view.deployment(revision) else { return false };
    let nothing = deployment.replicas == 0 && recorded(view, revision, ordinal);
    if deployment.restart != ordinal && !nothing {
        return false;
    }
    let ready = new_pods(view, revision, ordinal).filter(|pod| pod.ready).count();
    let old = view.pods(revision).any(|pod| pod.restart != ordinal);
    !old && ready >= usize::try_from(deployment.replicas).unwrap_or(0)
}

/// How far the restart is: `restarting revision 7: 1 of 3 pods`.
pub(crate) fn progress(view: &View<'_>, draft: &Draft) -> Option<String> {
    let RestartState { revision, ordinal, .. } = draft.status.restart.clone()?;
    let ready = new_pods(view, revision, ordinal).filter(|pod| pod.ready).count();
    let wanted = view.deployment(revision).map_or(0, |deployment| deployment.replicas);
    Some(format!("restarting revision {revision}: {ready} of {wanted} pods"))
}

/// The restart whose template the revision's Deployment shall have.
pub(crate) fn template(view: &View<'_>, draft: &Draft, revision: i64) -> i64 {
    let found = view.deployment(revision);
    let current = found.map_or(0, |found| found.restart);
    let Some(state) = revision_state(&draft.status, revision) else { return current };
    // A release is not disturbed: what has not begun waits until it has ended.
    if draft.release().is_some() && found.is_some_and(|found| found.replicas > 0) {
        return current;
    }
    let kept = recorded(view, revision, state.restarts);
    if kept || state.restarts == 0 { state.restarts } else { current }
}

fn recorded(view: &View<'_>, revision: i64, ordinal: i64) -> bool {
    view.stored(revision).is_some_and(|stored| stored.restarts.iter().any(|one| one.ordinal == ordinal))
}

/// The record of the restart that runs, where it is not there yet.
pub(crate) fn record(view: &View<'_>, draft: &Draft) -> Option<Write> {
    let RestartState { revision, ordinal, .. } = draft.status.restart.clone()?;
    view.stored(revision)?;
    (!recorded(view, revision, ordinal)).then_some(Write::CreateRestart { revision, ordinal })
}

/// Removes a restart's record.
pub(crate) fn removal(view: &View<'_>, revision: i64, restart: &StoredRestart) -> Write {
    let name = names::restart(&view.subject.name, revision, restart.ordinal);
    Write::Delete {
        object: ObjectRef::new(ObjectKind::ControllerRevision, name),
        precondition: Precondition::version(&restart.uid, &restart.resource_version),
    }
}

/// Removes the records of restarts that a later one has replaced.
pub(crate) fn outdated(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    if draft.status.restart.is_some() {
        return Vec::new();
    }
    let mut writes = Vec::new();
    for stored in &view.observed.revisions {
        let Some(state) = revision_state(&draft.status, stored.number) else { continue };
        let used = view.deployment(stored.number).map_or(state.restarts, |one| one.restart);
        let old = |one: &&StoredRestart| one.ordinal < state.restarts && one.ordinal != used;
        writes.extend(stored.restarts.iter().filter(old).map(|one| removal(view, stored.number, one)));
    }
    writes
}
