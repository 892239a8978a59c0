//! What a command found, as data: the JSON and YAML that pipelines read.

mod row;
pub mod tree;

use serde::Serialize;
use shop_crds::{
    DecisionOutcome, Reason, ReleaseDecision, ShopService, ShopServiceStatus, Verb,
    status::{Blocked, FaultState, RevisionState, analysis::AnalysisOutcome},
};

use kube::ResourceExt as _;

use crate::{
    client::Cluster,
    exit::Exit,
    verdict::{self, Verdict},
};

pub use row::{List, Row};
pub use tree::Branch;

/// How a decision or a `wait` ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// The verb.
    pub action: &'static str,
    /// What `wait` waited for.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub goal: Option<&'static str>,
    /// The revision that was decided about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Digest of that revision's image, once a pod of it was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Name of the `ReleaseDecision`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What the operator made of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DecisionOutcome>,
    /// The operator's word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The word for the exit code.
    pub result: Exit,
    /// The exit code.
    pub exit_code: u8,
    /// What is so, in a sentence.
    pub message: String,
}

impl Ending {
    /// Of this action on this service; without a decision.
    pub fn new(cluster: &Cluster, service: &str, action: &'static str, exit: Exit, message: String) -> Self {
        Self {
            namespace: cluster.namespace().to_owned(),
            service: service.to_owned(),
            action,
            goal: None,
            revision: None,
            digest: None,
            decision: None,
            actor: None,
            outcome: None,
            reason: None,
            result: exit,
            exit_code: exit.code(),
            message,
        }
    }
}

/// A service's release, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// The image that the spec asks for.
    pub image: String,
    /// The word for the exit code.
    pub result: Exit,
    /// The exit code.
    pub exit_code: u8,
    /// What is so, in a sentence.
    pub message: String,
    /// The revisions that have pods, with these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<Branch>,
    /// The whole status.
    pub status: ShopServiceStatus,
}

impl Overview {
    /// Of a service.
    pub fn of(service: &ShopService) -> Self {
        Self::judged(service, verdict::current(service))
    }

    /// Of a service about which this is so.
    pub fn judged(service: &ShopService, now: Verdict) -> Self {
        let exit = now.state.shown();
        Self {
            namespace: service.namespace().unwrap_or_default(),
            service: service.name_any(),
            image: service.spec.image.clone(),
            result: exit,
            exit_code: exit.code(),
            message: now.message,
            revisions: Vec::new(),
            status: service.status.clone().unwrap_or_default(),
        }
    }

    /// Whether the other one says nothing new to a person: times apart.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let said = |one: &Self| {
            let status = &one.status;
            let places = (status.active.clone(), status.candidate.clone(), status.stable.clone());
            (one.message.clone(), status.phase, status.ready.clone(), row::weight(status), places)
        };
        said(self) == said(other)
    }
}

/// What a release waits for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// The word for the exit code.
    pub result: Exit,
    /// The exit code.
    pub exit_code: u8,
    /// What is so, in a sentence.
    pub message: String,
    /// What blocks; `null`: nothing.
    pub blocked: Option<Blocked>,
    /// What each gate says, and each check of the analysis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// What holds nothing up, and is not as it should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What one gate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Which one.
    pub name: String,
    /// What it says.
    pub says: String,
}

impl Gate {
    /// Those of a release that runs.
    fn of(service: &ShopService) -> Vec<Self> {
        let status = service.status.as_ref();
        let Some(release) = status.and_then(|status| status.release.as_ref()) else { return Vec::new() };
        let waits = status.and_then(|status| status.blocked.as_ref());
        let blocked = waits.map(|blocked| blocked.reason);
        let mut gates = Vec::new();
        let mut add = |name: String, says: String| gates.push(Self { name, says });
        // Pause and analysis have lines of their own.
        let own =
            [Reason::Paused, Reason::AnalysisRunning, Reason::AnalysisInconclusive, Reason::AnalysisError];
        for hold in waits.into_iter().flat_map(|blocked| &blocked.also) {
            if !own.contains(&hold.reason) {
                add(format!("also {}", hold.reason.as_str()), hold.message.clone());
            }
        }
        if let Some(paused) = &release.paused {
            add("pause".to_owned(), format!("paused by {}", paused.by));
        }
        let wanted = service.spec.release.as_ref().map_or(1, shop_crds::service::release::Release::approvals);
        let asked = blocked == Some(Reason::AwaitingPromotion) || release.promoted_by.is_none();
        if !release.approvals.is_empty() || wanted > 1 && asked {
            let by: Vec<&str> = release.approvals.iter().map(|one| one.by.as_str()).collect();
            let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
            add("approvals".to_owned(), format!("{} of {wanted}{by}", release.approvals.len()));
        }
        if let Some(by) = &release.promoted_by {
            add("promotion".to_owned(), format!("by {by}"));
        }
        if let Some(analysis) = &release.analysis {
            let word = |outcome: &Option<AnalysisOutcome>| {
                outcome.map_or("open".to_owned(), |one| format!("{one:?}"))
            };
            let told = analysis.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
            add(
                format!("analysis ({})", analysis.stage.as_str()),
                format!("{}{told}", word(&analysis.outcome)),
            );
            for check in &analysis.checks {
                let says =
                    format!("{}, measured {}, {} failed", word(&check.outcome), check.measured, check.failed);
                add(format!("check {}", check.name), says);
            }
        }
        gates
    }
}

impl Why {
    /// Of a service.
    pub fn of(service: &ShopService) -> Self {
        let Overview { namespace, service: name, result, exit_code, message, status, .. } =
            Overview::of(service);
        Self {
            namespace,
            service: name,
            result,
            exit_code,
            message,
            warnings: faults(&status),
            blocked: status.blocked,
            gates: Gate::of(service),
        }
    }
}

/// That faults are injected.
pub fn faults(status: &ShopServiceStatus) -> Vec<String> {
    let line = |fault: &FaultState| {
        format!("FaultPolicy {} injects {}, until {}", fault.policy, fault.what, fault.until.0)
    };
    status.faults.iter().map(line).collect()
}

/// What was released, and what was decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// The revision that users have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<i64>,
    /// Living revisions, oldest first.
    pub revisions: Vec<RevisionState>,
    /// Decisions that are kept, oldest first.
    pub decisions: Vec<Decided>,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// Name of the `ReleaseDecision`.
    pub name: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
    /// What was decided.
    pub verb: Verb,
    /// About which revision.
    pub revision: i64,
    /// Who decided.
    pub actor: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the operator made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DecisionOutcome>,
    /// The operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl History {
    /// Of a service and the decisions about it, oldest first.
    pub fn of(service: &ShopService, decisions: Vec<ReleaseDecision>) -> Self {
        let status = service.status.clone().unwrap_or_default();
        Self {
            namespace: service.namespace().unwrap_or_default(),
            service: service.name_any(),
            active: status.active.map(|active| active.revision),
            revisions: status.revisions,
            decisions: decisions.into_iter().map(Decided::of).collect(),
        }
    }
}

impl Decided {
    fn of(decision: ReleaseDecision) -> Self {
        let answer = decision.status.clone().unwrap_or_default();
        Self {
            name: decision.name_any(),
            at: decision.metadata.creation_timestamp.map(|time| time.0),
            verb: decision.spec.verb,
            revision: decision.spec.revision,
            actor: decision.spec.actor,
            reason: decision.spec.reason,
            outcome: answer.outcome,
            message: answer.message,
        }
    }
}
