//! Ejection: what serves is given back as plain objects, and the ShopService can be deleted without it.
//!
//! Only metadata changes: no pod restarts, and the sidecars stay in the pods with what they were told last. From the moment that
//! `spec.eject` is seen nothing else is written, so that no late write makes an object ours again whose ShopService is about to go.
//! What is not given back goes with the ShopService.

use shop_crds::{
    Reason,
    names::{self, ADOPTED},
};

use crate::{
    report::Wait,
    view::{Draft, View, active},
    write::{ObjectKind, ObjectRef, Precondition, ServiceKind, Write},
};

/// Whether nothing but ejection is done any more. A release that runs ends first.
pub(crate) fn is_due(view: &View<'_>, draft: &Draft) -> bool {
    is_wanted(view)
        && draft.release().is_none()
        && draft.status.restart.is_none()
        && active(&draft.status).is_some()
}

/// Whether nothing new begins.
pub(crate) fn is_wanted(view: &View<'_>) -> bool {
    view.subject.spec.eject.unwrap_or(false)
}

/// The objects that users have and that are still ours.
pub(crate) fn writes(view: &View<'_>, draft: &Draft) -> Vec<Write> {
    let Some(revision) = active(&draft.status) else { return Vec::new() };
    let (observed, service) = (view.observed, &view.subject.name);
    let give = |kind, name: &str, precondition| {
        let object = ObjectRef::new(kind, name);
        Write::Eject { object, precondition }
    };
    let version = |uid: &str, version: &str| Some(Precondition::version(uid, version));
    let own = names::revision(service, revision);
    let mut writes = Vec::new();
    if revision != ADOPTED {
        for one in observed.snapshots.iter().filter(|one| one.revision == revision) {
            let kind = one.snapshot.kind.into();
            writes.push(give(kind, &one.snapshot.name, version(&one.uid, &one.resource_version)));
        }
        for one in observed.configs.iter().filter(|one| one.revision == revision) {
            let name = names::sidecar_config(service, revision);
            writes.push(give(ObjectKind::ConfigMap, &name, version(&one.uid, &one.resource_version)));
        }
        if observed.keys {
            writes.push(give(ObjectKind::Secret, &names::sidecar_keys(service), None));
        }
        if observed.account {
            writes.push(give(ObjectKind::ServiceAccount, &names::service_account(service), None));
        }
        for one in observed.budgets.iter().filter(|one| one.revision == revision) {
            writes.push(give(
                ObjectKind::PodDisruptionBudget,
                &own,
                version(&one.uid, &one.resource_version),
            ));
        }
    }
    if let Some(one) = view.deployment(revision) {
        writes.push(give(ObjectKind::Deployment, &own, version(&one.uid, &one.resource_version)));
    }
    // Callers find the pods by the headless one.
    for kind in [ServiceKind::Pods, ServiceKind::Users] {
        if let Some(one) = view.service(kind) {
            writes.push(give(
                ObjectKind::Service,
                &kind.name(service),
                version(&one.uid, &one.resource_version),
            ));
        }
    }
    writes
}

/// What is left to do for people.
pub(crate) fn wait(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    if !is_due(view, draft) || !writes(view, draft).is_empty() {
        return None;
    }
    let (name, namespace) = (&view.subject.name, &view.subject.namespace);
    let message =
        format!("what users have of {name} is given back; delete the ShopService, and the rest goes with it");
    let delete = format!("kubectl delete shopservice {name} -n {namespace}");
    Some(Wait::new(Reason::Ejected, message).command(delete))
}
