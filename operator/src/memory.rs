//! What a leader remembers of each service between passes, and nobody else knows: lost with the leadership, and made anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use shop_contract::Acknowledgement;
use shop_crds::names::SIDECAR_CONTAINER;
use shop_release::{
    Acknowledged, CheckedTemplate, EndpointsAcknowledged, ObjectRef, Pod, PushFailed, Refusal, SidecarView,
};
use tokio::time::Instant;

use crate::{
    cache::{Entry, Kind},
    key::ServiceKey,
};

/// Longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Pause after the first failure; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Passes with writes that may follow each other at once: more than any release needs.
const BURST: f64 = 100.0;
/// How many such passes a second are given back.
const REFILL: f64 = 4.0;

/// What is remembered of one service.
#[derive(Debug, Default)]
pub struct Memory {
    /// Own writes that the cache does not show yet.
    pub unseen: Vec<OwnWrite>,
    /// A write that was sent and not answered: nobody knows whether it was made.
    pub doubt: Option<(Kind, String)>,
    /// Names that belong to somebody else, and when that was seen last.
    pub taken: BTreeMap<ObjectRef, Instant>,
    /// Writes that were refused for good.
    refused: BTreeMap<ObjectRef, Refusal>,
    /// What the API server said about the last template that it was asked about.
    pub checked: Option<CheckedTemplate>,
    // `metadata.generation` that the refusals are about.
    generation: i64,
    // By uid of the pod.
    sidecars: HashMap<String, Known>,
    /// Objects whose content was compared and found in order: hash of the content.
    pub in_order: HashMap<(Kind, String), String>,
    /// Failures in a row.
    failures: u32,
    // Passes with writes of late, less what was given back until the time.
    spent: Option<(f64, Instant)>,
    // Until when nothing is done.
    left_alone: Option<Instant>,
    /// Version of a ShopService that cannot be read, and was complained about.
    pub unreadable: Option<String>,
}

/// A write that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnWrite {
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that the write made; `None`: it was deleted.
    pub version: Option<String>,
    /// When it was answered.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct Known {
    // Restarts of the sidecar's container: another process knows nothing of what this one was told.
    restarts: i32,
    view: SidecarView,
}

impl OwnWrite {
    /// Whether the cache shows this write, or a later one.
    pub fn is_shown(&self, entry: &Entry) -> bool {
        match (entry.version(self.kind, &self.name), &self.version) {
            (Some((_, shown)), Some(version)) => is_at_least(shown, version),
            (Some((uid, _)), None) => uid != self.uid,
            (None, Some(_)) => false,
            (None, None) => true,
        }
    }
}

// Versions are numbers of one sequence for all objects, since Kubernetes 1.35 by contract, before that by etcd.
fn is_at_least(shown: &str, wanted: &str) -> bool {
    match (shown.parse::<u64>(), wanted.parse::<u64>()) {
        (Ok(shown), Ok(wanted)) => shown >= wanted,
        _ => shown == wanted,
    }
}

impl Memory {
    /// What is known of a pod's sidecar.
    pub fn sidecar(&self, pod: &Pod) -> SidecarView {
        let known = self.sidecars.get(&pod.uid).filter(|known| known.restarts == restarts(pod));
        known.map(|known| known.view.clone()).unwrap_or_default()
    }

    /// Changes what is known of a pod's sidecar; says whether that is something else than before.
    pub fn learn(&mut self, pod: &Pod, change: impl FnOnce(&mut SidecarView)) -> bool {
        let known = self.sidecars.entry(pod.uid.clone()).or_default();
        if known.restarts != restarts(pod) {
            *known = Known { restarts: restarts(pod), view: SidecarView::default() };
        }
        let before = known.view.clone();
        change(&mut known.view);
        before != known.view
    }

    /// Forgets the sidecars of pods that are gone.
    pub fn keep_pods(&mut self, entry: &Entry) {
        self.sidecars.retain(|uid, _| entry.pods.values().any(|pod| pod.uid == *uid));
    }

    /// Refused writes, of this generation of the spec.
    pub fn refused(&mut self, generation: i64) -> Vec<Refusal> {
        if self.generation != generation {
            self.refused.clear();
            self.generation = generation;
        }
        self.refused.values().cloned().collect()
    }

    /// A write was refused for good.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refused.insert(refusal.object.clone(), refusal);
    }

    /// A write of this object went through.
    pub fn accept(&mut self, object: &ObjectRef) {
        self.refused.remove(object);
        self.taken.remove(object);
    }

    /// The pass failed: how long to wait.
    pub fn failed(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(12)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(rand::random_range(0.5..1.0))
    }

    /// Nothing is to be done before `until`.
    pub fn leave_alone(&mut self, until: Instant) {
        self.left_alone = Some(until);
    }

    /// Whether nothing is to be done yet.
    pub fn is_left_alone(&self, now: Instant) -> bool {
        self.left_alone.is_some_and(|until| now < until)
    }

    /// A pass wrote something.
    pub fn spend(&mut self, now: Instant) {
        self.spent = Some((self.spent_at(now) + 1.0, now));
    }

    /// How long to wait before the next pass: writes that bring about each other, of ours or against somebody who undoes them, must
    /// not keep the API server busy. `None`: not at all.
    pub fn breather(&self, now: Instant) -> Option<Duration> {
        let over = self.spent_at(now) - BURST;
        (over >= 0.0).then(|| Duration::from_secs_f64((over + 1.0) / REFILL))
    }

    fn spent_at(&self, now: Instant) -> f64 {
        let Some((spent, at)) = self.spent else { return 0.0 };
        (spent - now.duration_since(at).as_secs_f64() * REFILL).max(0.0)
    }

    /// The pass went through.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Notes a sidecar's answer to a push.
pub fn acknowledged(view: &mut SidecarView, answer: &Acknowledgement) {
    if answer.generation > 0 {
        view.acknowledged = Some(Acknowledged {
            generation: answer.generation,
            hash: answer.hash.clone(),
            role_epoch: answer.role_epoch,
        });
    }
    view.failed = None;
}

/// Notes hand-off addresses that a sidecar has accepted.
pub fn endpoints_accepted(view: &mut SidecarView, endpoints: EndpointsAcknowledged) {
    view.endpoints = Some(endpoints);
}

/// Notes that a push failed.
pub fn push_failed(view: &mut SidecarView, at: Timestamp, message: String) {
    let since = view.failed.as_ref().map_or(at, |before| before.since);
    view.failed = Some(PushFailed { since, at, message });
}

fn restarts(pod: &Pod) -> i32 {
    pod.containers
        .iter()
        .find(|container| container.name == SIDECAR_CONTAINER)
        .map_or(0, |container| container.restarts)
}

/// The memories of all services. A pass takes one out and puts it back.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<ServiceKey, Memory>>);

impl Memories {
    /// Takes a service's memory; an empty one where there is none.
    pub fn take(&self, key: &ServiceKey) -> Memory {
        self.all().remove(key).unwrap_or_default()
    }

    /// Puts it back.
    pub fn put(&self, key: ServiceKey, memory: Memory) {
        self.all().insert(key, memory);
    }

    /// Forgets everything: the leadership is another one.
    pub fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ServiceKey, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(restarts: i32) -> Pod {
        Pod {
            name: "order-r1-a".into(),
            uid: "u".into(),
            revision: 1,
            restart: 0,
            ip: None,
            ready: true,
            terminating: false,
            rejected: None,
            unschedulable: None,
            containers: vec![shop_release::Container {
                name: SIDECAR_CONTAINER.into(),
                restarts,
                ..shop_release::Container::default()
            }],
            image_id: None,
            sidecar: SidecarView::default(),
        }
    }

    #[test]
    fn a_restarted_sidecar_is_known_anew() {
        let mut memory = Memory::default();
        let answer = Acknowledgement { generation: 3, ..Acknowledgement::default() };
        assert!(memory.learn(&pod(0), |view| acknowledged(view, &answer)));
        assert!(!memory.learn(&pod(0), |view| acknowledged(view, &answer)));
        assert_eq!(memory.sidecar(&pod(0)).acknowledged.unwrap().generation, 3);
        assert_eq!(memory.sidecar(&pod(1)), SidecarView::default());
    }

    #[test]
    fn failures_in_a_row_are_dated_from_the_first() {
        let mut view = SidecarView::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        push_failed(&mut view, at(5), "no answer".into());
        push_failed(&mut view, at(9), "no answer".into());
        let failed = view.failed.clone().unwrap();
        assert_eq!((failed.since, failed.at), (at(5), at(9)));
        acknowledged(&mut view, &Acknowledgement::default());
        assert_eq!(view.failed, None);
    }

    #[test]
    fn writes_that_bring_about_each_other_are_slowed_down() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(memory.breather(now), None);
            memory.spend(now);
        }
        let pause = memory.breather(now).unwrap();
        assert_eq!(pause, Duration::from_millis(250));
        assert_eq!(memory.breather(now + pause), None);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut memory = Memory::default();
        let pauses: Vec<Duration> = (0..20).map(|_| memory.failed()).collect();
        assert!(pauses[0] <= FIRST_PAUSE);
        assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE));
        assert!(pauses[19] >= MAX_PAUSE / 2);
    }

    #[test]
    fn a_write_is_shown_by_its_version_or_a_later_one() {
        let write = |version: Option<&str>| OwnWrite {
            kind: Kind::ShopService,
            name: "order".into(),
            uid: "u".into(),
            version: version.map(str::to_owned),
            at: Instant::now(),
        };
        let mut entry = Entry::default();
        assert!(!write(Some("9")).is_shown(&entry));
        assert!(write(None).is_shown(&entry));
        entry.shop = Some(std::sync::Arc::new(crate::cache::Shop {
            uid: "u".into(),
            resource_version: "10".into(),
            generation: 1,
            deleting: false,
            labels: BTreeMap::new(),
            content: Err(String::new()),
        }));
        assert!(write(Some("9")).is_shown(&entry));
        assert!(!write(Some("11")).is_shown(&entry));
        assert!(!write(None).is_shown(&entry));
    }
}
