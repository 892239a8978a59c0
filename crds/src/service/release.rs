//! `spec.release`: how a new revision reaches the users.

pub mod analysis;
pub mod canary;
pub mod gates;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use analysis::Analysis;
use canary::Canary;
use gates::{Confirm, Jobs};

/// How a new revision reaches the users. Every field changes live, a running release included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Release {
    /// `blueGreen`: the new revision is started beside the old one, and all requests move at once; `canary`: they move a share at
    /// a time, by the steps of `canary`; `recreate`: the old revision stops before the new one starts, for what cannot run twice,
    /// and nobody is served in between.
    #[serde(default)]
    pub strategy: Strategy,
    /// The steps of `strategy: canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// `automatic`: as soon as the new revision is ready; `manual`: when a ReleaseDecision says so.
    #[serde(default)]
    pub promote: Promote,
    /// With `promote: manual`: the new revision is promoted by itself once it has been ready for this long, if nobody has decided
    /// by then. Not beside `approvals` above 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promote_after: Option<Span>,
    /// How many different people must decide `promote` before it counts; default 1. Whom the cluster lets promote is a matter of
    /// RBAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub approvals: Option<i32>,
    /// Whether a new revision is good enough, judged by what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// A revision is cut after this long without a further change of spec or config; default 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Span>,
    /// The new revision before it is scaled to match the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// How long the old revision stays warm after the switch, for a rollback within a second; default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_old: Option<Span>,
    /// How a pod that stops gets rid of its connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// How long a release may wait for pods, sidecars or endpoints before it is aborted; default 10m. Waiting for people does
    /// not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Span>,
    /// `abort`: users go back to the old revision; `hold`: the release stops where it is, and waits for a decision.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many proven revisions, the newest ones, may come back at once: at full size, without steps, analysis and gates. A
    /// revision is proven when its release was completed, until it is aborted or rolled back; default 3, 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub rollback_window: Option<i32>,
    /// How many revisions are kept beside the active one, scaled to zero, for a return to them; default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub history_limit: Option<i32>,
    /// A web hook that must say yes before a revision is promoted. It is not asked for the first revision, nor on the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// Jobs that are run once for a revision, before its first pod and after the old revision's last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
}

/// How users move to a new revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// All at once, with both revisions at full size.
    #[default]
    BlueGreen,
    /// A share at a time.
    Canary,
    /// The old revision stops before the new one starts.
    Recreate,
}

/// Who promotes a new revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Promote {
    /// The operator, as soon as the revision is ready.
    #[default]
    Automatic,
    /// Somebody, by a ReleaseDecision.
    Manual,
}

/// What happens to a release that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Users go back to the stable revision.
    #[default]
    Abort,
    /// It stops where it is, and waits for a decision.
    Hold,
}

/// The new revision before it is scaled to match the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// How many pods it has; default 1, never more than the active revision.
    #[schemars(range(min = 1, max = 10000))]
    pub replicas: i32,
}

/// How a pod that stops gets rid of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Longest wait for requests and connections to end by themselves; default 10m. Part of the pod, so that a change of it
    /// makes a new revision.
    pub max: Span,
}

/// Defaults of `spec.release`.
pub mod defaults {
    use crate::Span;

    /// `approvals`.
    pub const APPROVALS: usize = 1;
    /// `settle`.
    pub const SETTLE: Span = Span::secs(2);
    /// `preview.replicas`.
    pub const PREVIEW_REPLICAS: i32 = 1;
    /// `keepOld`.
    pub const KEEP_OLD: Span = Span::secs(30);
    /// `drain.max`.
    pub const DRAIN_MAX: Span = Span::secs(600);
    /// `progressDeadline`.
    pub const PROGRESS_DEADLINE: Span = Span::secs(600);
    /// `rollbackWindow`.
    pub const ROLLBACK_WINDOW: i32 = 3;
    /// `historyLimit`.
    pub const HISTORY_LIMIT: i32 = 10;
}

impl Release {
    /// `approvals` or its default.
    pub fn approvals(&self) -> usize {
        self.approvals.and_then(|approvals| usize::try_from(approvals).ok()).unwrap_or(defaults::APPROVALS)
    }

    /// `settle` or its default.
    pub fn settle(&self) -> Span {
        self.settle.unwrap_or(defaults::SETTLE)
    }

    /// `preview.replicas` or its default.
    pub fn preview_replicas(&self) -> i32 {
        self.preview.as_ref().map_or(defaults::PREVIEW_REPLICAS, |preview| preview.replicas)
    }

    /// `keepOld` or its default.
    pub fn keep_old(&self) -> Span {
        self.keep_old.unwrap_or(defaults::KEEP_OLD)
    }

    /// `drain.max` or its default.
    pub fn drain_max(&self) -> Span {
        self.drain.as_ref().map_or(defaults::DRAIN_MAX, |drain| drain.max)
    }

    /// `progressDeadline` or its default.
    pub fn progress_deadline(&self) -> Span {
        self.progress_deadline.unwrap_or(defaults::PROGRESS_DEADLINE)
    }

    /// `rollbackWindow` or its default.
    pub fn rollback_window(&self) -> usize {
        usize::try_from(self.rollback_window.unwrap_or(defaults::ROLLBACK_WINDOW)).unwrap_or(0)
    }

    /// `historyLimit` or its default.
    pub fn history_limit(&self) -> usize {
        usize::try_from(self.history_limit.unwrap_or(defaults::HISTORY_LIMIT)).unwrap_or(1)
    }
}
