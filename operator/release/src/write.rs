//! What a plan wants written: one variant per kind of object and intention. The operator renders objects from it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use shop_crds::{ReleaseDecisionStatus, names, status::Colour};

use crate::{
    document::{Role, SidecarDocument},
    inputs::{Inputs, RevisionFacts, SnapshotRef, SourceKind},
    network::Access,
    outside::{JobTemplate, Question},
};

/// One write. Writes are executed in order, and execution stops at the first that fails; every beginning of the list leaves a
/// safe state, and the next plan goes on from there.
///
/// Every object gets the annotation `shopkeeper.dev/leader-epoch` with the epoch of this leader. `replaces: None` is a
/// create that fails where the object exists; `Some` replaces the object that has this uid and this version.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Create the ControllerRevision: the facts, and the pod template rendered from the inputs.
    CreateRevision {
        /// Number of the revision.
        revision: i64,
        /// What the template is rendered from.
        inputs: Box<Inputs>,
        /// What is stored beside the template.
        facts: Box<RevisionFacts>,
    },
    /// Ask the API server, by a dry run that changes nothing, whether it takes the Deployment of these inputs. A refusal does not
    /// fail the plan; the answer is in [`crate::Observed::checked`] of the next one.
    CheckTemplate {
        /// The number that the revision would get.
        revision: i64,
        /// What the template is rendered from.
        inputs: Box<Inputs>,
    },
    /// Create the ControllerRevision of a restart: the revision's template with the sidecar that new revisions get now.
    CreateRestart {
        /// Number of the revision.
        revision: i64,
        /// Which restart of it.
        ordinal: i64,
    },
    /// Create an immutable copy of a ConfigMap or Secret. Fails when the source's content does not have `snapshot.hash` any more.
    CreateSnapshot {
        /// Number of the revision.
        revision: i64,
        /// Which copy.
        snapshot: SnapshotRef,
    },
    /// Create the ServiceAccount of the pods.
    CreateAccount,
    /// Create the Secret with new MAC keys.
    CreateKeys {
        /// Whether it has a certificate from the beginning.
        certificate: bool,
    },
    /// Put a new certificate into that Secret, with its key and the roots, in place of the one before.
    IssueCertificate,
    /// Put other roots beside the certificate.
    CopyRoots {
        /// Their hash.
        roots: String,
    },
    /// Take certificate, key and roots away.
    RemoveCertificate,
    /// Put the keys for tokens into that Secret, from the one that `spec.auth` names, in place of those before. Fails when that one's content does
    /// not have this hash any more.
    CopyTokenKeys {
        /// Hash of the content.
        hash: String,
    },
    /// Write the ConfigMap with the sidecar document; the operator adds identity, leader epoch and key ids.
    WriteConfig {
        /// What it says.
        document: Box<SidecarDocument>,
        /// Its generation.
        generation: i64,
        /// The ConfigMap that is there; always with its version.
        replaces: Option<Precondition>,
    },
    /// POST the document that the revision's ConfigMap holds. A pod that does not answer does not fail the plan.
    PushDocument {
        /// Number of the revision.
        revision: i64,
        /// Generation of the document.
        generation: i64,
        /// To whom.
        pods: Vec<PodTarget>,
    },
    /// POST hand-off addresses (port 9440 of each), or to a revision's pods those of its own (port 9442 of each): they share
    /// limits. A pod that does not answer does not fail the plan.
    PushEndpoints {
        /// The revision that hands over: it receives the list.
        revision: i64,
        /// The revision that the addresses belong to.
        to_revision: i64,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// To whom.
        pods: Vec<PodTarget>,
    },
    /// Write the Deployment of a revision: the stored template byte for byte, with these replicas and annotations.
    WriteDeployment {
        /// Number of the revision.
        revision: i64,
        /// The restart whose template it gets; 0: that of the revision itself.
        restart: i64,
        /// Whether its pods stop before those of another template start; otherwise they are replaced one after the other.
        recreate: bool,
        /// `spec.replicas`.
        replicas: i32,
        /// Annotation.
        role: Role,
        /// Annotation.
        colour: Colour,
        /// The Deployment that is there; always with its version.
        replaces: Option<Precondition>,
    },
    /// Write one of the Services, whole.
    WriteService {
        /// Which one.
        service: ServiceKind,
        /// The revision that it selects.
        selects: i64,
        /// The Service that is there; always with its version.
        replaces: Option<Precondition>,
    },
    /// Write the PodDisruptionBudget of a revision.
    WriteBudget {
        /// Number of the revision.
        revision: i64,
        /// How many pods may be evicted at once.
        max_unavailable: MaxUnavailable,
        /// The budget that is there.
        replaces: Option<Precondition>,
    },
    /// Write the NetworkPolicy of the pods.
    WriteNetworkPolicy {
        /// Who gets to them.
        access: Access,
        /// The one that is there.
        replaces: Option<Precondition>,
    },
    /// Write nothing but the annotation with the leader's epoch: late writes of an older leader fail from here on.
    Stamp {
        /// The object.
        object: ObjectRef,
        /// Always with its version.
        precondition: Precondition,
    },
    /// Make an object of somebody else this ShopService's, as revision 0: labels, annotations and owner, and nothing else of it.
    Adopt {
        /// The Deployment, under the name that a revision's has, or the users' Service.
        object: ObjectRef,
        /// Always with its version.
        precondition: Precondition,
    },
    /// Make an object nobody's: labels, annotations and owner of ours are taken away, and nothing else changes.
    Eject {
        /// The object.
        object: ObjectRef,
        /// Its version; `None`: the one that is known where it is written.
        precondition: Option<Precondition>,
    },
    /// Delete an object (in the background).
    Delete {
        /// The object.
        object: ObjectRef,
        /// Always with its version.
        precondition: Precondition,
    },
    /// Ask somebody outside, in the background: no write to the API server, and nothing waits for it. The answer is in
    /// [`crate::Observed::answers`] of a later plan.
    Ask(Question),
    /// Create a Job, owned by the ShopService. It is removed with [`Write::Delete`].
    CreateJob {
        /// Its name.
        name: String,
        /// Number of the revision it is run for: a label.
        revision: i64,
        /// What it runs.
        job: Box<JobTemplate>,
    },
    /// Write the status of a ReleaseDecision.
    WriteDecision {
        /// Its name.
        name: String,
        /// Always with its version.
        precondition: Precondition,
        /// The status.
        status: Box<ReleaseDecisionStatus>,
    },
}

/// What an object that is replaced or deleted must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

impl Precondition {
    /// This very version of the object.
    pub fn version(uid: &str, resource_version: &str) -> Self {
        Self { uid: uid.to_owned(), resource_version: resource_version.to_owned() }
    }
}

/// A pod that something is pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTarget {
    /// `metadata.uid`.
    pub uid: String,
    /// `status.podIP`.
    pub ip: IpAddr,
}

/// `maxUnavailable` of a PodDisruptionBudget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxUnavailable {
    /// `1`.
    One,
    /// `10%`, from 20 replicas.
    TenPercent,
}

impl MaxUnavailable {
    /// For so many replicas.
    pub fn of(replicas: i32) -> Self {
        if replicas >= 20 { Self::TenPercent } else { Self::One }
    }

    /// In pods, of so many replicas; Kubernetes rounds up.
    pub fn pods(self, replicas: i32) -> i32 {
        match self {
            Self::One => 1,
            Self::TenPercent => replicas.max(0).saturating_add(9) / 10,
        }
    }
}

/// Which of the three Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServiceKind {
    /// `order`: what users reach.
    Users,
    /// `order-pods`: headless, for callers that balance by themselves.
    Pods,
    /// `order-preview`: the candidate, or without one the active revision.
    Preview,
}

impl ServiceKind {
    /// All three, in the order in which they are pointed at a revision.
    pub const ALL: [Self; 3] = [Self::Users, Self::Pods, Self::Preview];

    /// Name of the object.
    pub fn name(self, service: &str) -> String {
        match self {
            Self::Users => names::users_service(service),
            Self::Pods => names::pods_service(service),
            Self::Preview => names::preview_service(service),
        }
    }
}

/// An object by kind and name, in the ShopService's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// Of this kind and name.
    pub fn new(kind: ObjectKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// Kinds of objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `apps/v1 ControllerRevision`.
    ControllerRevision,
    /// `v1 ConfigMap`.
    ConfigMap,
    /// `v1 Secret`.
    Secret,
    /// `v1 ServiceAccount`.
    ServiceAccount,
    /// `apps/v1 Deployment`.
    Deployment,
    /// `v1 Service`.
    Service,
    /// `policy/v1 PodDisruptionBudget`.
    PodDisruptionBudget,
    /// `networking.k8s.io/v1 NetworkPolicy`.
    NetworkPolicy,
    /// `batch/v1 Job`.
    Job,
    /// `shopkeeper.dev/v1alpha1 ReleaseDecision`.
    ReleaseDecision,
}

impl ObjectKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControllerRevision => "ControllerRevision",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Job => "Job",
            Self::ReleaseDecision => "ReleaseDecision",
        }
    }
}

impl From<SourceKind> for ObjectKind {
    fn from(kind: SourceKind) -> Self {
        match kind {
            SourceKind::ConfigMap => Self::ConfigMap,
            SourceKind::Secret => Self::Secret,
        }
    }
}

impl Write {
    /// The object that is written, of a ShopService of this name; `None` for pushes and questions.
    pub fn object(&self, service: &str) -> Option<ObjectRef> {
        let (kind, name) = match self {
            Self::CreateRevision { revision, .. } => {
                (ObjectKind::ControllerRevision, names::revision(service, *revision))
            }
            Self::CreateRestart { revision, ordinal } => {
                (ObjectKind::ControllerRevision, names::restart(service, *revision, *ordinal))
            }
            Self::CreateSnapshot { snapshot, .. } => (snapshot.kind.into(), snapshot.name.clone()),
            Self::CreateAccount => (ObjectKind::ServiceAccount, names::service_account(service)),
            Self::CreateKeys { .. }
            | Self::CopyTokenKeys { .. }
            | Self::IssueCertificate
            | Self::CopyRoots { .. }
            | Self::RemoveCertificate => (ObjectKind::Secret, names::sidecar_keys(service)),
            Self::WriteNetworkPolicy { .. } => (ObjectKind::NetworkPolicy, names::network_policy(service)),
            Self::WriteConfig { document, .. } => {
                (ObjectKind::ConfigMap, names::sidecar_config(service, document.revision))
            }
            Self::WriteDeployment { revision, .. } => {
                (ObjectKind::Deployment, names::revision(service, *revision))
            }
            Self::WriteService { service: kind, .. } => (ObjectKind::Service, kind.name(service)),
            Self::WriteBudget { revision, .. } => {
                (ObjectKind::PodDisruptionBudget, names::revision(service, *revision))
            }
            Self::Adopt { object, .. }
            | Self::Eject { object, .. }
            | Self::Stamp { object, .. }
            | Self::Delete { object, .. } => {
                return Some(object.clone());
            }
            Self::WriteDecision { name, .. } => (ObjectKind::ReleaseDecision, name.clone()),
            Self::CreateJob { name, .. } => (ObjectKind::Job, name.clone()),
            Self::PushDocument { .. }
            | Self::PushEndpoints { .. }
            | Self::CheckTemplate { .. }
            | Self::Ask(_) => return None,
        };
        Some(ObjectRef { kind, name })
    }
}
