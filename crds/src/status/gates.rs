//! What a release must pass before users move to it, apart from its own health.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reason;

/// Gates that a release has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename_all = "camelCase")]
pub struct Gates {
    /// The freeze window that stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeGate>,
    /// The web hook that must say yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmGate>,
    /// The Job that must succeed before the revision starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expand: Option<JobRun>,
}

/// A web hook that must say yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ConfirmGate {
    /// How often it was asked.
    pub asked: i64,
    /// When it was asked last.
    pub asked_at: MicroTime,
    /// What it answered last, if that was no yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// When it answered last; absent while the last question is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<MicroTime>,
    /// Whether it said yes.
    #[serde(default)]
    pub confirmed: bool,
}

/// A Job that is run once for a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRun {
    /// What has become of it.
    pub state: JobProgress,
    /// Since when.
    pub since: MicroTime,
    /// Why it failed; of one that is due: why it failed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What has become of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobProgress {
    /// It is to be created; what is left of an earlier try is removed first.
    Due,
    /// It was created.
    Running,
    /// It succeeded.
    Succeeded,
    /// All its tries failed.
    Failed,
}

/// A freeze window that stops a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct FreezeGate {
    /// Policy and window: `calendar/black-friday`.
    pub window: String,
    /// `Frozen`, or `FreezeInvalid` where the window cannot be read.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// Since when the release stands before it.
    pub since: MicroTime,
    /// When it ends; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MicroTime>,
}
