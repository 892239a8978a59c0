//! Kubelets and controllers: Deployments get pods, pods get ready or do not, EndpointSlices follow.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr},
};

use jiff::SignedDuration;
use shop_release::{Container, Pod, ServiceKind, SidecarView, Traffic};

use super::World;

impl World {
    /// Brings pods, EndpointSlices and statistics to the present.
    pub(crate) fn run_pods(&mut self) {
        self.scale_pods();
        self.age_pods();
        self.route();
    }

    /// A Deployment was lowered: its controller chooses at once which pods go, those first that are not ready.
    pub(crate) fn doom(&mut self, revision: i64, replicas: i32) {
        let stays =
            |pod: &&Pod| pod.revision == revision && !pod.terminating && !self.doomed.contains(&pod.uid);
        let mut living: Vec<&Pod> = self.observed.pods.iter().filter(stays).collect();
        living.sort_by_key(|pod| pod.ready);
        let surplus = living.len().saturating_sub(usize::try_from(replicas).unwrap());
        let chosen: Vec<String> = living.iter().take(surplus).map(|pod| pod.uid.clone()).collect();
        self.doomed.extend(chosen);
    }

    pub(crate) fn scale_pods(&mut self) {
        for pod in self.observed.pods.iter_mut().filter(|pod| self.doomed.remove(&pod.uid)) {
            if !mem::replace(&mut pod.terminating, true) {
                self.born.insert(pod.uid.clone(), self.now);
            }
        }
        for deployment in self.observed.deployments.clone() {
            let revision = deployment.revision;
            let living =
                self.observed.pods.iter().filter(|pod| pod.revision == revision && !pod.terminating).count();
            let wanted = usize::try_from(deployment.replicas).unwrap();
            let rolls = if deployment.recreate {
                self.recreate(revision, deployment.restart)
            } else {
                self.roll(revision, deployment.restart, wanted)
            };
            if rolls {
                continue;
            }
            for _ in living..wanted {
                self.start_pod(revision, deployment.restart);
            }
            let mut surplus = living.saturating_sub(wanted);
            for pod in
                self.observed.pods.iter_mut().filter(|pod| pod.revision == revision && !pod.terminating)
            {
                if surplus > 0 {
                    pod.terminating = true;
                    self.born.insert(pod.uid.clone(), self.now);
                    surplus -= 1;
                }
            }
        }
        let (now, farewell) = (self.now, self.farewell);
        let born = &self.born;
        let known: Vec<i64> = self.observed.deployments.iter().map(|one| one.revision).collect();
        self.observed.pods.retain(|pod| {
            let orphan = !known.contains(&pod.revision);
            let gone = pod.terminating && born.get(&pod.uid).is_none_or(|since| *since + farewell <= now);
            !(orphan || gone)
        });
    }

    /// A rolling update: one pod more than wanted, and never a ready one less; true while one is under way.
    fn roll(&mut self, revision: i64, restart: i64, wanted: usize) -> bool {
        let now = self.now;
        let living = || |pod: &&mut Pod| pod.revision == revision && !pod.terminating;
        let pods = &mut self.observed.pods;
        let total = pods.iter_mut().filter(living()).count();
        let new = pods.iter_mut().filter(living()).filter(|pod| pod.restart == restart).count();
        if new == total {
            return false;
        }
        if new < wanted && total <= wanted {
            self.start_pod(revision, restart);
            return true;
        }
        let ready = pods.iter_mut().filter(living()).filter(|pod| pod.ready).count();
        let old = pods.iter_mut().filter(living()).filter(|pod| pod.restart != restart);
        // Those that are not ready go first.
        if let Some(pod) = old.min_by_key(|pod| pod.ready).filter(|pod| !pod.ready || ready > wanted) {
            pod.terminating = true;
            self.born.insert(pod.uid.clone(), now);
        }
        true
    }

    /// All old ones go before a new one comes; true while any is there.
    fn recreate(&mut self, revision: i64, restart: i64) -> bool {
        let now = self.now;
        let old = |pod: &&mut Pod| pod.revision == revision && pod.restart != restart;
        for pod in self.observed.pods.iter_mut().filter(old).filter(|pod| !pod.terminating) {
            pod.terminating = true;
            self.born.insert(pod.uid.clone(), now);
        }
        self.observed.pods.iter().any(|pod| pod.revision == revision && pod.restart != restart)
    }

    pub(crate) fn start_pod(&mut self, revision: i64, restart: i64) {
        let uid = self.uid();
        self.next_ip += 1;
        let [_, b, c, d] = self.next_ip.to_be_bytes();
        self.born.insert(uid.clone(), self.now);
        self.observed.pods.push(Pod {
            name: format!("order-r{revision}-{uid}"),
            uid,
            revision,
            restart,
            ip: Some(IpAddr::V4(Ipv4Addr::new(10, b, c, d))),
            ready: false,
            terminating: false,
            rejected: None,
            unschedulable: None,
            containers: vec![Container { name: "app".into(), ..Container::default() }],
            image_id: None,
            sidecar: SidecarView::default(),
        });
    }

    fn image_of(&self, revision: i64) -> String {
        let stored = self.observed.revisions.iter().find(|one| one.number == revision);
        stored.map_or("good".into(), |stored| stored.facts.image.clone())
    }

    pub(crate) fn age_pods(&mut self) {
        for at in 0..self.observed.pods.len() {
            let image = self.image_of(self.observed.pods[at].revision);
            let pod = &mut self.observed.pods[at];
            let age = self.now.duration_since(self.born[&pod.uid]);
            if pod.terminating {
                pod.ready = false;
                continue;
            }
            let started = age >= SignedDuration::from_millis(1500);
            let waits = |word: &str| Some((word.to_owned(), "as always".to_owned()));
            match image.split('-').next().unwrap_or_default() {
                "pull" => pod.containers[0].waiting = waits("ImagePullBackOff"),
                "crash" if started => {
                    pod.containers[0].restarts = 2;
                    pod.containers[0].last_exit = Some(1);
                    pod.containers[0].waiting = waits("CrashLoopBackOff");
                }
                "unready" => {}
                // Ready at first, lost after a while.
                "fades" => pod.ready = started && age < SignedDuration::from_secs(9),
                _ => pod.ready = started,
            }
            if started && image != "pull" && pod.image_id.is_none() {
                pod.image_id = Some(format!("registry/order@sha256:{image}"));
            }
            if self.sick.contains(&pod.uid) {
                pod.ready = false;
            }
        }
    }

    pub(crate) fn route(&mut self) {
        let users = self.observed.services.get(&ServiceKind::Users).and_then(|service| service.selects);
        self.observed.endpoints = self
            .observed
            .pods
            .iter()
            .filter(|pod| Some(pod.revision) == users && pod.ready && !pod.terminating)
            .map(|pod| pod.uid.clone())
            .collect();
        for pod in &mut self.observed.pods {
            let has_users = Some(pod.revision) == users;
            if has_users {
                self.left.insert(pod.revision, self.now);
            }
            let left = self.left.get(&pod.revision).copied();
            let lingers = left.is_some_and(|left| left + SignedDuration::from_secs(self.linger) >= self.now);
            let in_flight = i64::from(has_users || lingers);
            pod.sidecar.traffic = pod.ready.then_some(Traffic {
                at: self.now + self.skew,
                connections: in_flight,
                upgraded: 0,
                in_flight,
                idle_ms: Some(0),
            });
        }
    }
}
