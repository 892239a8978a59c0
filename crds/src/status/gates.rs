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
