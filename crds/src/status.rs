//! `status` of a ShopService: the only place where the state of a release is kept.

pub mod analysis;
pub mod gates;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Reason;
use analysis::AnalysisState;
use gates::{Gates, JobRun};

/// Where the release is, and what it waits for. Written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename_all = "camelCase")]
pub struct ShopServiceStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the release is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What happens, or what it waits for, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Ready pods of the active revision, and how many are wanted: `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Pods of the active revision: for `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Selector of the active revision's pods: for `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The revision that the users' Service selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<RevisionRef>,
    /// The revision that an abort returns to. Differs from the active one from the switch until the release has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionRef>,
    /// The revision that is being released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<RevisionRef>,
    /// What the release waits for that does not come by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// The release that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseState>,
    /// The restart of the active revision's pods that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartState>,
    /// The size that the users' revision keeps although the spec asks for fewer pods, because that came with other inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_size: Option<KeptSize>,
    /// Inputs that differ from every living revision, and since when: a revision is cut once they have settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Faults that sidecars inject now, because FaultPolicies say so: what goes wrong may be that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub faults: Vec<FaultState>,
    /// Living revisions, oldest first: at most historyLimit, the active one, and those that the release moves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub revisions: Vec<RevisionState>,
    /// Highest revision number ever given. Numbers are not used twice.
    pub last_revision: i64,
    /// Rises at each promotion and abort: the fencing token of background work.
    pub role_epoch: i64,
    /// Epoch of the operator's leader that acted last.
    pub leader_epoch: i64,
    /// Conditions `Ready`, `Progressing` and `Blocked`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A fault that sidecars inject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultState {
    /// Name of the FaultPolicy.
    pub policy: String,
    /// When it is over.
    pub until: Time,
    /// What is injected into which requests.
    pub what: String,
}

/// Where a release is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No release runs.
    #[default]
    Stable,
    /// The candidate starts, at preview size.
    Preparing,
    /// The candidate is ready; decisions are waited for.
    Verifying,
    /// The candidate grows to the size of the active revision.
    Scaling,
    /// Requests are handed over to the candidate.
    Shifting,
    /// The Services are pointed at the candidate.
    Switching,
    /// Users are with the new revision; the old one stays warm.
    Watching,
    /// The old revision gets rid of its last connections.
    Draining,
    /// Users go back to the stable revision.
    Aborting,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Stable,
        Self::Preparing,
        Self::Verifying,
        Self::Scaling,
        Self::Shifting,
        Self::Switching,
        Self::Watching,
        Self::Draining,
        Self::Aborting,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "Stable",
            Self::Preparing => "Preparing",
            Self::Verifying => "Verifying",
            Self::Scaling => "Scaling",
            Self::Shifting => "Shifting",
            Self::Switching => "Switching",
            Self::Watching => "Watching",
            Self::Draining => "Draining",
            Self::Aborting => "Aborting",
        }
    }
}

/// One of the two colours. The candidate has the one that the active revision does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Colour {
    /// The first revision's.
    #[default]
    Blue,
    /// The other one.
    Green,
}

impl Colour {
    /// The other colour.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

/// A revision by number, and the label that columns show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRef {
    /// The revision's number.
    pub revision: i64,
    /// Number and colour: `r7 green`.
    pub label: String,
}

/// What a release waits for, and what would move it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Blocked {
    /// One word.
    pub reason: Reason,
    /// What is wrong, where, and what to do about it.
    pub message: String,
    /// Since when.
    pub since: MicroTime,
    /// When it is looked at again, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<MicroTime>,
    /// The command that would move it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What else keeps users from being moved, and would be next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub also: Vec<Hold>,
}

/// One more reason for which something does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// One word.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

/// A release that runs.
#[allow(
    clippy::struct_excessive_bools,
    reason = "facts that are independent of each other, as a status lists them"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct ReleaseState {
    /// The revision that users had when it began; absent for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The revision that is being released.
    pub to: i64,
    /// Whether somebody decided to go back to an earlier revision.
    #[serde(default)]
    pub returning: bool,
    /// Whether the revision was inside of rollbackWindow when the release began: it comes at full size at once, and there are no
    /// steps, no analysis and no gates.
    #[serde(default)]
    pub straight: bool,
    /// Whether the old revision stops before the new one starts: the strategy `recreate`.
    #[serde(default)]
    pub recreate: bool,
    /// When it began.
    pub started: MicroTime,
    /// When the current phase began.
    pub phase_since: MicroTime,
    /// Since when it waits for pods, acknowledgements or endpoints; progressDeadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<MicroTime>,
    /// Who or what promoted the candidate; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_by: Option<String>,
    /// The canary's step that it is at, counted from 0; absent without steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    /// When that step began: its pause counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_since: Option<MicroTime>,
    /// Share of requests that is handed over to the candidate, in parts per 10,000; absent before requests move, and while they
    /// go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub weight: Option<i64>,
    /// Why it is being undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborting: Option<Abort>,
    /// Since when the candidate looks broken, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// Whether it failed and stays where it is until somebody decides, because onFailure is hold.
    #[serde(default)]
    pub held: bool,
    /// Since when the new revision serves the users without a complaint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<MicroTime>,
    /// When stable moved: keepOld counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<MicroTime>,
    /// The analysis that runs, or that ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisState>,
    /// Name of the decision that is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Who paused it, and since when: it takes no step forward until it is resumed. Aborts and rollbacks work all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Who wants the promotion, as long as more people must.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub approvals: Vec<Approval>,
    /// Whether it was promoted fully: steps, pauses and analyses that are left are skipped.
    #[serde(default)]
    pub full: bool,
    /// Whether it was promoted, or is gone back with, by force: a freeze does not hold it up.
    #[serde(default)]
    pub force: bool,
    /// What it must pass before users move to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
}

/// A restart that runs: pods are replaced one after the other, each once its successor is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct RestartState {
    /// The revision whose pods are replaced.
    pub revision: i64,
    /// Which restart of the revision it is.
    pub ordinal: i64,
    /// Who decided it.
    pub by: String,
    /// Since when.
    pub since: MicroTime,
    /// Name of the decision.
    pub decision: String,
    /// Why it does not get on, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

/// That somebody paused a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: MicroTime,
}

/// One person's decision for a promotion that needs several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: MicroTime,
    /// Whether a full promotion was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Whether it was asked for by force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl ReleaseState {
    /// A release of this revision that begins now: nothing has happened yet.
    pub fn begun(from: Option<i64>, to: i64, now: &MicroTime) -> Self {
        Self {
            from,
            to,
            returning: false,
            straight: false,
            recreate: false,
            started: now.clone(),
            phase_since: now.clone(),
            waiting_since: None,
            promoted_by: None,
            step: None,
            step_since: None,
            weight: None,
            aborting: None,
            failing: None,
            held: false,
            healthy_since: None,
            succeeded: None,
            analysis: None,
            decision: None,
            paused: None,
            approvals: Vec::new(),
            full: false,
            force: false,
            gates: None,
        }
    }
}

/// Why a release is being undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Abort {
    /// One word.
    pub reason: Reason,
    /// What was seen.
    pub message: String,
    /// Since when.
    pub since: MicroTime,
    /// Whether users may have reached the revision that is left: then traffic is moved back first.
    #[serde(default)]
    pub traffic: bool,
    /// Since when the Services select the stable revision again: drain.max counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_since: Option<MicroTime>,
}

/// That a candidate looks broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// One word.
    pub reason: Reason,
    /// What was seen.
    pub message: String,
    /// Since when.
    pub since: MicroTime,
}

/// Inputs that have no revision yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Hash of the inputs.
    pub hash: String,
    /// Since when they are as they are.
    pub since: MicroTime,
}

/// Fewer pods were asked for together with other inputs: they are those of the revision that comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptSize {
    /// The revision that keeps its size until users have left it.
    pub revision: i64,
    /// How many pods it keeps.
    pub replicas: i32,
    /// `spec.replicas` that came with the other inputs; any other number counts at once.
    pub wanted: i32,
}

/// A living revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct RevisionState {
    /// Its number.
    pub number: i64,
    /// Hash of the inputs that it was cut from.
    pub hash: String,
    /// The image as the spec named it.
    pub image: String,
    /// Digest of the image that its first ready pod ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its colour.
    pub colour: Colour,
    /// When it was cut.
    pub created: MicroTime,
    /// How its release ended; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RevisionOutcome>,
    /// Whether it once ended `Watching` successfully.
    #[serde(default)]
    pub proven: bool,
    /// Whether its inputs are not tried again by themselves while the spec keeps them.
    #[serde(default)]
    pub barred: bool,
    /// How often its pods were restarted by decision: the template of the last restart is the one in use.
    #[serde(default)]
    pub restarts: i64,
    /// Generation of its sidecars' document that was planned last.
    #[serde(default)]
    pub generation: i64,
    /// Whether its expand Job has succeeded: it is not run again.
    #[serde(default)]
    pub expanded: bool,
    /// Its contract Job. From the beginning of that on, revisions before it are gone back to by force only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<JobRun>,
}

/// How the release of a revision ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionOutcome {
    /// `Completed`, `Aborted`, `RolledBack` or `Superseded`.
    pub result: RevisionResult,
    /// Why.
    pub reason: Reason,
    /// What was seen.
    pub message: String,
    /// When.
    pub at: MicroTime,
}

/// How the release of a revision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionResult {
    /// It became stable.
    Completed,
    /// It was undone; not tried again by itself.
    Aborted,
    /// Users left it again; not tried again by itself.
    RolledBack,
    /// A newer one took its place before it became stable.
    Superseded,
}
