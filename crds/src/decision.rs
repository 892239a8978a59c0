//! `ReleaseDecision`: one fenced decision about one revision, kept as the record of who decided what.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One decision about one revision of a ShopService. It never moves another revision, is carried out at most once, and stays as
/// the record of who decided what, and why. The spec cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "shopkeeper.dev",
    version = "v1alpha1",
    kind = "ReleaseDecision",
    plural = "releasedecisions",
    singular = "releasedecision",
    category = "shopkeeper",
    namespaced,
    status = "ReleaseDecisionStatus",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Verb", type_ = "string", json_path = ".spec.verb"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ReleaseDecisionSpec {
    /// Name of the ShopService, in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub service: String,
    /// What is decided.
    pub verb: Verb,
    /// The revision that is meant. `promote`, `abort`, `pause`, `resume` and `retry`: the candidate; `rollback`: the revision to
    /// leave, that is the active one; `restart`: the active one. A decision for another revision is refused.
    #[schemars(range(min = 1))]
    pub revision: i64,
    /// `rollback`: the revision to go back to; it must have served users successfully and still be kept. Left out, it is the one
    /// before. Inside of the ShopService's rollbackWindow it returns at once, outside of it is released like a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub to: Option<i64>,
    /// `promote`: all steps, pauses and analyses that are left are skipped; ready pods and the sidecars' acknowledgements never
    /// are. Where more than one person must promote, all of them must ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// `promote`: in a freeze window too; `rollback`: after the contract job too. Where more than one person must promote, all of
    /// them must ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Image digest that was tested (`sha256:…`). When given, a revision that runs another one is not promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub digest: Option<String>,
    /// Who decides; must be the user that creates the object.
    #[schemars(length(min = 1, max = 512))]
    pub actor: String,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
}

impl ReleaseDecisionSpec {
    /// A decision without anything optional.
    pub fn new(service: &str, verb: Verb, revision: i64, actor: &str) -> Self {
        Self {
            service: service.to_owned(),
            verb,
            revision,
            to: None,
            full: false,
            force: false,
            digest: None,
            actor: actor.to_owned(),
            reason: None,
        }
    }
}

/// What can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// The candidate becomes active.
    Promote,
    /// The release of the candidate ends; users stay with, or go back to, the stable revision.
    Abort,
    /// Users leave the active revision for the one before it.
    Rollback,
    /// A revision that was aborted or rolled back is tried again.
    Retry,
    /// The release takes no step forward until it is resumed. An abort works all the same.
    Pause,
    /// A paused release goes on.
    Resume,
    /// The pods of the active revision are replaced one after the other, with the sidecar that new revisions get.
    Restart,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Promote, Self::Abort, Self::Rollback, Self::Retry, Self::Pause, Self::Resume, Self::Restart];

    /// The word for it, which is the verb in RBAC too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }
}

/// What became of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ReleaseDecisionStatus {
    /// `Accepted`: being carried out; `Done`; `Refused`. Absent: not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DecisionOutcome>,
    /// One word of the closed list of reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<crate::Reason>,
    /// What happened, or why it was refused and what to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecisionOutcome {
    /// The operator has taken it, and carries it out.
    Accepted,
    /// Carried out.
    Done,
    /// Not carried out, and never will be.
    Refused,
}
