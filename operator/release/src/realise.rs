//! From what shall be to the writes that make it so: nothing that is already as it shall be is written.

use std::time::Duration;

use jiff::Timestamp;
use shop_crds::{
    Reason,
    names::{self, ADOPTED},
    service::release::Strategy,
    status::Phase,
};

use crate::{
    analysis,
    desired::{Desired, Wanted},
    document::Role,
    handoff, mtls, network, restart, retire, tokens,
    view::{Draft, View, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, ServiceKind, Write},
};

/// When it is looked again whether certificates can be made.
const AUTHORITY: Duration = Duration::from_secs(5);

/// The writes of one plan by urgency; executed in the order of the fields.
#[derive(Default)]
struct Sheet {
    /// What pods need before they can start.
    ground: Vec<Write>,
    documents: Vec<Write>,
    pushes: Vec<Write>,
    grow: Vec<Write>,
    budgets: Vec<Write>,
    services: Vec<Write>,
    shrink: Vec<Write>,
    removals: Vec<Write>,
}

/// Everything to be written for what is desired. Decisions are answered first; on the way back the Services come before all
/// else, so that no write that fails or is refused holds it up.
pub(crate) fn writes(
    view: &View<'_>,
    draft: &mut Draft,
    desired: &Desired,
    taken: Vec<Write>,
    finished: Vec<Write>,
) -> Vec<Write> {
    let mut sheet = Sheet::default();
    for wanted in &desired.revisions {
        if !ground(view, draft, wanted, &mut sheet) {
            continue;
        }
        let generation = document(view, draft, wanted, &mut sheet);
        if wanted.pushed || generation.is_some() {
            let pushes = handoff::pushes(
                view,
                draft,
                wanted.revision,
                generation,
                wanted.hand_off.as_ref().map(|hand_off| hand_off.to_revision),
            );
            // Outside of a release the mounted file is enough; the push is for speed, and tried once.
            sheet.pushes.extend(pushes);
        }
        sheet.pushes.extend(handoff::peers(view, draft, wanted.revision));
        deployment(view, draft, wanted, &mut sheet);
        budget(view, draft, wanted, &mut sheet);
    }
    security(view, draft, desired, &mut sheet);
    for (kind, revision) in &desired.services {
        service(view, draft, *kind, *revision, &mut sheet);
    }
    if draft.phase() == Phase::Stable && draft.release().is_none() {
        sheet.removals.extend(restart::record(view, draft));
        sheet.removals.extend(retire::sweep(view, draft));
    }
    let Sheet { ground, documents, pushes, grow, budgets, services, shrink, removals } = sheet;
    if draft.phase() == Phase::Aborting {
        return [services, documents, pushes, ground, grow, budgets, taken, shrink, removals, finished]
            .concat();
    }
    let measured = analysis::writes(view, draft);
    [taken, ground, documents, pushes, grow, budgets, services, shrink, removals, finished, measured].concat()
}

/// Stamps for every object of a service in release that an older leader touched last.
pub(crate) fn stamps(view: &View<'_>) -> Vec<Write> {
    let (name, epoch) = (&view.subject.name, view.subject.leader_epoch);
    let stamp = |object: ObjectRef, uid: &str, version: &str| Write::Stamp {
        object,
        precondition: Precondition::version(uid, version),
    };
    let services = view.observed.services.iter().filter(|(_, service)| service.leader_epoch < epoch).map(
        |(kind, one)| {
            stamp(ObjectRef::new(ObjectKind::Service, kind.name(name)), &one.uid, &one.resource_version)
        },
    );
    let deployments = view.observed.deployments.iter().filter(|one| one.leader_epoch < epoch).map(|one| {
        let object = ObjectRef::new(ObjectKind::Deployment, names::revision(name, one.revision));
        stamp(object, &one.uid, &one.resource_version)
    });
    let configs = view.observed.configs.iter().filter(|one| one.leader_epoch < epoch).map(|one| {
        let object = ObjectRef::new(ObjectKind::ConfigMap, names::sidecar_config(name, one.revision));
        stamp(object, &one.uid, &one.resource_version)
    });
    services.chain(configs).chain(deployments).collect()
}

/// Writes what the revision's pods need; false when that cannot be had any more, and there are no pods yet either.
fn ground(view: &View<'_>, draft: &mut Draft, wanted: &Wanted, sheet: &mut Sheet) -> bool {
    let (service, revision) = (&view.subject.name, wanted.revision);
    if wanted.replicas == 0 && !wanted.told || revision == ADOPTED {
        return true;
    }
    let started = view.deployment(revision).is_some();
    let same =
        revision_state(&draft.status, revision).is_some_and(|state| Some(&state.hash) == view.hash.as_ref());
    let stored = view.stored(revision).map(|stored| &stored.facts);
    let fresh = view.inputs.as_ref().ok().filter(|_| same).map(|inputs| inputs.facts(service, revision));
    // What was never stored can only be rendered while the inputs are still the same; otherwise a newer revision takes its
    // place once they have settled.
    let Some(facts) = stored.or(fresh.as_ref()) else { return started };
    if stored.is_none()
        && let (Ok(inputs), Some(facts)) = (&view.inputs, &fresh)
    {
        let (inputs, facts) = (Box::new(inputs.clone()), Box::new(facts.clone()));
        sheet.ground.push(Write::CreateRevision { revision, inputs, facts });
    }
    for snapshot in &facts.snapshots {
        let same = |one: &&crate::StoredSnapshot| {
            one.snapshot.name == snapshot.name && one.snapshot.kind == snapshot.kind
        };
        if view.observed.snapshots.iter().any(|one| same(&one)) {
            continue;
        }
        let source =
            view.observed.sources.iter().find(|one| one.name == snapshot.source && one.kind == snapshot.kind);
        let content = source.map(|source| &source.state);
        if !matches!(content, Some(crate::SourceState::Found { hash, .. }) if *hash == snapshot.hash) {
            // The content is gone; newer inputs take this revision's place.
            if started {
                continue;
            }
            return false;
        }
        sheet.ground.push(Write::CreateSnapshot { revision, snapshot: snapshot.clone() });
    }
    if !started && mtls::must_wait(view) {
        draft.wake(crate::view::after(view.now, AUTHORITY));
        return false;
    }
    let keys = Write::CreateKeys { certificate: mtls::with_keys(view) };
    let account = (!view.observed.account).then_some(Write::CreateAccount);
    let keys = (!view.observed.keys).then_some(keys);
    for write in [account, keys, tokens::copy(view)].into_iter().flatten() {
        if !sheet.ground.contains(&write) {
            sheet.ground.push(write);
        }
    }
    true
}

/// Writes certificate and NetworkPolicy: once for all revisions.
fn security(view: &View<'_>, draft: &mut Draft, desired: &Desired, sheet: &mut Sheet) {
    if !desired.revisions.iter().any(|wanted| wanted.told) {
        return;
    }
    sheet.ground.extend(mtls::renewal(view, draft));
    sheet.removals.extend(mtls::removal(view));
    match network::write(view) {
        Some((write @ Write::Delete { .. }, _)) => sheet.removals.push(write),
        Some((write, was_drifted)) => {
            if was_drifted {
                let name = names::network_policy(&view.subject.name);
                drifted(draft, ObjectKind::NetworkPolicy, &name);
            }
            sheet.ground.push(write);
        }
        None => {}
    }
}

/// Writes the document where it differs; returns the generation that is written.
fn document(view: &View<'_>, draft: &mut Draft, wanted: &Wanted, sheet: &mut Sheet) -> Option<i64> {
    if !wanted.told {
        return None;
    }
    let document = handoff::document(view, draft, wanted)?;
    let config = view.config(wanted.revision);
    if let Some(config) = config {
        let current = config.document.as_ref() == Some(&document)
            && config.keys_fingerprint == view.observed.keys_fingerprint;
        if current && !config.drifted {
            return None;
        }
        if config.drifted {
            drifted(
                draft,
                ObjectKind::ConfigMap,
                &names::sidecar_config(&view.subject.name, wanted.revision),
            );
        }
    }
    let told = view
        .pods(wanted.revision)
        .filter_map(|pod| pod.sidecar.acknowledged.as_ref())
        .map(|seen| seen.generation);
    let planned = revision_state(&draft.status, wanted.revision).map_or(0, |state| state.generation);
    let found = config.map(|config| config.generation).into_iter().chain(told).max();
    // A generation that was planned and never written is used now; without the ConfigMap nobody knows, and it is left out.
    let generation = found.map_or(planned + 1, |found| (found + 1).max(planned));
    if let Some(state) = draft.revision_mut(wanted.revision) {
        state.generation = generation;
    }
    let replaces = config.map(|config| Precondition::version(&config.uid, &config.resource_version));
    sheet.documents.push(Write::WriteConfig { document: Box::new(document), generation, replaces });
    Some(generation)
}

fn deployment(view: &View<'_>, draft: &mut Draft, wanted: &Wanted, sheet: &mut Sheet) {
    let Wanted { revision, replicas, role, .. } = *wanted;
    let state = revision_state(&draft.status, revision);
    let found = view.deployment(revision);
    let colour = state.map(|state| state.colour).or_else(|| found?.colour).unwrap_or_default();
    // How an adopted Deployment replaces its pods is its owner's.
    let recreate = match found.filter(|_| revision == ADOPTED) {
        Some(found) => found.recreate,
        None => view.release.strategy == Strategy::Recreate,
    };
    let Some(found) = found else {
        let fresh = || state.is_some_and(|state| Some(&state.hash) == view.hash.as_ref());
        if wanted.told && state.is_some() && (view.stored(revision).is_some() || fresh()) {
            let restart = restart::template(view, draft, revision);
            sheet.grow.push(Write::WriteDeployment {
                revision,
                restart,
                recreate,
                replicas,
                role,
                colour,
                replaces: None,
            });
        }
        return;
    };
    if role == Role::Candidate && replicas > 0 && view.is_doomed(revision) {
        // Its controller is about to remove these pods, whatever is written now: new ones come when they are gone.
        return;
    }
    let restart = restart::template(view, draft, revision);
    let labelled = replicas == 0 && !wanted.told && found.replicas == 0
        || found.role == Some(role) && found.colour == Some(colour);
    let current = found.restart == restart && found.recreate == recreate || replicas == 0;
    if found.replicas == replicas && labelled && current && !found.drifted {
        return;
    }
    if found.drifted {
        drifted(draft, ObjectKind::Deployment, &names::revision(&view.subject.name, revision));
    }
    let lowers = replicas < found.replicas;
    // Always this version: a late write of an older leader could lower what has risen since.
    let replaces = Precondition::version(&found.uid, &found.resource_version);
    let replaces = Some(replaces);
    let write = Write::WriteDeployment { revision, restart, recreate, replicas, role, colour, replaces };
    if lowers { &mut sheet.shrink } else { &mut sheet.grow }.push(write);
}

fn budget(view: &View<'_>, draft: &mut Draft, wanted: &Wanted, sheet: &mut Sheet) {
    let revision = wanted.revision;
    let found = view.observed.budgets.iter().find(|budget| budget.revision == revision);
    let precondition = found.map(|budget| Precondition::version(&budget.uid, &budget.resource_version));
    match (wanted.budget, found, precondition) {
        (Some(max_unavailable), found, replaces) => {
            if found.is_some_and(|found| found.max_unavailable == Some(max_unavailable) && !found.drifted) {
                return;
            }
            if found.is_some_and(|found| found.drifted) {
                drifted(
                    draft,
                    ObjectKind::PodDisruptionBudget,
                    &names::revision(&view.subject.name, revision),
                );
            }
            sheet.budgets.push(Write::WriteBudget { revision, max_unavailable, replaces });
        }
        (None, Some(_), Some(precondition)) if wanted.replicas == 0 => {
            let object = ObjectRef::new(
                ObjectKind::PodDisruptionBudget,
                names::revision(&view.subject.name, revision),
            );
            sheet.removals.push(Write::Delete { object, precondition });
        }
        _ => {}
    }
}

fn service(view: &View<'_>, draft: &mut Draft, kind: ServiceKind, selects: i64, sheet: &mut Sheet) {
    let found = view.service(kind);
    if found.is_some_and(|found| found.selects == Some(selects) && !found.drifted && !found.outdated) {
        return;
    }
    if found.is_some_and(|found| found.drifted) {
        drifted(draft, ObjectKind::Service, &kind.name(&view.subject.name));
    }
    let replaces = found.map(|found| Precondition::version(&found.uid, &found.resource_version));
    sheet.services.push(Write::WriteService { service: kind, selects, replaces });
}

fn drifted(draft: &mut Draft, kind: ObjectKind, name: &str) {
    let message = format!("{} {name} was changed by somebody else, and is put back", kind.as_str());
    draft.tell(true, Reason::DriftReverted, message);
}

/// Leaves out what cannot be written now, and everything after it: names that are taken, and writes that were refused a moment
/// ago.
pub(crate) fn until_refused(view: &View<'_>, draft: &mut Draft, writes: Vec<Write>) -> Vec<Write> {
    let again = |at: Timestamp| crate::view::after(at, std::time::Duration::from_secs(30));
    let mut kept = Vec::new();
    for write in writes {
        let object = write.object(&view.subject.name);
        let adopts = matches!(write, Write::Adopt { .. });
        if !adopts && object.as_ref().is_some_and(|object| view.observed.taken.contains(object)) {
            break;
        }
        let refusal = view.observed.refused.iter().find(|refusal| Some(&refusal.object) == object.as_ref());
        if let Some(due) = refusal.map(|refusal| again(refusal.at)).filter(|due| *due > view.now) {
            draft.wake(due);
            break;
        }
        kept.push(write);
    }
    kept
}
