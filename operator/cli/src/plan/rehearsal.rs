//! A release in an ideal world: the planner of the operator against a cluster in memory where pods are ready at once, sidecars
//! acknowledge, nobody has traffic, and people decide as soon as they are asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use jiff::Timestamp;
use shop_crds::{
    Reason, ReleaseDecisionSpec, ShopServiceSpec, ShopServiceStatus, Verb,
    service::auth::MtlsMode,
    status::{Blocked, RevisionState},
};
use shop_release::{
    Counters, Decision, Observed, Pod, Reading, ServiceKind, SidecarView, Subject, Tally, Traffic, plan,
};

use super::{Kind, Step};
use crate::verdict::people;

/// Plans of one rehearsal: a release with 50 steps needs some hundreds.
const PLANS: usize = 5_000;
/// Decisions in a row that change nothing: more than approvals may be asked for.
const DECISIONS: usize = 6;

/// Requests that an analysis finds, and how long each took.
const REQUESTS: u64 = 1_000_000;
const QUICK_US: u64 = 1_000;

/// How a rehearsal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Stable,
    /// It waits for something that is not known here.
    Waits(Blocked),
    /// It does not come to an end.
    Endless,
}

/// The world.
pub struct Rehearsal {
    pub(super) now: Timestamp,
    pub(super) subject: Subject,
    pub(super) status: ShopServiceStatus,
    pub(super) observed: Observed,
    version: u64,
    uids: u32,
    /// What was done since the last beginning.
    pub(super) steps: Vec<Step>,
    /// Status writes since then.
    pub(super) status_writes: usize,
    /// Pods of each revision, at every moment since then.
    pub(super) sizes: Vec<BTreeMap<i64, i32>>,
    /// Time that passed since then, by what it passed in.
    pub(super) times: Vec<(String, Duration)>,
    began: Timestamp,
    decided: usize,
}

impl Rehearsal {
    /// From what is in the cluster.
    pub fn new(subject: Subject, status: ShopServiceStatus, observed: Observed, now: Timestamp) -> Self {
        Self {
            now,
            subject,
            status,
            observed,
            version: 1_000_000,
            uids: 0,
            steps: Vec::new(),
            status_writes: 0,
            sizes: Vec::new(),
            times: Vec::new(),
            began: now,
            decided: 0,
        }
    }

    /// Lets everything happen that takes no time, and begins to count.
    pub fn come_to_rest(&mut self) {
        let auth = self.subject.spec.auth.as_ref();
        if self.observed.keys && auth.is_some_and(|auth| auth.mtls() != MtlsMode::Off) {
            self.certify();
        }
        for _ in 0..100 {
            self.settle();
            if !self.operate().0 {
                break;
            }
        }
        self.settle();
        self.steps.clear();
        self.times.clear();
        self.status_writes = 0;
        self.sizes = vec![self.size()];
        self.began = self.now;
    }

    /// The user applies another spec.
    pub fn apply(&mut self, spec: ShopServiceSpec) {
        self.subject.spec = spec;
        self.subject.generation += 1;
        self.subject.resource_version = self.bump();
    }

    /// Runs until nothing is left to do, or something is waited for that does not come.
    pub fn run(&mut self) -> End {
        for _ in 0..PLANS {
            self.settle();
            let (changed, requeue) = self.operate();
            if changed {
                continue;
            }
            let blocked = self.status.blocked.clone();
            if let Some(blocked) = blocked.as_ref().filter(|blocked| people::decide(blocked.reason)) {
                if self.decide(blocked) {
                    continue;
                }
                return End::Waits(blocked.clone());
            }
            let idle = self.status.release.is_none() && self.status.pending.is_none();
            match (requeue, blocked) {
                (_, None) if idle => return End::Stable,
                (Some(pause), _) if !idle => self.pass(pause),
                (_, Some(blocked)) => return End::Waits(blocked),
                _ => return End::Endless,
            }
        }
        End::Endless
    }

    /// One plan, carried out; whether it changed anything, and when to look again.
    fn operate(&mut self) -> (bool, Option<Duration>) {
        let made = plan(&self.subject, &self.observed, &self.status, self.now);
        let mut changed = made.status != self.status;
        if changed {
            self.status_writes += 1;
            self.status = made.status;
            self.subject.resource_version = self.bump();
        }
        for write in &made.writes {
            let (kind, text) = self.write(write);
            changed = true;
            self.tell(kind, text);
        }
        if changed && self.decided > 0 && self.status.blocked.is_none() {
            self.decided = 0;
        }
        (changed, made.requeue)
    }

    fn tell(&mut self, kind: Kind, text: String) {
        let at = Duration::try_from(self.now.duration_since(self.began)).unwrap_or_default();
        let phase = self.status.phase.unwrap_or_default();
        self.steps.push(Step { at: super::span(at), phase, kind, text });
    }

    /// Somebody decides as the release wants it; false: that does not help.
    fn decide(&mut self, blocked: &Blocked) -> bool {
        let helpless =
            [Reason::OnHold, Reason::NoWayBack, Reason::NotTriedAgain, Reason::Frozen, Reason::FreezeInvalid];
        let helps = !helpless.contains(&blocked.reason);
        let Some(release) = self.status.release.clone().filter(|_| helps && self.decided < DECISIONS) else {
            return false;
        };
        self.decided += 1;
        let command = blocked.command.clone().unwrap_or_default();
        self.tell(Kind::Wait, format!("waits for somebody ({}): {command}", blocked.reason.as_str()));
        let verb = if blocked.reason == Reason::Paused { Verb::Resume } else { Verb::Promote };
        let actor = format!("somebody {}", self.decided);
        let spec = ReleaseDecisionSpec::new(&self.subject.name, verb, release.to, &actor);
        let (uid, resource_version) = (self.uid(), self.bump());
        let created = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let name = format!("{}-{uid}", self.subject.name);
        self.observed.decisions.push(Decision { name, uid, resource_version, created, spec, status: None });
        true
    }

    fn pass(&mut self, pause: Duration) {
        self.now = self.now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let what = if self.status.release.is_none() {
            "settle".to_owned()
        } else {
            let reason = self.status.blocked.as_ref().map(|blocked| blocked.reason.as_str());
            let phase = self.status.phase.unwrap_or_default().as_str();
            reason.map_or_else(|| phase.to_owned(), |reason| format!("{phase} ({reason})"))
        };
        match self.times.last_mut() {
            Some((last, time)) if *last == what => *time += pause,
            _ => self.times.push((what, pause)),
        }
    }

    /// Kubernetes catches up: every Deployment has its pods, all ready; EndpointSlices show them.
    fn settle(&mut self) {
        let wanted: BTreeMap<i64, i32> =
            self.observed.deployments.iter().map(|one| (one.revision, one.replicas.max(0))).collect();
        let mut seen: BTreeMap<i64, i32> = BTreeMap::new();
        self.observed.pods.retain(|pod| {
            let count = seen.entry(pod.revision).or_default();
            *count += 1;
            wanted.get(&pod.revision).is_some_and(|wanted| *count <= *wanted)
        });
        for (revision, wanted) in wanted {
            for _ in seen.get(&revision).copied().unwrap_or(0)..wanted {
                let pod = self.pod(revision);
                self.observed.pods.push(pod);
            }
        }
        let traffic = Traffic { at: self.now, connections: 0, upgraded: 0, in_flight: 0, idle_ms: None };
        for pod in &mut self.observed.pods {
            pod.sidecar.traffic = Some(traffic.clone());
        }
        self.measure();
        let users = self.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects);
        let behind = self.observed.pods.iter().filter(|pod| Some(pod.revision) == users);
        self.observed.endpoints = behind.map(|pod| pod.uid.clone()).collect();
        let size = self.size();
        if self.sizes.last() != Some(&size) {
            self.sizes.push(size);
        }
    }

    /// Every analysis of traffic finds nothing but quick successes.
    fn measure(&mut self) {
        let release = self.status.release.as_ref();
        let running = release.and_then(|release| Some((release, release.analysis.as_ref()?)));
        let Some((release, analysis)) = running.filter(|(_, analysis)| analysis.ended.is_none()) else {
            self.observed.tallies.clear();
            return;
        };
        let seen = Counters {
            requests: REQUESTS,
            failures: 0,
            bounds_us: vec![QUICK_US, QUICK_US * 10],
            counts: vec![REQUESTS, 0, 0],
        };
        let counted = Reading { users: seen.clone(), mirrored: seen, unanswered: 0 };
        let revisions = release.from.into_iter().chain([release.to]);
        let tally = |revision| Tally {
            revision,
            run: analysis.since.0,
            counted: counted.clone(),
            ..Tally::default()
        };
        self.observed.tallies = revisions.map(tally).collect();
    }

    fn size(&self) -> BTreeMap<i64, i32> {
        let mut size = BTreeMap::new();
        for pod in &self.observed.pods {
            *size.entry(pod.revision).or_default() += 1;
        }
        size
    }

    fn pod(&mut self, revision: i64) -> Pod {
        let uid = self.uid();
        let [_, b, c, d] = self.uids.to_be_bytes();
        let state = |state: &&RevisionState| state.number == revision;
        let known = self.status.revisions.iter().find(state).and_then(|state| state.digest.clone());
        Pod {
            name: format!("{}-r{revision}-{uid}", self.subject.name),
            uid,
            revision,
            restart: 0,
            ip: Some(IpAddr::V4(Ipv4Addr::new(10, b, c, d))),
            ready: true,
            terminating: false,
            rejected: None,
            unschedulable: None,
            containers: Vec::new(),
            image_id: Some(known.unwrap_or_else(|| format!("sha256:{revision}"))),
            sidecar: SidecarView::default(),
        }
    }

    pub(super) fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(super) fn uid(&mut self) -> String {
        self.uids += 1;
        format!("plan-{}", self.uids)
    }
}
