//! The kinds of object that the operator watches.

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, Deployment},
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, core::ApiResource};
use shop_crds::{FaultPolicy, ReleaseDecision, ShopPolicy, ShopService};
use shop_release::{ObjectKind, SourceKind};

/// A kind that is watched: also the label value of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What the user writes.
    ShopService,
    /// What people decide.
    ReleaseDecision,
    /// What holds for a namespace.
    ShopPolicy,
    /// What is made worse for a while.
    FaultPolicy,
    /// One per living revision.
    Deployment,
    /// The record of a revision.
    ControllerRevision,
    /// Three per ShopService.
    Service,
    /// Sidecar documents and snapshots.
    ConfigMap,
    /// Keys and snapshots.
    Secret,
    /// Of the pods.
    ServiceAccount,
    /// One per revision.
    PodDisruptionBudget,
    /// Of the pods, where it is said who may send requests.
    NetworkPolicy,
    /// Run for a release.
    Job,
    /// Of every revision.
    Pod,
    /// Of every Service.
    EndpointSlice,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ShopService,
        Self::ReleaseDecision,
        Self::ShopPolicy,
        Self::FaultPolicy,
        Self::Deployment,
        Self::ControllerRevision,
        Self::Service,
        Self::ConfigMap,
        Self::Secret,
        Self::ServiceAccount,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::Job,
        Self::Pod,
        Self::EndpointSlice,
    ];

    /// The word for it, as in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShopService => "ShopService",
            Self::ReleaseDecision => "ReleaseDecision",
            Self::ShopPolicy => "ShopPolicy",
            Self::FaultPolicy => "FaultPolicy",
            Self::Deployment => "Deployment",
            Self::ControllerRevision => "ControllerRevision",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Job => "Job",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// How the API server names it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ShopService => of::<ShopService>(),
            Self::ReleaseDecision => of::<ReleaseDecision>(),
            Self::ShopPolicy => of::<ShopPolicy>(),
            Self::FaultPolicy => of::<FaultPolicy>(),
            Self::Deployment => of::<Deployment>(),
            Self::ControllerRevision => of::<ControllerRevision>(),
            Self::Service => of::<Service>(),
            Self::ConfigMap => of::<ConfigMap>(),
            Self::Secret => of::<Secret>(),
            Self::ServiceAccount => of::<ServiceAccount>(),
            Self::PodDisruptionBudget => of::<PodDisruptionBudget>(),
            Self::NetworkPolicy => of::<NetworkPolicy>(),
            Self::Job => of::<Job>(),
            Self::Pod => of::<Pod>(),
            Self::EndpointSlice => of::<EndpointSlice>(),
        }
    }
}

fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

impl From<ObjectKind> for Kind {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::ControllerRevision => Self::ControllerRevision,
            ObjectKind::ConfigMap => Self::ConfigMap,
            ObjectKind::Secret => Self::Secret,
            ObjectKind::ServiceAccount => Self::ServiceAccount,
            ObjectKind::Deployment => Self::Deployment,
            ObjectKind::Service => Self::Service,
            ObjectKind::PodDisruptionBudget => Self::PodDisruptionBudget,
            ObjectKind::NetworkPolicy => Self::NetworkPolicy,
            ObjectKind::Job => Self::Job,
            ObjectKind::ReleaseDecision => Self::ReleaseDecision,
        }
    }
}

impl From<SourceKind> for Kind {
    fn from(kind: SourceKind) -> Self {
        match kind {
            SourceKind::ConfigMap => Self::ConfigMap,
            SourceKind::Secret => Self::Secret,
        }
    }
}

/// The value of a label, if it is there.
pub(crate) fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}
