//! A cluster in memory: objects with versions, pods that start, sidecars that acknowledge, and an operator that reads late,
//! fails and crashes.
#![allow(dead_code)]

mod apply;
pub(crate) mod check;
mod pods;
pub(crate) mod steps;

use std::collections::{BTreeMap, BTreeSet};

use check::{Holds, Sight};
use jiff::{SignedDuration, Timestamp};
use shop_crds::{
    ReleaseDecisionSpec, ShopServiceSpec, ShopServiceStatus, Verb,
    service::release::{OnFailure, Promote, Release},
};
use shop_release::{Decision, Observed, Plan, Question, Subject, Write, plan};

/// Numbers from a seed: the same story each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides.max(1)
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What one pass of the operator did.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    pub(crate) planned: Option<Plan>,
    pub(crate) failed: Option<String>,
    pub(crate) changed: bool,
}

/// In a story whatever does not hold ends it.
fn sure(holds: Holds) {
    if let Err(violation) = holds {
        panic!("{violation}");
    }
}

/// Everything that was, at a moment: what a cache may still show.
#[derive(Clone)]
struct Snapshot {
    version: u64,
    subject: Subject,
    status: ShopServiceStatus,
    observed: Observed,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    /// How far the operator's clock is ahead of the one of the API server.
    pub(crate) skew: SignedDuration,
    pub(crate) subject: Subject,
    pub(crate) status: ShopServiceStatus,
    pub(crate) observed: Observed,
    pub(crate) version: u64,
    pub(crate) uids: u64,
    /// Writes that reached the API server, pushes not counted; status writes included.
    pub(crate) written: Vec<String>,
    pub(crate) events: Vec<shop_release::Event>,
    /// Version of the last write of the operator's leader.
    own: u64,
    past: Vec<Snapshot>,
    /// Highest leader epoch that each sidecar has accepted, by uid of its pod.
    accepted: BTreeMap<String, i64>,
    /// What each number of a revision has meant, ever: the hash of its inputs.
    pub(crate) meanings: BTreeMap<i64, String>,
    born: BTreeMap<String, Timestamp>,
    /// Pods with a sidecar that does not answer.
    pub(crate) mute: BTreeSet<String>,
    /// Pods that a scale-down has cost their life: their controller has seen it, and removes them whatever size comes next.
    pub(crate) doomed: BTreeSet<String>,
    /// Pods that were made unready.
    pub(crate) sick: BTreeSet<String>,
    /// How long a terminating pod takes.
    pub(crate) farewell: SignedDuration,
    /// Requests that stay in flight on pods that lose their users, in seconds.
    pub(crate) linger: i64,
    /// What the API server says against templates, if anything.
    pub(crate) against: Option<String>,
    left: BTreeMap<i64, Timestamp>,
    next_ip: u32,
    /// Objects that were given back.
    pub(crate) ejected: Vec<String>,
    /// Questions that were asked and not answered.
    pub(crate) asked: Vec<Question>,
}

pub(crate) fn spec(image: &str, replicas: i32) -> ShopServiceSpec {
    let text = serde_json::json!({
        "image": image, "port": 8080, "replicas": replicas,
        "release": {"keepOld": "5s", "drain": {"max": "60s"}, "progressDeadline": "120s"}
    });
    serde_json::from_value(text).unwrap()
}

impl World {
    pub(crate) fn new(spec: ShopServiceSpec) -> Self {
        let subject = Subject {
            namespace: "shop".into(),
            name: "order".into(),
            uid: "uid-order".into(),
            generation: 1,
            resource_version: "1".into(),
            deleting: false,
            spec,
            leader_epoch: 1,
        };
        let mut world = Self {
            now: "2026-01-01T00:00:00.25Z".parse().unwrap(),
            skew: SignedDuration::ZERO,
            subject,
            status: ShopServiceStatus::default(),
            observed: Observed { keys_fingerprint: "keys".into(), ..Observed::default() },
            version: 1,
            uids: 0,
            written: Vec::new(),
            events: Vec::new(),
            own: 0,
            past: Vec::new(),
            accepted: BTreeMap::new(),
            meanings: BTreeMap::new(),
            born: BTreeMap::new(),
            mute: BTreeSet::new(),
            doomed: BTreeSet::new(),
            sick: BTreeSet::new(),
            farewell: SignedDuration::from_secs(3),
            linger: 0,
            against: None,
            left: BTreeMap::new(),
            next_ip: 1,
            asked: Vec::new(),
            ejected: Vec::new(),
        };
        world.remember();
        world
    }

    pub(crate) fn bump(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    pub(crate) fn uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    /// The user applies another spec.
    pub(crate) fn apply(&mut self, change: impl FnOnce(&mut ShopServiceSpec)) {
        change(&mut self.subject.spec);
        self.subject.generation += 1;
        self.subject.resource_version = self.bump();
    }

    pub(crate) fn release(&mut self, change: impl FnOnce(&mut Release)) {
        self.apply(|spec| change(spec.release.get_or_insert_default()));
    }

    pub(crate) fn manual(&mut self) {
        self.release(|release| release.promote = Promote::Manual);
    }

    pub(crate) fn hold(&mut self) {
        self.release(|release| release.on_failure = OnFailure::Hold);
    }

    pub(crate) fn image(&mut self, image: &str) {
        self.apply(|spec| image.clone_into(&mut spec.image));
    }

    /// Somebody decides; returns the decision's name.
    pub(crate) fn decide(&mut self, verb: Verb, revision: i64) -> String {
        self.decide_by("", verb, revision, |_| {})
    }

    /// This person decides; returns the decision's name. The actor says what was decided too, so that it can be checked.
    pub(crate) fn decide_by(
        &mut self,
        person: &str,
        verb: Verb,
        revision: i64,
        more: impl FnOnce(&mut ReleaseDecisionSpec),
    ) -> String {
        let actor = format!("{person}:{}-{revision}", verb.as_str());
        let mut spec = ReleaseDecisionSpec::new("order", verb, revision, &actor);
        more(&mut spec);
        let name = format!("decision-{}", self.uids);
        let decision = Decision {
            name: name.clone(),
            uid: self.uid(),
            resource_version: self.bump(),
            created: Timestamp::from_second(self.now.as_second()).unwrap(),
            spec,
            status: None,
        };
        self.observed.decisions.push(decision);
        name
    }

    pub(crate) fn decision(&self, name: &str) -> &Decision {
        self.observed.decisions.iter().find(|decision| decision.name == name).unwrap()
    }

    pub(crate) fn outcome(
        &self,
        name: &str,
    ) -> (Option<shop_crds::DecisionOutcome>, Option<shop_crds::Reason>) {
        let status = self.decision(name).status.clone().unwrap_or_default();
        (status.outcome, status.reason)
    }

    fn remember(&mut self) {
        self.past.push(Snapshot {
            version: self.version,
            subject: self.subject.clone(),
            status: self.status.clone(),
            observed: self.observed.clone(),
        });
        if self.past.len() > 6 {
            self.past.remove(0);
        }
    }

    /// Time passes in the cluster.
    pub(crate) fn pass(&mut self, millis: i64) {
        self.now += SignedDuration::from_millis(millis);
        self.run_pods();
        self.remember();
    }

    /// The operator starts anew: a higher epoch, and nothing known of the sidecars.
    pub(crate) fn restart(&mut self) {
        self.subject.leader_epoch += 1;
        for pod in &mut self.observed.pods {
            pod.sidecar = shop_release::SidecarView::default();
        }
        self.own = self.version;
        self.past.clear();
        self.remember();
    }

    /// One pass of the operator from what is there now.
    pub(crate) fn operate(&mut self) -> Pass {
        self.operate_with(0, None, None)
    }

    /// One pass from a read that is `lag` steps old, if its own writes are in it, which crashes before write number
    /// `crash` (0: the status), or whose write number `fails` is refused.
    pub(crate) fn operate_with(&mut self, lag: usize, crash: Option<usize>, fails: Option<usize>) -> Pass {
        self.past.pop();
        self.remember();
        let at = self.past.len().saturating_sub(1 + lag);
        let mut read = self.past[at].clone();
        if read.version < self.own {
            read = self.past.last().unwrap().clone();
        }
        read.subject.leader_epoch = self.subject.leader_epoch;
        let clock = self.now + self.skew;
        let made = plan(&read.subject, &read.observed, &read.status, clock);
        let again = plan(&read.subject, &read.observed, &read.status, clock);
        assert_eq!(made, again, "a plan is a function of its arguments");
        let mut pass = Pass { planned: Some(made.clone()), ..Pass::default() };
        let sight = Sight::new(&read.subject, &read.observed, &read.status, &made.status).at(self.now);
        let stop = |number: usize| (crash == Some(number), fails == Some(number));
        if made.status != read.status {
            match stop(0) {
                (true, _) => return pass,
                (_, true) => {
                    pass.failed = Some("status refused".into());
                    return pass;
                }
                _ => {}
            }
            if read.subject.resource_version != self.subject.resource_version {
                pass.failed = Some("status conflict".into());
                return pass;
            }
            sure(self.check_status(&sight, &made.status));
            self.take_status(made.status.clone());
            let text = serde_json::to_string(&self.status).unwrap();
            assert_eq!(
                serde_json::from_str::<ShopServiceStatus>(&text).unwrap(),
                self.status,
                "survives the API server"
            );
            self.own = self.version;
            self.written.push(format!("status {:?}", self.status.phase.unwrap_or_default()));
            pass.changed = true;
        }
        for (number, write) in made.writes.iter().enumerate() {
            match stop(number + 1) {
                (true, _) => return pass,
                (_, true) => {
                    pass.failed = Some(format!("{write:?} failed"));
                    return pass;
                }
                _ => {}
            }
            sure(self.check_write(&sight, write));
            let asked = self.asked.len();
            if let Err(why) = self.write(write) {
                pass.failed = Some(why);
                break;
            }
            // A question that is open may be emitted again and again.
            pass.changed |= !matches!(write, Write::Ask(_)) || self.asked.len() > asked;
            if !matches!(write, Write::PushDocument { .. } | Write::PushEndpoints { .. } | Write::Ask(_)) {
                self.own = self.version;
                let object =
                    write.object("order").map(|object| format!("{} {}", object.kind.as_str(), object.name));
                self.written.push(object.unwrap_or_default());
            }
        }
        self.events.extend(made.events);
        pass
    }

    /// The API server takes a status.
    pub(crate) fn take_status(&mut self, status: ShopServiceStatus) {
        self.status = status;
        self.subject.resource_version = self.bump();
        for revision in &self.status.revisions {
            self.meanings.entry(revision.number).or_insert_with(|| revision.hash.clone());
        }
    }

    /// Lets operator and cluster run until `done`, at most for so many seconds.
    pub(crate) fn run_until(&mut self, seconds: i64, done: impl Fn(&Self) -> bool) {
        let end = self.now + SignedDuration::from_secs(seconds);
        while self.now < end {
            // The operator plans again at once after it has written something.
            for _ in 0..40 {
                if !self.operate().changed || done(self) {
                    break;
                }
            }
            if done(self) {
                return;
            }
            self.pass(100);
        }
        panic!("not done in {seconds} s: {}", self.describe());
    }

    pub(crate) fn run(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        while self.now < end {
            for _ in 0..40 {
                if !self.operate().changed {
                    break;
                }
            }
            self.pass(100);
        }
    }

    pub(crate) fn active(&self) -> i64 {
        self.status.active.as_ref().map_or(0, |active| active.revision)
    }

    pub(crate) fn stable(&self) -> bool {
        self.status.phase == Some(shop_crds::status::Phase::Stable) && self.status.release.is_none()
    }

    pub(crate) fn phase(&self) -> shop_crds::status::Phase {
        self.status.phase.unwrap_or_default()
    }

    pub(crate) fn blocked(&self) -> Option<shop_crds::Reason> {
        self.status.blocked.as_ref().map(|blocked| blocked.reason)
    }

    pub(crate) fn describe(&self) -> String {
        let status = serde_json::to_string_pretty(&self.status).unwrap();
        let pods: Vec<String> = self
            .observed
            .pods
            .iter()
            .map(|pod| {
                format!(
                    "{} r{} ready={} gone={} {:?}",
                    pod.name, pod.revision, pod.ready, pod.terminating, pod.sidecar
                )
            })
            .collect();
        format!(
            "at {} status {status}\nservices {:?}\ndeployments {:?}\npods {pods:#?}\nconfigs {:?}\nendpoints {:?}\njobs {:?}\nopen decisions {}\nrelease {}",
            self.now,
            self.observed.services,
            self.observed.deployments,
            self.observed.configs,
            self.observed.endpoints,
            self.observed.jobs,
            self.observed.decisions.iter().filter(|one| one.status.is_none()).count(),
            serde_json::to_string(&self.subject.spec.release).unwrap()
        )
    }
}
