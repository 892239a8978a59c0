//! What is in the cluster, as plain data: the operator fills it from its caches.
//!
//! Only objects that this ShopService owns are listed; one that has a name it needs and belongs to somebody else is in
//! [`Observed::taken`]. **The caches must show every write that this leader made for the service before it plans again**;
//! otherwise a plan could be made from a state that its own writes have already left.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::Timestamp;
use shop_crds::{
    FaultPolicySpec, ReleaseDecisionSpec, ReleaseDecisionStatus, ShopPolicySpec, status::Colour,
};

use crate::{
    adopt::Strangers,
    analysis::Tally,
    document::{Role, SidecarDocument},
    inputs::{RevisionFacts, SnapshotRef, SourceKind},
    mtls::{Authority, Certificate, Neighbour},
    network::NetworkPolicy,
    outside::{Answer, JobSeen},
    write::{MaxUnavailable, ObjectRef, ServiceKind},
};

/// Everything a plan looks at apart from the ShopService itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The ConfigMaps and Secrets that [`crate::inputs::sources`] names, in that order; one that is not listed counts as unread.
    pub sources: Vec<Source>,
    /// ControllerRevisions.
    pub revisions: Vec<StoredRevision>,
    /// Immutable copies of sources.
    pub snapshots: Vec<StoredSnapshot>,
    /// Deployments, at most one per revision.
    pub deployments: Vec<Deployment>,
    /// Pods of all revisions, terminating ones too.
    pub pods: Vec<Pod>,
    /// `order`, `order-pods` and `order-preview`, those that exist and are owned.
    pub services: BTreeMap<ServiceKind, Service>,
    /// Uids of the pods that the EndpointSlices of the users' Service list as ready.
    pub endpoints: BTreeSet<String>,
    /// ConfigMaps with sidecar documents.
    pub configs: Vec<SidecarConfig>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<Budget>,
    /// Whether the Secret with the sidecars' MAC keys exists.
    pub keys: bool,
    /// Hash of the content that the keys for tokens in that Secret were copied from.
    pub token_keys: Option<String>,
    /// The certificate in that Secret.
    pub certificate: Option<Certificate>,
    /// Where certificates come from; `None`: not known, or nobody asks for any.
    pub authority: Option<Authority>,
    /// The first part of every id: `cluster.local`.
    pub trust_domain: String,
    /// ShopServices of the namespace that this one calls, or that call it, as far as TLS is concerned.
    pub neighbours: Vec<Neighbour>,
    /// The NetworkPolicy of the pods.
    pub network_policy: Option<NetworkPolicy>,
    /// Whether the ServiceAccount exists.
    pub account: bool,
    /// Fingerprint of what the operator would put into a document now beside what is planned here: public push keys and ids of
    /// MAC keys. A config that was written with another one is written again.
    pub keys_fingerprint: String,
    /// ReleaseDecisions that name this service.
    pub decisions: Vec<Decision>,
    /// Answers to questions of former plans, those that are still kept.
    pub answers: Vec<Answer>,
    /// Jobs.
    pub jobs: Vec<JobSeen>,
    /// What sidecars have counted for the analysis that runs.
    pub tallies: Vec<Tally>,
    /// Writes that the API server refused for good (validation, admission, quota), since the last change of the spec.
    pub refused: Vec<Refusal>,
    /// Names that are needed and taken by objects of somebody else.
    pub taken: Vec<ObjectRef>,
    /// Policies of the namespace, by name.
    pub policies: Vec<Policy>,
    /// FaultPolicies that name this service, also those that are over or refused.
    pub faults: Vec<FaultPolicy>,
    /// What the API server said last about a template with `spec.pod`, if it was asked.
    pub checked: Option<CheckedTemplate>,
    /// What `spec.adopt` names, as long as [`crate::adopts`]; `None` before it was looked at.
    pub strangers: Option<Strangers>,
}

/// What the API server said about a template, in a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTemplate {
    /// Hash of the inputs that it was rendered from.
    pub hash: String,
    /// When it said so.
    pub at: Timestamp,
    /// Why it was refused; `None`: it is in order.
    pub refused: Option<String>,
}

/// A ConfigMap or Secret that the spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which of the two it is.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// What was found.
    pub state: SourceState,
}

/// What was found of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It is there.
    Found {
        /// Hash of its data and binary data.
        hash: String,
        /// Bytes of its data, keys included.
        bytes: u64,
    },
    /// It does not exist.
    Missing,
    /// It could not be read; nothing is concluded from that, and no revision is cut.
    Unreadable(String),
}

/// A ControllerRevision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevision {
    /// Number of the revision.
    pub number: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// What is stored in it beside the rendered template.
    pub facts: RevisionFacts,
    /// The records of its restarts, each a ControllerRevision of its own.
    pub restarts: Vec<StoredRestart>,
}

/// The record of a restart: the revision's template with another sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRestart {
    /// Which restart of the revision it is: 1, 2, 3, …
    pub ordinal: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// An immutable copy of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Number of the revision.
    pub revision: i64,
    /// Which copy it is.
    pub snapshot: SnapshotRef,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

/// A revision's Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Number of the revision.
    pub revision: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The annotation `shopkeeper.dev/leader-epoch`; 0 where it is missing.
    pub leader_epoch: i64,
    /// `spec.replicas`.
    pub replicas: i32,
    /// The annotation `shopkeeper.dev/role`.
    pub role: Option<Role>,
    /// The annotation `shopkeeper.dev/colour`.
    pub colour: Option<Colour>,
    /// The annotation `shopkeeper.dev/restart`: which restart's template it has; 0: that of the revision itself.
    pub restart: i64,
    /// `spec.strategy.type` is `Recreate`.
    pub recreate: bool,
    /// Whether it differs from what the operator last wrote (`shopkeeper.dev/written`), replicas included.
    pub drifted: bool,
    /// Message of the condition `ReplicaFailure`, when it is true: quota, or pods that admission refuses.
    pub failure: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// Number of its revision.
    pub revision: i64,
    /// The annotation `shopkeeper.dev/restart`, which its template gave it; 0 where it is missing.
    pub restart: i64,
    /// `status.podIP`.
    pub ip: Option<IpAddr>,
    /// Condition `Ready`.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `status.phase` is `Failed`, or the kubelet rejected it: with the reason and message.
    pub rejected: Option<String>,
    /// Message of `PodScheduled` when it is false.
    pub unschedulable: Option<String>,
    /// Containers, init containers (the sidecar) included.
    pub containers: Vec<Container>,
    /// `imageID` of the app's container, as the kubelet reports it.
    pub image_id: Option<String>,
    /// What its sidecar said last.
    pub sidecar: SidecarView,
}

/// State of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// How often it was restarted.
    pub restarts: i32,
    /// `state.waiting`: reason (`ImagePullBackOff`, `CrashLoopBackOff`, …) and message.
    pub waiting: Option<(String, String)>,
    /// `state.terminated.exitCode`, while it is not running because it has exited.
    pub terminated: Option<i32>,
    /// `lastState.terminated`: exit code of the run before.
    pub last_exit: Option<i32>,
}

/// What the operator knows from a pod's sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarView {
    /// The document in use, from the last answer to a push; `None` before the first.
    pub acknowledged: Option<Acknowledged>,
    /// The hand-off addresses that it acknowledged last, from this leader; `None`: none or unknown, they are pushed again.
    pub endpoints: Option<EndpointsAcknowledged>,
    /// The pods of its own revision that it acknowledged last, as `endpoints`.
    pub peers: Option<EndpointsAcknowledged>,
    /// The last push that failed, unless a later one succeeded.
    pub failed: Option<PushFailed>,
    /// Traffic, from the last answer of `/stats`.
    pub traffic: Option<Traffic>,
}

/// What a sidecar has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Generation of the document in use.
    pub generation: i64,
    /// Hash of the document in use.
    pub hash: String,
    /// Role epoch of the document in use.
    pub role_epoch: i64,
}

/// Hand-off addresses that a sidecar has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointsAcknowledged {
    /// The revision they belong to.
    pub to_revision: i64,
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl SidecarView {
    /// Notes addresses that the sidecar of a pod of `revision` has accepted: those of its own revision are its peers.
    pub fn told(&mut self, revision: i64, endpoints: EndpointsAcknowledged) {
        let slot = if endpoints.to_revision == revision { &mut self.peers } else { &mut self.endpoints };
        *slot = Some(endpoints);
    }
}

/// A push that failed or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushFailed {
    /// When the first of an unbroken row of failures was.
    pub since: Timestamp,
    /// When the last one was.
    pub at: Timestamp,
    /// What went wrong.
    pub message: String,
}

/// Traffic of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// When it was asked.
    pub at: Timestamp,
    /// Open inbound connections, idle ones too.
    pub connections: i64,
    /// Of those, upgraded ones (WebSocket).
    pub upgraded: i64,
    /// Requests and streams that have not ended.
    pub in_flight: i64,
    /// Milliseconds since the last request began; `None`: there was none.
    pub idle_ms: Option<i64>,
}

/// One of the three Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The annotation `shopkeeper.dev/leader-epoch`; 0 where it is missing.
    pub leader_epoch: i64,
    /// The revision its selector names; `None` where it names none.
    pub selects: Option<i64>,
    /// Whether it differs from what the operator last wrote, its selector included.
    pub drifted: bool,
    /// Whether it would be written differently now for the same revision, because `spec.service` or the template of the operator
    /// changed.
    pub outdated: bool,
}

/// A ConfigMap with a sidecar document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarConfig {
    /// Number of the revision.
    pub revision: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The annotation `shopkeeper.dev/leader-epoch`; 0 where it is missing.
    pub leader_epoch: i64,
    /// `generation` of the document.
    pub generation: i64,
    /// `document_hash` of the document, which acknowledgements repeat.
    pub hash: String,
    /// The document, without what the operator adds to it; `None`: it cannot be read, and is written anew.
    pub document: Option<SidecarDocument>,
    /// [`Observed::keys_fingerprint`] of when it was written.
    pub keys_fingerprint: String,
    /// Whether it differs from what the operator last wrote.
    pub drifted: bool,
}

/// A revision's PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Number of the revision.
    pub revision: i64,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.maxUnavailable`; `None`: something the operator does not write.
    pub max_unavailable: Option<MaxUnavailable>,
    /// Whether it differs from what the operator last wrote.
    pub drifted: bool,
}

/// A ReleaseDecision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`, whole seconds.
    pub created: Timestamp,
    /// `spec`.
    pub spec: ReleaseDecisionSpec,
    /// `status`.
    pub status: Option<ReleaseDecisionStatus>,
}

/// A write that the API server refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was to be written.
    pub object: ObjectRef,
    /// When it was refused last.
    pub at: Timestamp,
    /// What the API server said.
    pub message: String,
}

/// A FaultPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPolicy {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`: its end is counted from then.
    pub created: Timestamp,
    /// `spec`; an error where it cannot be read.
    pub spec: Result<FaultPolicySpec, String>,
}

/// A policy of the namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// `spec`; an error where it cannot be read, which stops promotions as a window that cannot be read does.
    pub spec: Result<ShopPolicySpec, String>,
}
