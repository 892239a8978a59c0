//! Leadership: of several operators one acts, the others stand by with filled caches.
//!
//! The lock is a `coordination.k8s.io` Lease, written only under the resourceVersion that was read. Each leadership has an *epoch*,
//! one more than the highest found anywhere; it is stamped on what the leader touches, so that a late write of an older leader
//! fails. A leader that cannot renew in time stops by its own clock, before anybody else can follow.

mod decide;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use shop_crds::names::{ANNOTATION_LEADER_EPOCH, FIELD_MANAGER};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use decide::{Observer, Step, View};

/// Name of the Lease.
pub const LEASE: &str = "shopkeeper";
/// How long a leadership lasts without being renewed.
const DURATION: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// A leader stops this long before others may follow.
const MARGIN: Duration = Duration::from_secs(2);
/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why the lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server does not answer in time.
    #[error("the API server did not answer about the lease within {TIMEOUT:?}")]
    Timeout(#[from] tokio::time::error::Elapsed),
    /// The API server refuses.
    #[error("lease: {0}")]
    Api(#[from] kube::Error),
}

/// One leadership, as long as it lasts without being renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    epoch: i64,
    until: Instant,
}

/// Tells whether this process leads. Cheap to ask, and asked before every write.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Term>>);

impl Leadership {
    /// The epoch, as long as this process leads.
    pub fn epoch(&self) -> Option<i64> {
        self.0.borrow().filter(|term| Instant::now() < term.until).map(|term| term.epoch)
    }

    /// Whether the leadership with this epoch still lasts.
    pub fn holds(&self, epoch: i64) -> bool {
        self.epoch() == Some(epoch)
    }

    /// Returns when this process leads, with the epoch; `None` when it never will.
    pub async fn gained(&mut self) -> Option<i64> {
        let term = self.0.wait_for(|term| term.is_some_and(|term| Instant::now() < term.until)).await.ok()?;
        term.map(|term| term.epoch)
    }

    /// Returns when the leadership with this epoch has ended.
    pub async fn lost(&mut self, epoch: i64) {
        loop {
            let term = *self.0.borrow_and_update();
            let Some(term) = term.filter(|term| term.epoch == epoch && Instant::now() < term.until) else {
                return;
            };
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(term.until) => {}
            }
        }
    }
}

/// Competes for the lease.
pub struct Candidacy {
    api: Api<Lease>,
    me: String,
    // The highest epoch found elsewhere: statuses, Services, ConfigMaps.
    highest: Arc<dyn Fn() -> i64 + Send + Sync>,
    metrics: Arc<Metrics>,
    term: watch::Sender<Option<Term>>,
    observer: Observer,
}

impl Candidacy {
    /// A candidacy of this pod's process.
    pub fn new(
        client: Client,
        namespace: &str,
        pod: &str,
        highest: Arc<dyn Fn() -> i64 + Send + Sync>,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership) {
        let (term, receiver) = watch::channel(None);
        let me = format!("{pod}_{:08x}", rand::random::<u32>());
        let api = Api::namespaced(client, namespace);
        (Self { api, me, highest, metrics, term, observer: Observer::default() }, Leadership(receiver))
    }

    /// Competes, and renews, until `stop`; then gives the lease back.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            let pause = match self.pass().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "cannot read or renew the lease; trying again");
                    jittered(Duration::from_secs(1))
                }
            };
            self.expire();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause.saturating_sub(began.elapsed())) => {}
            }
        }
        if let Err(error) = self.give_back().await {
            tracing::warn!(%error, "cannot give the lease back; it ends by itself after {DURATION:?}");
        }
        self.end();
    }

    /// One look at the lease, and one write at most; says when to look again.
    async fn pass(&mut self) -> Result<Duration, LeaseError> {
        let now = Instant::now();
        let lease = timeout(TIMEOUT, self.api.get_opt(LEASE)).await??;
        let view = lease.as_ref().map(View::of);
        let unchanged = self.observer.unchanged_for(view.as_ref(), now);
        match decide::step(view.as_ref(), &self.me, unchanged) {
            Step::Create => {
                let epoch = 1 + (self.highest)();
                timeout(TIMEOUT, self.api.create(&post(), &self.written(None, epoch))).await??;
                self.begin(epoch, now);
            }
            Step::Take => {
                let epoch = 1 + (self.highest)().max(view.map_or(0, |view| view.epoch));
                timeout(TIMEOUT, self.api.replace(LEASE, &post(), &self.written(lease.as_ref(), epoch)))
                    .await??;
                self.begin(epoch, now);
            }
            Step::Renew(epoch) => {
                timeout(TIMEOUT, self.api.replace(LEASE, &post(), &self.written(lease.as_ref(), epoch)))
                    .await??;
                self.begin(epoch, now);
            }
            Step::Wait => {
                self.end();
                return Ok(jittered(Duration::from_millis(1_500)));
            }
        }
        Ok(RENEW)
    }

    fn begin(&self, epoch: i64, asked: Instant) {
        let term = Term { epoch, until: asked + DURATION.saturating_sub(MARGIN) };
        let before = self.term.send_replace(Some(term));
        if before.is_none_or(|before| before.epoch != epoch) {
            tracing::info!(epoch, identity = self.me, "leads now");
        }
        self.metrics.leader.set(1);
        self.metrics.leader_epoch.set(epoch);
    }

    fn end(&self) {
        if self.term.send_replace(None).is_some() {
            tracing::warn!(identity = self.me, "leads no longer");
        }
        self.metrics.leader.set(0);
        self.metrics.leader_epoch.set(0);
    }

    fn expire(&self) {
        let over = self.term.borrow().is_some_and(|term| Instant::now() >= term.until);
        if over {
            self.end();
        }
    }

    async fn give_back(&mut self) -> Result<(), LeaseError> {
        if self.term.borrow().is_none() {
            return Ok(());
        }
        let Some(mut lease) = timeout(TIMEOUT, self.api.get_opt(LEASE)).await?? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.me) {
            return Ok(());
        }
        spec.holder_identity = None;
        timeout(TIMEOUT, self.api.replace(LEASE, &post(), &lease)).await??;
        Ok(())
    }

    fn written(&self, before: Option<&Lease>, epoch: i64) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let mine = old.holder_identity.as_deref() == Some(&self.me);
        let mut metadata = before.map_or_else(
            || ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
            |lease| lease.metadata.clone(),
        );
        metadata.managed_fields = None;
        metadata
            .annotations
            .get_or_insert_default()
            .insert(ANNOTATION_LEADER_EPOCH.to_owned(), epoch.to_string());
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                acquire_time: if mine { old.acquire_time.clone() } else { Some(now.clone()) },
                renew_time: Some(now),
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: Some(old.lease_transitions.unwrap_or(0).saturating_add(i32::from(!mine))),
                ..old
            }),
        }
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.7..1.3))
}
