//! Which revisions are kept, and how the others are removed.

use shop_crds::{Reason, names, status::RevisionState};

use crate::{
    restart,
    view::{Draft, View, active, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, Write},
};

/// Strikes revisions past historyLimit from the status; their objects follow.
pub(crate) fn forget(view: &View<'_>, draft: &mut Draft) {
    if draft.release().is_some() {
        return;
    }
    let active = active(&draft.status);
    let stable = draft.status.stable.as_ref().map(|stable| stable.revision);
    // Of a status that was made anew nobody knows which revisions were proven: they are kept all the same.
    let worth = |state: &&RevisionState| state.proven || state.outcome.is_none();
    let kept = draft.status.revisions.iter().filter(worth).map(|state| state.number);
    let mut newest: Vec<i64> = kept.filter(|number| Some(*number) != active).collect();
    newest.sort_unstable_by(|left, right| right.cmp(left));
    newest.truncate(view.release.history_limit());
    let wanted = |number: i64, hash: &str| {
        Some(number) == active
            || Some(number) == stable
            || newest.contains(&number)
            || view.hash.as_ref().is_none_or(|current| current == hash)
            || draft.status.pending.as_ref().is_some_and(|pending| pending.hash == *hash)
    };
    let gone: Vec<i64> = draft
        .status
        .revisions
        .iter()
        .filter(|state| !wanted(state.number, &state.hash))
        .map(|state| state.number)
        .collect();
    draft.status.revisions.retain(|state| !gone.contains(&state.number));
    for number in gone {
        draft.tell(
            false,
            Reason::RevisionRemoved,
            format!("revision {number} is past historyLimit and is removed"),
        );
    }
}

/// Deletes of everything that belongs to revisions which the status does not know: the Deployment first, once it is empty, the
/// ControllerRevision last.
pub(crate) fn sweep(view: &View<'_>, draft: &mut Draft) -> Vec<Write> {
    let observed = view.observed;
    let mut numbers: Vec<i64> = Vec::new();
    numbers.extend(observed.revisions.iter().map(|one| one.number));
    numbers.extend(observed.deployments.iter().map(|one| one.revision));
    numbers.extend(observed.configs.iter().map(|one| one.revision));
    numbers.extend(observed.snapshots.iter().map(|one| one.revision));
    numbers.extend(observed.budgets.iter().map(|one| one.revision));
    numbers.extend(observed.jobs.iter().map(|one| one.revision));
    numbers.sort_unstable();
    numbers.dedup();
    numbers.retain(|number| {
        // A higher number than the last one given is not ours to judge.
        revision_state(&draft.status, *number).is_none() && *number <= draft.status.last_revision
    });
    let mut writes: Vec<Write> = numbers.into_iter().flat_map(|number| remove(view, number)).collect();
    writes.extend(restart::outdated(view, draft));
    writes
}

fn remove(view: &View<'_>, number: i64) -> Vec<Write> {
    let (observed, service) = (view.observed, &view.subject.name);
    let own = names::revision(service, number);
    let delete = |kind, name: &str, uid: &str, version: &str| Write::Delete {
        object: ObjectRef::new(kind, name),
        precondition: Precondition::version(uid, version),
    };
    let mut writes = Vec::new();
    if let Some(deployment) = view.deployment(number) {
        let precondition = Precondition::version(&deployment.uid, &deployment.resource_version);
        if deployment.replicas > 0 {
            let (role, colour) = (crate::document::Role::Retiring, deployment.colour.unwrap_or_default());
            let replaces = Some(precondition);
            let (revision, restart, recreate) = (number, deployment.restart, deployment.recreate);
            return vec![Write::WriteDeployment {
                revision,
                restart,
                recreate,
                replicas: 0,
                role,
                colour,
                replaces,
            }];
        }
        if view.pods(number).next().is_none() {
            writes.push(Write::Delete { object: ObjectRef::new(ObjectKind::Deployment, &own), precondition });
        }
    }
    if view.pods(number).next().is_some() {
        return writes;
    }
    for one in observed.budgets.iter().filter(|one| one.revision == number) {
        writes.push(delete(ObjectKind::PodDisruptionBudget, &own, &one.uid, &one.resource_version));
    }
    for one in observed.configs.iter().filter(|one| one.revision == number) {
        let name = names::sidecar_config(service, number);
        writes.push(delete(ObjectKind::ConfigMap, &name, &one.uid, &one.resource_version));
    }
    for one in observed.snapshots.iter().filter(|one| one.revision == number) {
        writes.push(delete(one.snapshot.kind.into(), &one.snapshot.name, &one.uid, &one.resource_version));
    }
    for one in observed.jobs.iter().filter(|one| one.revision == number) {
        writes.push(delete(ObjectKind::Job, &one.name, &one.uid, &one.resource_version));
    }
    for one in observed.revisions.iter().filter(|one| one.number == number) {
        writes.extend(one.restarts.iter().map(|restart| restart::removal(view, number, restart)));
        writes.push(delete(ObjectKind::ControllerRevision, &own, &one.uid, &one.resource_version));
    }
    writes
}
