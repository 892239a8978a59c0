//! A release as a pure function: [`plan`] says what to write next, from what is. No I/O, no clock, no randomness.
//!
//! **How a plan is carried out.** First the status is written, if it differs, with the ShopService's resourceVersion as the
//! precondition; it holds the intention that the writes follow, so that without it none of them is made. Then the events are
//! told, and the writes made, in order, up to the first failure. When anything fails, nothing is repaired: the next plan is
//! made from what is there. A plan is made only from a ShopService and objects that are not older than this leader's own last
//! writes to them. After a plan that wrote anything, and after every answer of a sidecar, the next one is made at once.
//!
//! **What a newer revision does to a running release.** Before the Services are touched it takes the candidate's place: the
//! candidate is left as in an abort, then the newer one starts. After that the running release ends first: users are with a
//! revision that is being watched, and two moves at once would leave no proven one to go back to. Only keepOld and the wait
//! for quiet are cut short; the old pods' own drain, up to drain.max, is not.

// The names of Kubernetes' kinds are words in these texts, not code.
#![allow(clippy::doc_markdown)]

mod abort;
mod adopt;
mod analysis;
mod canary;
mod cut;
mod decisions;
mod dependency;
mod desired;
mod document;
mod eject;
pub mod faults;
pub mod freeze;
mod gates;
mod guard;
mod handoff;
mod health;
pub mod inputs;
mod kept;
mod mtls;
mod network;
mod observed;
mod outside;
mod overlay;
mod phases;
mod realise;
mod recover;
mod recreate;
mod report;
mod restart;
mod retire;
mod subject;
mod telemetry;
mod tokens;
mod view;
mod write;

use std::time::Duration;

use jiff::Timestamp;
use shop_crds::{Reason, ShopServiceStatus};

pub use adopt::{Adopted, StrangeDeployment, StrangePort, StrangeService, Strangers, is_open as adopts};
pub use analysis::{Counters, Ledger, Reading, Tally, counting};
pub use dependency::{Called, KeptDependency};
pub use document::{HandOff, Jwt, JwtKeys, Match, Mirror, Role, SidecarDocument, Sticky};
pub use faults::{Fault, FaultEnd};
pub use inputs::{Inputs, RevisionFacts, SnapshotRef, SourceKind, SourceRef, sources};
pub use mtls::{Authority, Calls, Certificate, LIFETIME, Mtls, Neighbour, SPREAD, asks_for_tls};
pub use network::{Access, NetworkPolicy};
pub use observed::{
    Acknowledged, Budget, CheckedTemplate, Container, Decision, Deployment, EndpointsAcknowledged,
    FaultPolicy, Observed, Pod, Policy, PushFailed, Refusal, Service, SidecarConfig, SidecarView, Source,
    SourceState, StoredRestart, StoredRevision, StoredSnapshot, Traffic,
};
pub use outside::{Answer, AnswerValue, Ask, JobSeen, JobState, JobTemplate, MAX_TEXT, Question};
pub use subject::Subject;
pub use telemetry::{AccessLog, Otlp, Telemetry, Tracing};
use view::{Draft, View};
pub use write::{MaxUnavailable, ObjectKind, ObjectRef, PodTarget, Precondition, ServiceKind, Write};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write before the writes, if it differs from the one that was read.
    pub status: ShopServiceStatus,
    /// What to write, in this order.
    pub writes: Vec<Write>,
    /// What to tell people.
    pub events: Vec<Event>,
    /// When to plan again even if nothing changes; `None`: a change will tell.
    pub requeue: Option<Duration>,
}

/// Something that people should be told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether something is wrong.
    pub warning: bool,
    /// One word.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
}

/// Steps that one plan may take at most: more than there are phases.
const STEPS: usize = 16;

/// Says what to do next for one ShopService.
pub fn plan(subject: &Subject, observed: &Observed, status: &ShopServiceStatus, now: Timestamp) -> Plan {
    let now = view::to_micros(now);
    let mut draft = Draft::new(status.clone());
    if subject.deleting {
        return draft.plan(now, Vec::new());
    }
    let view = View::new(subject, observed, now);
    if view.seen_epoch(status) > subject.leader_epoch {
        // Another leader has acted since: this one is not the leader any more.
        return draft.plan(now, Vec::new());
    }
    if adopt::is_open(&subject.spec, observed, status) {
        let writes = adopt::take_up(&view, &mut draft);
        let writes = realise::until_refused(&view, &mut draft, writes);
        report::describe(&view, &mut draft, None);
        if draft.status != *status {
            draft.status.leader_epoch = subject.leader_epoch;
        }
        return draft.plan(now, writes);
    }
    if recover::needed(&view, status)
        && let Err(why) = recover::rebuild(&view, &mut draft)
    {
        report::describe(&view, &mut draft, Some(&why));
        return draft.plan(now, Vec::new());
    }
    if draft.release().is_some() && draft.status.leader_epoch < subject.leader_epoch {
        // Older leaders are shut out before anything else is done; the status keeps them out once the stamps are made.
        let stamps = realise::stamps(&view);
        if !stamps.is_empty() {
            draft.status = status.clone();
            draft.wake(now);
            return draft.plan(now, stamps);
        }
    }
    if eject::is_due(&view, &draft) {
        let writes = eject::writes(&view, &draft);
        let writes = realise::until_refused(&view, &mut draft, writes);
        report::describe(&view, &mut draft, None);
        return draft.plan(now, writes);
    }
    cut::unbar(&view, &mut draft);
    let taken = decisions::take(&view, &mut draft);
    for _ in 0..STEPS {
        let moved = phases::advance(&view, &mut draft);
        let followed = matches!(cut::follow(&view, &mut draft), cut::Wish::Changed);
        if !moved && !followed {
            break;
        }
    }
    kept::tidy(&view, &mut draft);
    if let Some(active) = view::active(&draft.status) {
        health::record_digest(&view, &mut draft, active);
    }
    gates::tidy(&mut draft);
    gates::jobs::contract(&view, &mut draft);
    restart::advance(&view, &mut draft);
    retire::forget(&view, &mut draft);
    let desired = desired::of(&view, &mut draft);
    let finished = decisions::finish(&view, &draft);
    let writes = realise::writes(&view, &mut draft, &desired, taken, finished);
    let writes =
        writes.into_iter().chain(cut::check(&view, &mut draft)).chain(gates::writes(&view, &draft)).collect();
    let writes = realise::until_refused(&view, &mut draft, writes);
    let writes = guard::filter(&view, &mut draft, writes);
    report::describe(&view, &mut draft, None);
    if draft.release().is_some() || draft.status != *status {
        draft.status.leader_epoch = subject.leader_epoch;
    }
    draft.plan(now, writes)
}

impl Draft {
    fn plan(self, now: Timestamp, writes: Vec<Write>) -> Plan {
        let requeue = self.requeue(now);
        Plan { status: self.status, writes, events: self.events, requeue }
    }
}
