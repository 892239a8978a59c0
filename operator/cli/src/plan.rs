//! What applying a file would lead to: the release is rehearsed with the operator's own planner. Pure; changes nothing.

mod apply;
mod limits;
pub mod rehearsal;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::ResourceQuota, policy::v1::PodDisruptionBudget};
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::Value;
use shop_crds::{ShopService, ShopServiceSpec, Span, names, service::release::Strategy, status::Phase};
use shop_release::{
    Authority, Deployment, Observed, Policy, Service, ServiceKind, Source, SourceState, StoredRevision,
    StoredSnapshot, Subject,
};

use crate::{
    doctor::{Finding, Level},
    exit::Exit,
};
use rehearsal::{End, Rehearsal};

#[cfg(test)]
mod tests;

/// What kind of a step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A write to the API server.
    Write,
    /// Something that sidecars are told.
    Push,
    /// A question; its answer is taken for a yes.
    Ask,
    /// Somebody is waited for; taken for granted.
    Wait,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When, after the file was applied, at the earliest.
    pub at: Span,
    /// Where the release is then.
    pub phase: Phase,
    /// What kind of a step it is.
    pub kind: Kind,
    /// What is done.
    pub text: String,
}

/// Everything that a plan looks at.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The service as it is; `None`: there is none.
    pub service: Option<ShopService>,
    /// Records of its revisions.
    pub revisions: Vec<StoredRevision>,
    /// Pods that each of its Deployments has.
    pub replicas: BTreeMap<i64, i32>,
    /// `ConfigMaps` and `Secrets` that the service names now.
    pub sources: Vec<Source>,
    /// Those that it names afterwards.
    pub sources_after: Vec<Source>,
    /// Freeze windows of the namespace.
    pub policies: Vec<Policy>,
    /// Quotas of the namespace.
    pub quotas: Vec<ResourceQuota>,
    /// Budgets of the namespace.
    pub budgets: Vec<PodDisruptionBudget>,
    /// What could not be looked at.
    pub unseen: Vec<Finding>,
}

/// What applying a file would lead to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// The revision that users have now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The revision that they have in the end; the same: no release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// Writes to the API server, those of the status included.
    pub api_writes: usize,
    /// Pods now, and at the peak.
    pub pods: Pods,
    /// How long it takes at least: pods are taken to be ready at once.
    pub at_least: Span,
    /// What that time is spent on.
    pub times: Vec<Time>,
    /// Quotas and budgets.
    pub checks: Vec<Finding>,
    /// How it ends.
    pub ends: String,
    /// The word for the exit code.
    pub result: Exit,
    /// The exit code: 1 if a check fails, or if it does not come to an end.
    pub exit_code: u8,
}

/// Pods of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Before.
    pub now: i32,
    /// At the peak.
    pub peak: i32,
}

/// Time that is spent on something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Time {
    /// On what.
    pub on: String,
    /// How much.
    pub time: Span,
}

/// In whole milliseconds.
fn span(time: Duration) -> Span {
    Span::millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Hash and size of a source's content, as the operator has them.
pub fn content(object: &Value) -> SourceState {
    shop_release::inputs::content(object)
}

/// What applying this service would lead to. `wanted` is what the API server made of the file.
pub fn forecast(found: &Found, wanted: &ShopService, now: Timestamp) -> Forecast {
    let live = found.service.as_ref().unwrap_or(wanted);
    let before = live.spec.clone();
    let mut world =
        Rehearsal::new(subject(live), live.status.clone().unwrap_or_default(), observed(found), now);
    if found.service.is_some() {
        world.come_to_rest();
        world.observed.sources.clone_from(&found.sources_after);
        world.apply(wanted.spec.clone());
    } else {
        world.observed.sources.clone_from(&found.sources_after);
        world.status = shop_crds::ShopServiceStatus::default();
    }
    let end = world.run();
    compose(found, &before, wanted, &world, &end)
}

fn compose(
    found: &Found,
    before: &ShopServiceSpec,
    wanted: &ShopService,
    world: &Rehearsal,
    end: &End,
) -> Forecast {
    let active = |service: &ShopService| Some(service.status.as_ref()?.active.as_ref()?.revision);
    let from = found.service.as_ref().and_then(active);
    let to = world.status.active.as_ref().map(|active| active.revision);
    let count = |size: &BTreeMap<i64, i32>| size.values().sum::<i32>();
    let pods = Pods {
        now: if found.service.is_some() { world.sizes.first().map_or(0, count) } else { 0 },
        peak: world.sizes.iter().map(count).max().unwrap_or(0),
    };
    let known = world.sizes.first().into_iter().flat_map(BTreeMap::keys).copied().collect();
    let growth = limits::growth(&world.sizes, &known, before, &wanted.spec, found.service.is_some());
    let mut checks = found.unseen.clone();
    checks.extend(limits::quotas(&found.quotas, &growth));
    checks.extend(limits::budgets(&found.budgets, &wanted.name_any(), wanted.spec.replicas));
    let name =
        |revision: Option<i64>| revision.map_or_else(|| "no revision".to_owned(), |one| format!("r{one}"));
    let (ends, fails) = match end {
        End::Stable if from == to && from.is_some() => {
            (format!("users stay with {}: no release", name(to)), false)
        }
        End::Stable if to.is_none() && wanted.spec.adopt.is_some() => {
            let message = "what spec.adopt names becomes revision 0 as it stands, if it fits: the operator looks at it when this is applied";
            (message.to_owned(), false)
        }
        End::Stable => (format!("users are with {}", name(to)), false),
        End::Waits(blocked) => {
            let (reason, message) = (blocked.reason.as_str(), &blocked.message);
            (format!("it stops, because it waits for {reason}: {message}"), true)
        }
        End::Endless => ("it does not come to an end that a plan can see".to_owned(), true),
    };
    let failed = fails || checks.iter().any(|check| check.level == Level::Fail);
    let result = if failed { Exit::Error } else { Exit::Done };
    let writes = world.steps.iter().filter(|step| step.kind == Kind::Write).count();
    Forecast {
        namespace: wanted.namespace().unwrap_or_default(),
        service: wanted.name_any(),
        from,
        to,
        steps: world.steps.clone(),
        api_writes: writes + world.status_writes,
        pods,
        at_least: span(world.times.iter().map(|(_, time)| *time).sum()),
        times: world.times.iter().map(|(on, time)| Time { on: on.clone(), time: span(*time) }).collect(),
        checks,
        ends,
        result,
        exit_code: result.code(),
    }
}

fn subject(service: &ShopService) -> Subject {
    Subject {
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
        uid: service.uid().unwrap_or_else(|| "plan".to_owned()),
        generation: service.metadata.generation.unwrap_or(1),
        resource_version: service.resource_version().unwrap_or_default(),
        deleting: false,
        spec: service.spec.clone(),
        leader_epoch: service.status.as_ref().map_or(1, |status| status.leader_epoch.max(1)),
    }
}

/// The cluster in the eyes of the planner. What is not read is made up in the first, uncounted plans.
fn observed(found: &Found) -> Observed {
    let version = || "1".to_owned();
    // What was adopted has neither keys nor account.
    let adopted =
        !found.revisions.is_empty() && found.revisions.iter().all(|one| one.number == names::ADOPTED);
    let own = found.service.is_some() && !adopted;
    let mut observed = Observed {
        sources: found.sources.clone(),
        revisions: found.revisions.clone(),
        policies: found.policies.clone(),
        keys: own,
        account: own,
        keys_fingerprint: "plan".to_owned(),
        authority: Some(Authority { roots: "plan".to_owned(), since: jiff::Timestamp::MIN, lost: false }),
        trust_domain: "cluster.local".to_owned(),
        ..Observed::default()
    };
    for revision in &found.revisions {
        observed.snapshots.extend(revision.facts.snapshots.iter().map(|snapshot| StoredSnapshot {
            revision: revision.number,
            snapshot: snapshot.clone(),
            uid: format!("{}-{}", revision.number, snapshot.name),
            resource_version: version(),
        }));
    }
    let Some(status) = found.service.as_ref().and_then(|service| service.status.as_ref()) else {
        return observed;
    };
    let epoch = status.leader_epoch;
    let release = found.service.as_ref().and_then(|service| service.spec.release.as_ref());
    let recreate = release.is_some_and(|release| release.strategy == Strategy::Recreate);
    observed.deployments.extend(found.replicas.iter().map(|(revision, replicas)| Deployment {
        revision: *revision,
        uid: format!("deployment-{revision}"),
        resource_version: version(),
        leader_epoch: epoch,
        replicas: *replicas,
        role: None,
        colour: None,
        restart: 0,
        recreate,
        drifted: false,
        failure: None,
    }));
    let active = status.active.as_ref().map(|active| active.revision);
    let candidate = status.candidate.as_ref().map(|candidate| candidate.revision);
    for kind in ServiceKind::ALL {
        let selects = if kind == ServiceKind::Preview { candidate.or(active) } else { active };
        let (uid, drifted, outdated) = (format!("{kind:?}"), false, false);
        let service =
            Service { uid, resource_version: version(), leader_epoch: epoch, selects, drifted, outdated };
        observed.services.insert(kind, service);
    }
    observed
}
