//! Revisions with their pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use serde::Serialize;
use shop_crds::{
    Percent, ShopServiceStatus,
    names::{ADOPTED, LABEL_REVISION},
};

use super::row::share;
use crate::verdict;

/// A revision with its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// Its number.
    pub revision: i64,
    /// Number and colour.
    pub label: String,
    /// `active`, `candidate` or `retiring`.
    pub role: &'static str,
    /// Share of requests that it answers, while there are two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Ready pods, and pods: `2/3`; `-` where they are not known.
    pub ready: String,
    /// Its pods.
    pub pods: Vec<Leaf>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// Whether it counts as ready.
    pub ready: bool,
    /// `Running`, `Terminating`, `CrashLoopBackOff`, …
    pub state: String,
    /// Restarts of all its containers.
    pub restarts: i32,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// The revisions that have pods or a role, oldest first.
pub fn of(status: &ShopServiceStatus, pods: &[Pod]) -> Vec<Branch> {
    let number = |pod: &Pod| pod.labels().get(LABEL_REVISION).and_then(|label| label.parse::<i64>().ok());
    let active = status.active.as_ref().map(|active| active.revision);
    let candidate =
        status.candidate.as_ref().map(|candidate| candidate.revision).filter(|one| Some(*one) != active);
    let mut revisions: Vec<i64> = pods.iter().filter_map(number).chain(active).chain(candidate).collect();
    revisions.sort_unstable();
    revisions.dedup();
    let shares = shares(status);
    let branch = |revision: i64| {
        let leaves: Vec<Leaf> = pods.iter().filter(|pod| number(pod) == Some(revision)).map(leaf).collect();
        let ready = leaves.iter().filter(|leaf| leaf.ready).count();
        let staying = leaves.iter().filter(|leaf| leaf.state != "Terminating").count();
        let role = match revision {
            one if Some(one) == active => "active",
            one if Some(one) == candidate => "candidate",
            _ => "retiring",
        };
        let weight = shares.iter().find(|(of, _)| *of == revision).map(|(_, share)| share.to_string());
        let label = verdict::name(status, revision);
        let ready = match revision {
            // Pods of an adopted Deployment have no label by which they are found.
            ADOPTED => status.ready.clone().filter(|_| role == "active").unwrap_or_else(|| "-".to_owned()),
            _ => format!("{ready}/{staying}"),
        };
        Branch { revision, label, role, weight, ready, pods: leaves }
    };
    revisions.into_iter().map(branch).collect()
}

/// What each of the two revisions of a release answers.
fn shares(status: &ShopServiceStatus) -> Vec<(i64, Percent)> {
    let Some((release, share)) = status.release.as_ref().zip(share(status)) else { return Vec::new() };
    let rest = Percent::parts(Percent::ALL.per_10_000().saturating_sub(share.per_10_000()));
    release.from.map(|from| (from, rest)).into_iter().chain([(release.to, share)]).collect()
}

fn leaf(pod: &Pod) -> Leaf {
    let status = pod.status.clone().unwrap_or_default();
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let conditions = status.conditions.unwrap_or_default();
    let ready = !leaving && conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let mut containers: Vec<ContainerStatus> = status.init_container_statuses.unwrap_or_default();
    containers.extend(status.container_statuses.unwrap_or_default());
    let waiting = containers.iter().find_map(|one| one.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let state = if leaving {
        "Terminating".to_owned()
    } else {
        waiting.or(status.reason).or(status.phase).unwrap_or_else(|| "Unknown".to_owned())
    };
    Leaf {
        name: pod.name_any(),
        ready,
        state,
        restarts: containers.iter().map(|one| one.restart_count).sum(),
        created: pod.creation_timestamp().map(|time| time.0),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
    }
}
