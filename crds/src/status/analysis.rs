//! `status.release.analysis`: the analysis that runs, or that ran last in this release.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reason;

/// Measurements of one check that are kept, the newest.
pub const MEASUREMENTS: usize = 10;

/// An analysis that runs, or ran last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct AnalysisState {
    /// Where in the release.
    pub stage: AnalysisStage,
    /// At a canary step: which, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    /// When it began.
    pub since: MicroTime,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<MicroTime>,
    /// What came of it; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AnalysisOutcome>,
    /// In one word: `AnalysisPassed`, `AnalysisFailed`, `AnalysisInconclusive` or `AnalysisError`; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What it found, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who let the release go on whatever came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
    /// What was measured, check by check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 14))]
    pub checks: Vec<CheckState>,
}

/// Where in a release an analysis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AnalysisStage {
    /// Before the promotion.
    Verifying,
    /// At a canary step.
    Step,
    /// While the shares move.
    Background,
    /// When users are with the new revision.
    Watching,
}

impl AnalysisStage {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verifying => "verifying",
            Self::Step => "step",
            Self::Background => "background",
            Self::Watching => "watching",
        }
    }
}

/// What came of an analysis, a check or a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AnalysisOutcome {
    /// It is as it shall be.
    Passed,
    /// It is not.
    Failed,
    /// It cannot be told: too little was seen, or nothing.
    Inconclusive,
    /// It could not be measured.
    Error,
}

/// One check of an analysis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct CheckState {
    /// `successRate`, `successDrop`, `latencyP99`, `latencyIncrease`, or the name of a check.
    pub name: String,
    /// What came of it; absent while that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AnalysisOutcome>,
    /// How often it was measured.
    #[serde(default)]
    pub measured: i64,
    /// How many of these measurements failed.
    #[serde(default)]
    pub failed: i64,
    /// Bound of a latency in microseconds that was taken from the old revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_us: Option<i64>,
    /// The newest measurements, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub measurements: Vec<Measurement>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// When it was taken.
    pub at: MicroTime,
    /// What was seen.
    pub value: String,
    /// What it says.
    pub outcome: AnalysisOutcome,
}
