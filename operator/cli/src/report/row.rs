//! A service in one line: what `get` lists.

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;
use shop_crds::{
    Percent, ShopService, ShopServiceStatus,
    status::{Phase, RevisionState},
};

use super::Overview;
use crate::exit::Exit;

/// Several services.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// Sorted by namespace and name.
    pub items: Vec<Row>,
}

/// A service in one line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// Where the release is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Ready pods of the active revision, and how many are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The revision that users have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// The revision that is being released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Share of requests that the candidate answers, and the step where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// The image that the spec asks for.
    pub image: String,
    /// Digest of the active revision's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How a new revision reaches the users.
    pub strategy: String,
    /// When the service was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The word for the exit code that `status` has.
    pub result: Exit,
    /// What is so, in a sentence.
    pub message: String,
}

impl Row {
    /// Of a service.
    pub fn of(service: &ShopService) -> Self {
        let release = service.spec.release.clone().unwrap_or_default();
        Self {
            strategy: word(&release.strategy),
            created: service.creation_timestamp().map(|time| time.0),
            ..Self::judged(&Overview::of(service))
        }
    }

    /// What an overview says of it: everything but strategy and age.
    pub fn judged(overview: &Overview) -> Self {
        let Overview { namespace, service, image, result, message, status, .. } = overview.clone();
        let active = status.active.as_ref().map(|active| active.revision);
        let state = |state: &&RevisionState| Some(state.number) == active;
        Self {
            namespace,
            service,
            phase: status.phase,
            ready: status.ready.clone(),
            active: status.active.as_ref().map(|active| active.label.clone()),
            candidate: status.candidate.as_ref().map(|candidate| candidate.label.clone()),
            weight: weight(&status),
            image,
            digest: status.revisions.iter().find(state).and_then(|state| state.digest.clone()),
            strategy: String::new(),
            created: None,
            result,
            message,
        }
    }
}

/// The word that a spec has for a value.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Share of requests that the candidate answers, as a word.
pub(super) fn weight(status: &ShopServiceStatus) -> Option<String> {
    let share = share(status)?;
    let step = status.release.as_ref().and_then(|release| release.step);
    Some(step.map_or_else(|| share.to_string(), |step| format!("{share} (step {})", step.saturating_add(1))))
}

/// Share of requests that the candidate answers.
pub(super) fn share(status: &ShopServiceStatus) -> Option<Percent> {
    let release = status.release.as_ref().filter(|release| release.from.is_some())?;
    let moved = status.active.as_ref().is_some_and(|active| active.revision == release.to);
    if let Some(parts) = release.weight.filter(|_| !moved && release.aborting.is_none()) {
        return Some(Percent::parts(u32::try_from(parts).unwrap_or(0)));
    }
    let all = moved || matches!(status.phase, Some(Phase::Shifting | Phase::Switching));
    Some(if all && release.aborting.is_none() { Percent::ALL } else { Percent::default() })
}
