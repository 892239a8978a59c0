//! Adoption: a Deployment and a Service that were there before become revision 0 as they stand.
//!
//! Nothing of them is changed but their metadata, so that no pod restarts. Revision 0 has no sidecars: nothing is handed over from
//! it or to it, users come and go by the write of the Service alone, and nobody waits for an acknowledgement of it. Its number is
//! given to no other revision, so that what is said of 0 here is said of nothing else.

mod fit;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use shop_crds::{
    Reason, ShopServiceStatus,
    names::{self, ADOPTED},
    status::{Colour, Phase, ReleaseState, RevisionOutcome, RevisionResult, RevisionState},
};

use crate::{
    inputs::RevisionFacts,
    report::Wait,
    view::{Draft, View, active, after, revision_state},
    write::{ObjectKind, ObjectRef, Precondition, ServiceKind, Write},
};

/// Objects of others are not watched: how often those that are to be adopted are looked at.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// What is kept of an adopted Deployment and its Service, to send users back to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adopted {
    /// Name of the Deployment.
    pub deployment: String,
    /// What the Service selected.
    pub selector: BTreeMap<String, String>,
    /// The port of the pods that the Service led to.
    pub target_port: IntOrString,
}

/// What `spec.adopt` names, as it was found while it is not adopted yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strangers {
    /// The Deployment; `None`: there is none of that name.
    pub deployment: Option<StrangeDeployment>,
    /// The Service of the ShopService's name.
    pub service: Option<StrangeService>,
}

/// A Deployment that is to be adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrangeDeployment {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Kind and name of an owner that is not this ShopService.
    pub owner: Option<String>,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// `spec.replicas`.
    pub replicas: i32,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// Images of its containers, in order.
    pub images: Vec<String>,
}

/// The users' Service before it is adopted.
#[derive(Clone, Debug, PartialEq)]
pub struct StrangeService {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Kind and name of an owner that is not this ShopService.
    pub owner: Option<String>,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// `spec.type`.
    pub kind: String,
    /// Whether it has no address of its own.
    pub headless: bool,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`.
    pub ports: Vec<StrangePort>,
    /// Fields that a Service of this operator's cannot have.
    pub unkept: Vec<String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrangePort {
    /// Its name; empty: it has none.
    pub name: String,
    /// The Service's port.
    pub port: i32,
    /// The pods' port.
    pub target: IntOrString,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// Whether users move between the two revisions by the Service alone, because one of them has no sidecars.
pub(crate) fn alone(release: &ReleaseState) -> bool {
    release.from == Some(ADOPTED) || release.to == ADOPTED
}

/// Whether something is still to be adopted. Nothing else is done meanwhile.
pub fn is_open(
    spec: &shop_crds::ShopServiceSpec,
    observed: &crate::Observed,
    status: &ShopServiceStatus,
) -> bool {
    let later = observed
        .revisions
        .iter()
        .map(|one| one.number)
        .chain(observed.deployments.iter().map(|one| one.revision));
    let stored = observed.revisions.iter().any(|one| one.number == ADOPTED);
    let taken = observed.deployments.iter().any(|one| one.revision == ADOPTED)
        && observed.services.contains_key(&ServiceKind::Users);
    let begins = status.last_revision == 0 && later.into_iter().all(|number| number == ADOPTED);
    // What is given back is not taken up again.
    let wanted = spec.adopt.is_some() && !spec.eject.unwrap_or(false);
    wanted && begins && !(stored && taken)
}

/// Takes over what is fit for it: the writes that are missing, or none.
pub(crate) fn take_up(view: &View<'_>, draft: &mut Draft) -> Vec<Write> {
    draft.wake(after(view.now, LOOK_AGAIN));
    let stored = view.stored(ADOPTED).map(|stored| stored.facts.clone());
    let Some(found) = view.observed.strangers.as_ref() else { return Vec::new() };
    let Ok(fit) = fit::facts(view, found) else {
        // As long as nothing is stored, nothing was touched either.
        if stored.is_none() && revision_state(&draft.status, ADOPTED).is_some() {
            draft.status.revisions.clear();
            draft.status.active = None;
            draft.status.stable = None;
        }
        return Vec::new();
    };
    let facts = stored.clone().unwrap_or(fit);
    note(view, draft, &facts, stored.is_some());
    let mut writes = Vec::new();
    if stored.is_none()
        && let Ok(inputs) = &view.inputs
    {
        let (inputs, facts) = (Box::new(inputs.clone()), Box::new(facts));
        writes.push(Write::CreateRevision { revision: ADOPTED, inputs, facts });
    }
    if let Some(deployment) = found.deployment.as_ref().filter(|_| view.deployment(ADOPTED).is_none()) {
        // The name of a revision's Deployment; where the writes are made it is known what it is called.
        let object = ObjectRef::new(ObjectKind::Deployment, names::revision(&view.subject.name, ADOPTED));
        let precondition = Precondition::version(&deployment.uid, &deployment.resource_version);
        writes.push(Write::Adopt { object, precondition });
    }
    if let Some(service) = found.service.as_ref().filter(|_| view.service(ServiceKind::Users).is_none()) {
        let object = ObjectRef::new(ObjectKind::Service, ServiceKind::Users.name(&view.subject.name));
        let precondition = Precondition::version(&service.uid, &service.resource_version);
        writes.push(Write::Adopt { object, precondition });
    }
    writes
}

/// What the status says of the revision.
fn note(view: &View<'_>, draft: &mut Draft, facts: &RevisionFacts, kept: bool) {
    let known = revision_state(&draft.status, ADOPTED).filter(|state| state.hash == facts.hash);
    if known.is_some() && active(&draft.status) == Some(ADOPTED) {
        return;
    }
    let at = view.micro();
    let message = "it served before it was adopted".to_owned();
    let (result, reason) = (RevisionResult::Completed, Reason::Adopted);
    draft.status.revisions = vec![RevisionState {
        number: ADOPTED,
        hash: facts.hash.clone(),
        image: facts.image.clone(),
        digest: None,
        colour: Colour::Blue,
        created: at.clone(),
        outcome: Some(RevisionOutcome { result, reason, message, at }),
        proven: true,
        barred: false,
        restarts: 0,
        generation: 0,
        expanded: false,
        contract: None,
    }];
    draft.status.active = Some(draft.named(ADOPTED));
    draft.status.stable = Some(draft.named(ADOPTED));
    draft.status.phase = Some(Phase::Stable);
    draft.status.role_epoch = draft.status.role_epoch.max(1);
    if !kept && let Some(adopted) = &facts.adopted {
        let name = &adopted.deployment;
        draft.tell(false, Reason::Adopted, format!("Deployment {name} serves as revision 0, as it stands"));
    }
}

/// What has to be changed before anything can be adopted.
pub(crate) fn wait(view: &View<'_>, draft: &Draft) -> Option<Wait> {
    let found = view.observed.strangers.as_ref()?;
    if !is_open(&view.subject.spec, view.observed, &draft.status) {
        return None;
    }
    let why = fit::facts(view, found).err()?;
    let command = crate::report::command(view, "why", None);
    let wait = Wait::new(Reason::AdoptionRefused, format!("nothing was changed: {why}"));
    Some(wait.until(after(view.now, LOOK_AGAIN)).command(command))
}

/// Why the pods that the spec asks for must not be: the Service of revision 0 would lead to them before they are released.
pub(crate) fn overlap(
    labels: Option<&BTreeMap<String, String>>,
    selector: &BTreeMap<String, String>,
) -> Option<String> {
    let labels = labels?;
    let selected = selector.iter().all(|(name, value)| labels.get(name) == Some(value));
    let shown: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    selected.then(|| {
        format!(
            "spec.pod.metadata.labels has all that the adopted Service selects ({}): leave one of them out",
            shown.join(",")
        )
    })
}

/// The label selector of the revision's pods, as text.
pub(crate) fn selector(view: &View<'_>) -> Option<String> {
    let adopted = view.stored(ADOPTED)?.facts.adopted.as_ref()?;
    let pairs = adopted.selector.iter().map(|(name, value)| format!("{name}={value}"));
    Some(pairs.collect::<Vec<_>>().join(","))
}
