//! The loop: for each service that is due, observe, plan, apply, report.

mod census;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use shop_crds::{FaultPolicySpec, ShopServiceStatus, Verb, status::Phase};
use shop_release::{FaultPolicy, Observed, Subject, faults};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    adoption,
    apply::{Application, Applied, ApplyError, Tools},
    cache::{Cache, Entry, Kind, Shop, Touched},
    counting,
    events::{Events, Told},
    key::ServiceKey,
    memory::{Memories, Memory, OwnWrite},
    metrics,
    observe::{self, Sight},
    queue::{Due, Queue, Urgency},
    render::Owner,
};
use census::Census;

/// Longest pass. What it has written counts; the rest is planned anew.
const PASS_DEADLINE: Duration = Duration::from_secs(30);
/// How long own writes may stay unseen before the object itself is asked for.
const UNSEEN: Duration = Duration::from_secs(5);
/// Longest wait for what came of a write that was not answered.
const DOUBT: Duration = Duration::from_secs(1);
/// How long a service is left alone whose namespace is being deleted.
const LEAVING: Duration = Duration::from_secs(10);
/// How often a taken name is looked at again.
const TAKEN: Duration = Duration::from_secs(5);

/// Works through the queue while this process leads.
pub struct Controller {
    /// What plans are carried out with.
    pub tools: Tools,
    /// What is known of the cluster.
    pub cache: Arc<Cache>,
    /// What is due.
    pub queue: Arc<Queue>,
    /// Where events go.
    pub events: Events,
    memories: Memories,
    census: Census,
}

/// What came of a pass.
#[derive(Debug)]
enum Outcome {
    /// There is no ShopService of that name, or none that can be read.
    Gone,
    /// Own writes are not shown yet.
    Stale,
    /// There were too many writes of late.
    Paced(Duration),
    /// The plan was carried out.
    Done { applied: Applied, requeue: Option<Duration>, urgency: Urgency },
    /// It was not.
    Failed { error: ApplyError, urgency: Urgency },
}

impl Controller {
    /// A controller that has seen nothing yet.
    pub fn new(tools: Tools, cache: Arc<Cache>, queue: Arc<Queue>, events: Events) -> Self {
        let census = Census::new(Arc::clone(&tools.metrics));
        Self { tools, cache, queue, events, memories: Memories::default(), census }
    }

    /// Leads whenever this process may, until `stop`; passes that have begun then are finished.
    pub async fn run(self: Arc<Self>, workers: u16, stop: CancellationToken) {
        let mut leadership = self.tools.leadership.clone();
        while let Some(Some(epoch)) = stop.run_until_cancelled(leadership.gained()).await {
            self.memories.clear();
            self.tools.asks.clear();
            self.tools.counting.clear();
            self.census.clear();
            for key in self.cache.keys() {
                let urgency = self.cache.entry(&key).map_or(Urgency::Routine, |entry| urgency(&entry));
                self.queue.add(key, urgency.max(Urgency::Release));
            }
            let resign = stop.child_token();
            let mut crew = JoinSet::new();
            for _ in 0..workers {
                let (controller, resign) = (Arc::clone(&self), resign.clone());
                crew.spawn(async move { controller.work(epoch, resign).await });
            }
            stop.run_until_cancelled(leadership.lost(epoch)).await;
            // A pass asks for the leadership before each write: those that run end by themselves.
            resign.cancel();
            while crew.join_next().await.is_some() {}
            self.census.clear();
        }
    }

    async fn work(&self, epoch: i64, resign: CancellationToken) {
        while let Some(due) = resign.run_until_cancelled(self.queue.next()).await {
            self.pass(epoch, &due).await;
            self.queue.done(&due.key);
        }
    }

    async fn pass(&self, epoch: i64, due: &Due) {
        let key = &due.key;
        self.tools.metrics.queue_wait.observe(due.since.elapsed().as_secs_f64());
        for urgency in Urgency::ALL {
            let depth = i64::try_from(self.queue.depth(urgency)).unwrap_or(i64::MAX);
            self.tools.metrics.queue_depth.with_label_values(&[urgency.as_str()]).set(depth);
        }
        let began = Instant::now();
        let mut memory = self.memories.take(key);
        // Boxed: the state of a pass is large, and every worker would hold it while it waits.
        let reconcile = Box::pin(self.reconcile(epoch, key, &mut memory));
        let outcome = timeout(PASS_DEADLINE, reconcile).await;
        self.tools.metrics.took("total", began.elapsed());
        let word = match &outcome {
            Err(_) => "timeout",
            Ok(Outcome::Gone) => "gone",
            Ok(Outcome::Stale) => "stale",
            Ok(Outcome::Paced(_)) => "paced",
            Ok(Outcome::Done { applied, .. }) if applied.writes == 0 => "idle",
            Ok(Outcome::Done { .. }) => "written",
            Ok(Outcome::Failed { error: ApplyError::Conflict(_), .. }) => "conflict",
            Ok(Outcome::Failed { .. }) => "failed",
        };
        metrics::count(&self.tools.metrics.plans, &[word]);
        self.come_back(key, &mut memory, outcome.ok());
        if self.cache.entry(key).is_some_and(|entry| entry.shop.is_some()) {
            self.memories.put(key.clone(), memory);
        } else {
            self.queue.forget(key);
            self.tools.asks.forget(key);
            self.tools.counting.forget(key);
            self.census.forget(key);
        }
    }

    // When to look at the service again. Nothing here is sooner than a pause after a failure.
    fn come_back(&self, key: &ServiceKey, memory: &mut Memory, outcome: Option<Outcome>) {
        let now = Instant::now();
        match outcome {
            Some(Outcome::Gone | Outcome::Failed { error: ApplyError::NotLeading, .. }) => {}
            // The watch brings it back; this is for a watch that hangs.
            Some(Outcome::Stale) => {
                self.queue.add_at(key.clone(), Urgency::Routine, now + Duration::from_secs(1));
            }
            Some(Outcome::Paced(pause)) => {
                tracing::warn!(shop = %key, "too many writes in a row; somebody may be undoing them");
                self.queue.add_at(key.clone(), Urgency::Routine, now + pause);
            }
            Some(Outcome::Done { applied, requeue, urgency }) => {
                memory.succeeded();
                if applied.learnt {
                    self.queue.add(key.clone(), urgency);
                } else if let Some(requeue) = requeue {
                    self.queue.add_at(key.clone(), urgency, now + requeue.max(Duration::from_millis(20)));
                }
                // Objects of others are not watched.
                if !memory.taken.is_empty() {
                    self.queue.add_at(key.clone(), urgency, now + TAKEN);
                }
            }
            Some(Outcome::Failed { error: ApplyError::Leaving, .. }) => {
                tracing::debug!(shop = %key, "the namespace is being deleted");
                memory.leave_alone(now + LEAVING);
                self.queue.add_at(key.clone(), Urgency::Routine, now + LEAVING);
            }
            Some(Outcome::Failed { error, urgency }) => {
                let pause = memory.failed();
                tracing::info!(shop = %key, %error, pause_ms = pause.as_secs_f64() * 1e3, "a write failed; planned again after a pause");
                self.queue.add_at(key.clone(), urgency, now + pause);
            }
            None => {
                let pause = memory.failed();
                tracing::warn!(shop = %key, "a pass took longer than {PASS_DEADLINE:?}; planned again after a pause");
                self.queue.add_at(key.clone(), Urgency::Change, now + pause);
            }
        }
    }

    async fn reconcile(&self, epoch: i64, key: &ServiceKey, memory: &mut Memory) -> Outcome {
        let Some(entry) = self.cache.entry(key) else { return Outcome::Gone };
        let Some(shop) = entry.shop.clone() else { return Outcome::Gone };
        let now = Instant::now();
        if memory.is_left_alone(now) {
            return Outcome::Gone;
        }
        if let Some(pause) = memory.breather(now) {
            return Outcome::Paced(pause);
        }
        if !self.is_shown(key, &entry, memory).await {
            return Outcome::Stale;
        }
        let (spec, status) = match &shop.content {
            Ok(content) => content.clone(),
            Err(error) => {
                if memory.unreadable.replace(shop.resource_version.clone()).as_ref()
                    != Some(&shop.resource_version)
                {
                    tracing::error!(shop = %key, error, "this ShopService cannot be read and is left as it is; upgrade the operator, or correct the spec");
                }
                return Outcome::Gone;
            }
        };
        let subject = subject(key, &shop, spec, epoch);
        let owner = Owner {
            namespace: key.namespace.clone(),
            service: key.name.clone(),
            uid: shop.uid.clone(),
            epoch,
        };
        let push_key = self.tools.sidecars.public_key();
        let site = &self.tools.site;
        let sight = Sight { owner: &owner, subject: &subject, entry: &entry, push_key: &push_key, site };

        let began = Instant::now();
        self.look_again_at_taken(&owner, memory).await;
        let mut observed = sight.observed(memory);
        observed.strangers = adoption::look(&self.tools.client, &sight, &observed, &status).await;
        observed.sources = self.tools.sources.find(&self.cache, &key.namespace, &subject.spec).await;
        observed.answers = self.tools.asks.answers(&owner.uid);
        self.count(key, &subject, &status, &mut observed);
        observed.policies = self.cache.policies().of(&key.namespace).iter().map(|one| one.seen()).collect();
        observed.faults = self.faults(key, &shop);
        observed.neighbours = self.cache.neighbours(key);
        if shop_release::asks_for_tls(&subject.spec, &observed) {
            observed.authority = self.tools.authority.view(epoch).await;
        }
        observe::ask_traffic(&self.tools.sidecars, &mut observed, &status, memory).await;
        self.tools.metrics.took("observe", began.elapsed());

        let began = Instant::now();
        let plan = shop_release::plan(&subject, &observed, &status, Timestamp::now());
        self.tools.metrics.took("plan", began.elapsed());

        let began = Instant::now();
        let application = Application::new(&self.tools, &sight, &observed, memory);
        let (applied, result) = application.run(&status, &plan).await;
        if applied.writes > 0 {
            self.tools.metrics.took("apply", began.elapsed());
            memory.spend(Instant::now());
        }
        self.census.note(key, &plan.status);
        let urgency = urgency_of(&plan.status);
        // Told even when a later write failed: the status that holds the reason was written first.
        if result.is_ok() || applied.writes > 0 {
            self.report(key, &shop, &plan);
        }
        match result {
            Ok(()) => Outcome::Done { applied, requeue: plan.requeue, urgency },
            Err(error) => Outcome::Failed { error, urgency },
        }
    }

    // What has been counted for the analysis that runs, and the next round of it.
    fn count(
        &self,
        key: &ServiceKey,
        subject: &Subject,
        status: &ShopServiceStatus,
        observed: &mut Observed,
    ) {
        let counting = &self.tools.counting;
        let Some((run, revisions)) = shop_release::counting(&subject.spec, status) else {
            counting.forget(key);
            return;
        };
        let (queue, woken) = (Arc::clone(&self.queue), key.clone());
        let done = Box::new(move || queue.add(woken, Urgency::Release));
        counting.want(key, run, counting::pods(observed, &revisions), &self.tools.sidecars, done);
        observed.tallies = counting.tallies(key);
    }

    /// FaultPolicies that name the service.
    fn faults(&self, key: &ServiceKey, shop: &Shop) -> Vec<FaultPolicy> {
        let named = |spec: &FaultPolicySpec| faults::selects(spec, &key.name, &shop.labels);
        let of_namespace = self.cache.faults().of(&key.namespace);
        let own = of_namespace.iter().filter(|known| known.spec.as_ref().is_ok_and(named));
        own.map(|known| known.seen()).collect()
    }

    fn report(&self, key: &ServiceKey, shop: &Shop, plan: &shop_release::Plan) {
        for event in &plan.events {
            tracing::info!(shop = %key, reason = event.reason.as_str(), warning = event.warning, "{}", event.message);
            self.events.tell(Told { key: key.clone(), uid: shop.uid.clone(), event: event.clone() });
        }
    }

    // Whether the cache shows every write of ours. One that stays unseen is asked for: its object may be gone.
    async fn is_shown(&self, key: &ServiceKey, entry: &Entry, memory: &mut Memory) -> bool {
        let now = Instant::now();
        if !self.is_certain(key, entry, memory).await {
            return false;
        }
        let mut unseen = std::mem::take(&mut memory.unseen);
        unseen.retain(|write| !write.is_shown(entry));
        for write in unseen {
            let overdue = now.duration_since(write.at) > UNSEEN;
            if !overdue || self.exists(&key.namespace, write.kind, &write.name).await {
                memory.unseen.push(write);
            }
        }
        memory.unseen.is_empty()
    }

    // What came of a write that was not answered is asked for; what is there then must be shown before the next plan is made. A plan
    // from before a write of ours that was made after all could send users to pods that it took away.
    async fn is_certain(&self, key: &ServiceKey, entry: &Entry, memory: &mut Memory) -> bool {
        let Some((kind, name)) = memory.doubt.clone() else { return true };
        let api: kube::Api<kube::core::DynamicObject> =
            kube::Api::namespaced_with(self.tools.client.clone(), &key.namespace, &kind.resource());
        let Ok(Ok(found)) = tokio::time::timeout(DOUBT, api.get_metadata_opt(&name)).await else {
            return false;
        };
        memory.doubt = None;
        let owner = entry.shop.as_ref().map(|shop| shop.uid.as_str());
        let is_ours = |found: &kube::core::PartialObjectMeta<kube::core::DynamicObject>| {
            let mut owners = found.metadata.owner_references.iter().flatten();
            matches!(kind, Kind::ShopService | Kind::ReleaseDecision)
                || owners.any(|one| Some(one.uid.as_str()) == owner)
        };
        if found.as_ref().is_some_and(|found| !is_ours(found)) {
            // Of somebody else: the cache does not show it, and nothing was written.
            return true;
        }
        let shown = entry.version(kind, &name).map(|(uid, _)| uid.to_owned());
        let (uid, version) = match found {
            Some(found) => (found.metadata.uid, Some(found.metadata.resource_version.unwrap_or_default())),
            None => (shown, None),
        };
        let at = Instant::now();
        memory.unseen.push(OwnWrite { kind, name, uid: uid.unwrap_or_default(), version, at });
        true
    }

    async fn exists(&self, namespace: &str, kind: Kind, name: &str) -> bool {
        let api: kube::Api<kube::core::DynamicObject> =
            kube::Api::namespaced_with(self.tools.client.clone(), namespace, &kind.resource());
        !matches!(api.get_metadata_opt(name).await, Ok(None))
    }

    // A taken name is free again when its object is gone, or has become ours.
    async fn look_again_at_taken(&self, owner: &Owner, memory: &mut Memory) {
        let due: Vec<_> = memory
            .taken
            .iter()
            .filter(|(_, seen)| seen.elapsed() >= TAKEN)
            .map(|(object, _)| object.clone())
            .collect();
        for object in due {
            let resource = observe::watched(&object).resource();
            let api: kube::Api<kube::core::DynamicObject> =
                kube::Api::namespaced_with(self.tools.client.clone(), &owner.namespace, &resource);
            match api.get_opt(&object.name).await {
                Ok(Some(live)) if !observe::is_owned(&crate::cache::Held::of(&live), &owner.uid) => {
                    memory.taken.insert(object, Instant::now());
                }
                Ok(_) => drop(memory.taken.remove(&object)),
                Err(error) => tracing::debug!(%error, name = object.name, "cannot look at a taken name"),
            }
        }
    }
}

/// Puts touched services into the queue.
pub fn enqueue(cache: &Cache, queue: &Queue, kind: Kind, touched: Touched) {
    for key in touched {
        let urgency = cache.entry(&key).map_or(Urgency::Change, |entry| urgency(&entry));
        // A release's own objects are as urgent as the release; anything else is a change.
        let urgency = if kind == Kind::ReleaseDecision { urgency.min(Urgency::Release) } else { urgency };
        queue.add(key, urgency);
    }
}

fn urgency(entry: &Entry) -> Urgency {
    let undo = entry.decisions.values().any(|decision| {
        matches!(decision.spec.verb, Verb::Abort | Verb::Rollback)
            && decision.status.as_ref().is_none_or(|status| status.outcome.is_none())
    });
    if undo {
        return Urgency::Abort;
    }
    match entry.shop.as_ref().map(|shop| &shop.content) {
        Some(Ok((_, status))) => urgency_of(status),
        _ => Urgency::Change,
    }
}

fn urgency_of(status: &ShopServiceStatus) -> Urgency {
    match status.phase {
        Some(Phase::Aborting) => Urgency::Abort,
        None | Some(Phase::Stable) => Urgency::Change,
        Some(_) => Urgency::Release,
    }
}

fn subject(key: &ServiceKey, shop: &Shop, spec: shop_crds::ShopServiceSpec, epoch: i64) -> Subject {
    Subject {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: shop.uid.clone(),
        generation: shop.generation,
        resource_version: shop.resource_version.clone(),
        deleting: shop.deleting,
        spec,
        leader_epoch: epoch,
    }
}
