//! Sidecars' counters for an analysis: read in the background, about once a second, while a plan wants them.
//!
//! A pass never waits for a sidecar here: it says what shall be counted, sees what has been, and is woken by each round.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use shop_contract::RevisionCounters;
use shop_release::{Counters, Ledger, Observed, Reading, Tally};
use tokio::task::AbortHandle;

use crate::{key::ServiceKey, sidecars::Sidecars};

/// Time between two rounds.
const PERIOD: Duration = Duration::from_secs(1);
/// Pods of a revision that are asked at most: a sample as good as all of them.
pub const MAX_PODS: usize = 64;

/// Pods whose sidecars are asked: by revision the uid and address of each.
pub type Pods = Vec<(i64, Vec<(String, IpAddr)>)>;

/// A reading of each pod that was asked, by revision and uid.
type Rounds = Vec<(i64, Vec<(String, Option<Reading>)>)>;

/// Counts for every service that wants it. Copies share it.
#[derive(Clone, Default)]
pub struct Counting {
    services: Arc<Mutex<HashMap<ServiceKey, Counted>>>,
}

struct Counted {
    ledger: Ledger,
    round: Option<AbortHandle>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(round) = &self.round {
            round.abort();
        }
    }
}

impl Counting {
    /// Has the next round begin for the analysis that began at `run`, unless one is under way; `done` is called at its end.
    pub fn want(
        &self,
        key: &ServiceKey,
        run: Timestamp,
        pods: Pods,
        sidecars: &Sidecars,
        done: Box<dyn FnOnce() + Send>,
    ) {
        let mut all = self.all();
        let first = all.get(key).is_none_or(|counted| counted.ledger.run() != run);
        if first {
            all.insert(key.clone(), Counted { ledger: Ledger::new(run), round: None });
        }
        let Some(counted) = all.get_mut(key).filter(|counted| counted.round.is_none()) else { return };
        let (counting, sidecars, key) = (self.clone(), sidecars.clone(), key.clone());
        let task = tokio::spawn(async move {
            if !first {
                tokio::time::sleep(PERIOD).await;
            }
            let mut rounds = Rounds::with_capacity(pods.len());
            for (revision, pods) in pods {
                let addresses: Vec<IpAddr> = pods.iter().map(|(_, ip)| *ip).collect();
                let answers = sidecars.stats(&addresses).await;
                let readings = pods.into_iter().zip(answers).map(|((uid, _), answer)| {
                    let told = answer.ok().and_then(|stats| {
                        let users = stats.window?;
                        Some(Reading {
                            users: counters(users),
                            mirrored: stats.mirrored.map(counters).unwrap_or_default(),
                            unanswered: u64::try_from(stats.lost).unwrap_or(0),
                        })
                    });
                    (uid, told)
                });
                rounds.push((revision, readings.collect::<Vec<_>>()));
            }
            counting.note(&key, run, &rounds);
            done();
        });
        counted.round = Some(task.abort_handle());
    }

    /// What has been counted for a service.
    pub fn tallies(&self, key: &ServiceKey) -> Vec<Tally> {
        self.all().get(key).map(|counted| counted.ledger.tallies()).unwrap_or_default()
    }

    /// Stops counting for a service.
    pub fn forget(&self, key: &ServiceKey) {
        self.all().remove(key);
    }

    /// Stops counting for all: the leadership is another one.
    pub fn clear(&self) {
        self.all().clear();
    }

    fn note(&self, key: &ServiceKey, run: Timestamp, rounds: &Rounds) {
        let mut all = self.all();
        let Some(counted) = all.get_mut(key).filter(|counted| counted.ledger.run() == run) else { return };
        counted.round = None;
        for (revision, readings) in rounds {
            counted.ledger.round(*revision, readings, Timestamp::now());
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ServiceKey, Counted>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ready pods of revisions, as many of each as are asked.
pub fn pods(observed: &Observed, revisions: &[i64]) -> Pods {
    let of = |revision: i64| {
        let ready =
            observed.pods.iter().filter(|pod| pod.revision == revision && pod.ready && !pod.terminating);
        let mut pods: Vec<(String, IpAddr)> =
            ready.filter_map(|pod| Some((pod.uid.clone(), pod.ip?))).collect();
        // The same ones each time: one that comes and goes would look lost.
        pods.sort_unstable();
        pods.truncate(MAX_PODS);
        pods
    };
    revisions.iter().map(|revision| (*revision, of(*revision))).collect()
}

fn counters(told: RevisionCounters) -> Counters {
    // Of another program: what cannot be calculated with is left out.
    let latency = Some(told.latency).filter(shop_contract::Histogram::is_sound);
    let (bounds_us, counts) =
        latency.map_or_else(Default::default, |latency| (latency.bounds_us, latency.counts));
    Counters { requests: told.requests, failures: told.failures, bounds_us, counts }
}
