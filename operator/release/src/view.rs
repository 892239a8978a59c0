//! What a plan asks of the subject and the cluster, in the words of a release.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use shop_crds::{
    Reason, ShopServiceStatus,
    service::release::Release,
    status::{Phase, ReleaseState, RevisionRef, RevisionState},
};

use crate::{
    Event, Subject, adopt,
    inputs::{Inputs, NoInputs},
    observed::{Deployment, Observed, Pod, Service, SidecarConfig, StoredRevision},
    write::{MaxUnavailable, ServiceKind},
};

/// Subject, cluster and time: what does not change while a plan is made.
pub(crate) struct View<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) observed: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) release: Release,
    pub(crate) inputs: Result<Inputs, NoInputs>,
    pub(crate) hash: Option<String>,
}

/// The plan while it is made.
pub(crate) struct Draft {
    pub(crate) status: ShopServiceStatus,
    pub(crate) events: Vec<Event>,
    wake: Option<Timestamp>,
}

impl<'a> View<'a> {
    pub(crate) fn new(subject: &'a Subject, observed: &'a Observed, now: Timestamp) -> Self {
        let inputs = Inputs::resolve(&subject.spec, observed).and_then(|inputs| apart(inputs, observed));
        let hash = inputs.as_ref().ok().map(Inputs::hash);
        Self { subject, observed, now, release: subject.release(), inputs, hash }
    }

    /// Highest epoch of a leader that has touched anything of the service.
    pub(crate) fn seen_epoch(&self, status: &ShopServiceStatus) -> i64 {
        let services = self.observed.services.values().map(|one| one.leader_epoch);
        let configs = self.observed.configs.iter().map(|one| one.leader_epoch);
        let deployments = self.observed.deployments.iter().map(|one| one.leader_epoch);
        services.chain(configs).chain(deployments).max().unwrap_or(0).max(status.leader_epoch)
    }

    pub(crate) fn micro(&self) -> MicroTime {
        MicroTime(self.now)
    }

    pub(crate) fn stored(&self, revision: i64) -> Option<&'a StoredRevision> {
        self.observed.revisions.iter().find(|one| one.number == revision)
    }

    pub(crate) fn deployment(&self, revision: i64) -> Option<&'a Deployment> {
        self.observed.deployments.iter().find(|one| one.revision == revision)
    }

    pub(crate) fn config(&self, revision: i64) -> Option<&'a SidecarConfig> {
        self.observed.configs.iter().find(|one| one.revision == revision)
    }

    pub(crate) fn service(&self, kind: ServiceKind) -> Option<&'a Service> {
        self.observed.services.get(&kind)
    }

    /// Whether Services of these kinds all select the revision.
    pub(crate) fn select(&self, kinds: &[ServiceKind], revision: i64) -> bool {
        kinds.iter().all(|kind| self.service(*kind).is_some_and(|service| service.selects == Some(revision)))
    }

    /// Pods of the revision, terminating ones too.
    pub(crate) fn pods(&self, revision: i64) -> impl Iterator<Item = &'a Pod> + use<'a> {
        self.observed.pods.iter().filter(move |pod| pod.revision == revision)
    }

    /// Pods of the revision that count as capacity: ready, not terminating, and of the image that the revision began with.
    pub(crate) fn ready_pods(&self, status: &ShopServiceStatus, revision: i64) -> Vec<&'a Pod> {
        let digest = revision_state(status, revision).and_then(|state| state.digest.clone());
        self.pods(revision)
            .filter(|pod| pod.ready && !pod.terminating)
            .filter(|pod| match (&digest, pod.image_id.as_deref().and_then(digest_of)) {
                (Some(wanted), Some(runs)) => *wanted == runs,
                _ => true,
            })
            .collect()
    }

    /// How many of them there are to count on: none where we scaled the Deployment to zero, however long they are still seen.
    pub(crate) fn ready(&self, status: &ShopServiceStatus, revision: i64) -> i32 {
        if self.is_emptied(revision) { 0 } else { self.seen_ready(status, revision) }
    }

    /// Pods that are about to go because the Deployment was made smaller. One whose template is replaced has more pods than it
    /// is large too, but lets none go before another one is ready: its older pods do not count here.
    fn leaving(&self, revision: i64) -> i32 {
        let Some(deployment) = self.deployment(revision).filter(|one| !one.drifted) else { return 0 };
        let stays =
            |pod: &&Pod| !pod.terminating && pod.rejected.is_none() && pod.restart == deployment.restart;
        let living = i32::try_from(self.pods(revision).filter(stays).count()).unwrap_or(i32::MAX);
        (living - deployment.replicas).max(0)
    }

    /// Whether the revision was scaled to zero; where somebody else did so it is put back.
    fn is_emptied(&self, revision: i64) -> bool {
        self.deployment(revision).is_some_and(|deployment| deployment.replicas == 0 && !deployment.drifted)
    }

    /// How many of them are seen, and have users.
    fn seen_ready(&self, status: &ShopServiceStatus, revision: i64) -> i32 {
        i32::try_from(self.ready_pods(status, revision).len()).unwrap_or(i32::MAX)
    }

    /// Whether the revision was scaled to zero, and its pods have not heard of it yet: another size does not save them any more.
    pub(crate) fn is_doomed(&self, revision: i64) -> bool {
        self.is_emptied(revision) && self.pods(revision).any(|pod| !pod.terminating)
    }

    /// Whether requests can be handed over to the revision: somebody is there to take them, or the users' Service leads there
    /// anyway.
    pub(crate) fn takes(&self, status: &ShopServiceStatus, revision: i64) -> bool {
        self.ready(status, revision) > 0
            || self.subject.replicas() == 0
            || self.select(&[ServiceKind::Users], revision)
    }

    /// Addresses of the pods that count as capacity.
    pub(crate) fn addresses(&self, status: &ShopServiceStatus, revision: i64) -> BTreeSet<IpAddr> {
        self.ready_pods(status, revision).iter().filter_map(|pod| pod.ip).collect()
    }

    /// Pods of the revision that may be missing at a time, as its PodDisruptionBudget has it.
    pub(crate) fn may_miss(&self, revision: i64) -> i32 {
        let replicas =
            self.deployment(revision).map_or(self.subject.replicas(), |deployment| deployment.replicas);
        MaxUnavailable::of(replicas).pods(replicas)
    }

    /// Ready pods below which a revision of the wanted size does not do its work.
    pub(crate) fn least(&self) -> i32 {
        let wanted = self.subject.replicas();
        if wanted == 0 { 0 } else { (wanted - MaxUnavailable::of(wanted).pods(wanted)).max(1) }
    }

    /// Whether `to` has enough ready pods for the users that `from` has, going forward.
    pub(crate) fn enough_forward(&self, status: &ShopServiceStatus, from: Option<i64>, to: i64) -> bool {
        let wanted = self.subject.replicas();
        if wanted == 0 {
            return true;
        }
        // Never more than the user wants, however many the other one still has.
        let bound = from.map_or(1, |from| self.seen_ready(status, from) - self.may_miss(from)).min(wanted);
        // Whichever of them go.
        self.ready(status, to) - self.leaving(to) >= bound.max(1)
    }

    /// Whether `to` has enough ready pods for the users to go back to it from `from`.
    pub(crate) fn enough_back(&self, status: &ShopServiceStatus, from: i64, to: i64) -> bool {
        let (left, taken) = (self.seen_ready(status, from), self.ready(status, to));
        let bound = (left - self.may_miss(from)).min(self.subject.replicas());
        taken >= 1 && (taken >= bound || taken > left) || self.subject.replicas() == 0
    }
}

impl Draft {
    pub(crate) fn new(status: ShopServiceStatus) -> Self {
        Self { status, events: Vec::new(), wake: None }
    }

    /// Plan again at this time at the latest.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }

    /// Time until the next plan, at least 10 ms, so that no deadline makes a busy loop.
    pub(crate) fn requeue(&self, now: Timestamp) -> Option<Duration> {
        self.wake.map(|at| {
            Duration::try_from(at.duration_since(now)).unwrap_or_default().max(Duration::from_millis(10))
        })
    }

    pub(crate) fn tell(&mut self, warning: bool, reason: Reason, message: impl Into<String>) {
        self.events.push(Event { warning, reason, message: message.into() });
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status.phase.unwrap_or_default()
    }

    pub(crate) fn release(&self) -> Option<&ReleaseState> {
        self.status.release.as_ref()
    }

    /// Begins a phase; `waits` says whether progressDeadline counts in it.
    pub(crate) fn enter(&mut self, phase: Phase, view: &View<'_>, waits: bool) {
        self.status.phase = Some(phase);
        if let Some(release) = &mut self.status.release {
            release.phase_since = view.micro();
            release.waiting_since = waits.then(|| view.micro());
        }
    }

    pub(crate) fn revision_mut(&mut self, number: i64) -> Option<&mut RevisionState> {
        self.status.revisions.iter_mut().find(|state| state.number == number)
    }

    /// The revision by number and label.
    pub(crate) fn named(&self, number: i64) -> RevisionRef {
        let colour = revision_state(&self.status, number).map_or("blue", |state| state.colour.as_str());
        RevisionRef { revision: number, label: format!("r{number} {colour}") }
    }
}

/// Inputs whose pods nobody gets to by the Service of an adopted revision.
fn apart(inputs: Inputs, observed: &Observed) -> Result<Inputs, NoInputs> {
    let labels = inputs.pod.as_ref().and_then(|pod| pod.metadata.as_ref()).map(|metadata| &metadata.labels);
    let adopted = observed.revisions.iter().find_map(|stored| stored.facts.adopted.as_ref());
    match adopted.and_then(|adopted| adopt::overlap(labels, &adopted.selector)) {
        Some(why) => Err(NoInputs::Invalid(why)),
        None => Ok(inputs),
    }
}

/// The status' entry of a revision.
pub(crate) fn revision_state(status: &ShopServiceStatus, number: i64) -> Option<&RevisionState> {
    status.revisions.iter().find(|state| state.number == number)
}

/// Number of the active revision.
pub(crate) fn active(status: &ShopServiceStatus) -> Option<i64> {
    status.active.as_ref().map(|active| active.revision)
}

/// `sha256:…` of an `imageID`; `None` where there is none.
pub(crate) fn digest_of(image_id: &str) -> Option<String> {
    let at = image_id.rfind("sha256:")?;
    image_id.get(at..).map(str::to_owned)
}

/// Ready pods with which a revision of this size counts as all there: a tenth, rounded down, may be missing. That is no pod below
/// ten, one from ten on, and never more than the revision's budget lets go (see [`MaxUnavailable`]), so that it is enough for
/// the users of the other one. Otherwise one pod of 200 that comes and goes would hold a release up until its deadline.
pub(crate) fn nearly_all(size: i32) -> i32 {
    size - size.max(0) / 10
}

/// Adds a length of time to a time; the far future where it does not fit.
pub(crate) fn after(time: Timestamp, span: Duration) -> Timestamp {
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// Cut to microseconds, as the status keeps it.
pub(crate) fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}
