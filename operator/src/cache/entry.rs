//! What the cache keeps of each object: only what a plan or a comparison needs, pruned when it arrives.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use kube::core::DynamicObject;
use serde::Deserialize;
use serde_json::Value;
use shop_contract::env::DOCUMENT_FILE;
use shop_crds::{
    ShopServiceSpec, ShopServiceStatus,
    names::{ANNOTATION_RESTART, APP_CONTAINER, LABEL_REVISION},
};
use shop_release::{Container, Decision, JobState, Pod, SidecarView};

use super::{kind::label, tls::Told};

/// A ShopService.
#[derive(Clone, Debug)]
pub struct Shop {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What it says; an error where this operator cannot read it, because it was written for another version.
    pub content: Result<(ShopServiceSpec, ShopServiceStatus), String>,
}

impl Shop {
    pub(super) fn of(object: &DynamicObject) -> Self {
        #[derive(Deserialize)]
        struct Content {
            spec: ShopServiceSpec,
            #[serde(default)]
            status: Option<ShopServiceStatus>,
        }
        let content = Content::deserialize(&object.data)
            .map(|content| (content.spec, content.status.unwrap_or_default()))
            .map_err(|error| error.to_string());
        Self {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or(0),
            deleting: object.metadata.deletion_timestamp.is_some(),
            labels: object.metadata.labels.clone().unwrap_or_default(),
            content,
        }
    }
}

/// An object that the operator made: metadata without what others put there, and the content where it is watched.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: jiff::Timestamp,
    /// Uid of the owner that is a controller.
    pub owner: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers: cloud load balancers have one.
    pub finalizers: Vec<String>,
    // The rest as compact JSON: a third of the memory of a parsed value. Empty where only metadata is watched.
    content: Box<[u8]>,
    /// Message of a Deployment's condition `ReplicaFailure`.
    pub failure: Option<String>,
    /// What came of a Job.
    pub job: JobState,
    /// What a sidecar document says of TLS.
    pub told: Told,
    /// Of a Deployment: its pods, those of them that are ready, and others that are on their way out.
    pub counts: (usize, usize, usize),
}

impl Held {
    /// What is kept of an object.
    pub fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        let owners = metadata.owner_references.iter().flatten();
        let mut content = serde_json::Map::new();
        for field in ["spec", "data"] {
            if let Some(value) = object.data.get(field) {
                content.insert(field.to_owned(), value.clone());
            }
        }
        let content =
            if content.is_empty() { Vec::new() } else { Value::Object(content).to_string().into_bytes() };
        let document = object.data.get("data").and_then(|data| data.get(DOCUMENT_FILE)?.as_str());
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
            owner: owners
                .into_iter()
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone()),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            content: content.into_boxed_slice(),
            failure: replica_failure(&object.data),
            job: job_state(&object.data),
            told: document.map(Told::read).unwrap_or_default(),
            counts: (
                count(&object.data, "replicas"),
                count(&object.data, "readyReplicas"),
                count(&object.data, "terminatingReplicas"),
            ),
        }
    }

    /// `{spec, data}` as they are in the cluster; null where only metadata is watched.
    pub fn content(&self) -> Value {
        serde_json::from_slice(&self.content).unwrap_or_default()
    }

    /// The revision that it belongs to, by its label.
    pub fn revision(&self) -> Option<i64> {
        self.labels.get(LABEL_REVISION)?.parse().ok()
    }
}

fn count(data: &Value, field: &str) -> usize {
    let found = data.get("status").and_then(|status| status.get(field)).and_then(Value::as_u64);
    found.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

fn replica_failure(data: &Value) -> Option<String> {
    let conditions = data.pointer("/status/conditions")?.as_array()?;
    let failed = conditions
        .iter()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    Some(failed["message"].as_str().unwrap_or_default().to_owned())
}

// By its conditions; only a Job has them.
fn job_state(data: &Value) -> JobState {
    let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
    let holds = |kind: &str| {
        conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    if holds("Complete").is_some() {
        return JobState::Succeeded;
    }
    holds("Failed").map_or(JobState::Running, |failed| {
        let part = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
        JobState::Failed(format!("{}: {}", part("reason"), part("message")))
    })
}

/// The ready endpoints of one EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Name of its Service.
    pub service: String,
    /// Uids of the pods that are ready.
    pub ready: Vec<String>,
}

impl Slice {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let endpoints = object.data.get("endpoints").and_then(Value::as_array);
        let ready = endpoints
            .into_iter()
            .flatten()
            // A missing condition means ready.
            .filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)))
            .filter_map(|endpoint| endpoint.pointer("/targetRef/uid")?.as_str().map(str::to_owned));
        Self {
            service: label(&object.metadata, "kubernetes.io/service-name").unwrap_or_default().to_owned(),
            ready: ready.collect(),
        }
    }
}

/// A ReleaseDecision; `None` where this operator cannot read it.
pub(super) fn decision(object: &DynamicObject) -> Option<Decision> {
    Some(Decision {
        name: object.metadata.name.clone()?,
        uid: object.metadata.uid.clone()?,
        resource_version: object.metadata.resource_version.clone()?,
        created: object.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default(),
        spec: serde_json::from_value(object.data.get("spec")?.clone()).ok()?,
        status: object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()),
    })
}

/// A pod of a revision; `None` where it is none.
pub(super) fn pod(object: &DynamicObject) -> Option<Pod> {
    let status: PodStatus = object
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let statuses =
        || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let rejected = (status.phase.as_deref() == Some("Failed")).then(|| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {}", part(&status.reason), part(&status.message)).trim().to_owned()
    });
    Some(Pod {
        name: object.metadata.name.clone()?,
        uid: object.metadata.uid.clone()?,
        revision: label(&object.metadata, LABEL_REVISION)?.parse().ok()?,
        restart: object
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(ANNOTATION_RESTART)?.parse().ok())
            .unwrap_or(0),
        ip: status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()),
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        terminating: object.metadata.deletion_timestamp.is_some(),
        rejected,
        unschedulable: condition("PodScheduled")
            .filter(|condition| condition.status == "False")
            .map(|condition| condition.message.clone().unwrap_or_default()),
        containers: statuses().map(container).collect(),
        image_id: statuses()
            .find(|container| container.name == APP_CONTAINER)
            .map(|container| container.image_id.clone())
            .filter(|id| !id.is_empty()),
        sidecar: SidecarView::default(),
    })
}

fn container(status: &ContainerStatus) -> Container {
    let state = status.state.as_ref();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    Container {
        name: status.name.clone(),
        restarts: status.restart_count,
        waiting: waiting.map(|waiting| {
            (waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default())
        }),
        terminated: state.and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code),
        last_exit: last.map(|ended| ended.exit_code),
    }
}
