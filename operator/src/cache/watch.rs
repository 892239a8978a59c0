//! The watches that fill the cache: one task each, which never ends by itself.
//!
//! A watch that breaks is resumed where it was, or begun anew, with a growing pause. Nothing is listed again while all is well.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::{
    Api, Client, Resource,
    core::{DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use shop_crds::names::LABEL_SERVICE;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Cache, Kind, Touched, is_sidecar_config, kind::label};
use crate::{
    metrics::{self, Metrics},
    render::{COMPONENT_SIDECAR_CONFIG, LABEL_COMPONENT},
};

/// Is told which services an arriving object touched. The kind is that of the object.
pub type OnChange = Arc<dyn Fn(Kind, Touched) + Send + Sync>;

/// Watches that run.
pub struct Watches {
    tasks: JoinSet<()>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    missing: AtomicUsize,
    changed: Notify,
}

impl Watches {
    /// Whether every watch has shown everything once; a function, so that probes can ask it.
    pub fn synced(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let progress = Arc::clone(&self.progress);
        Arc::new(move || progress.missing.load(Ordering::Acquire) == 0)
    }

    /// Returns when every watch has shown everything once.
    pub async fn wait(&self) {
        loop {
            let changed = self.progress.changed.notified();
            if self.progress.missing.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Ends all watches.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Begins to watch everything the operator works with.
pub fn start(client: &Client, cache: &Arc<Cache>, metrics: &Arc<Metrics>, on_change: &OnChange) -> Watches {
    let progress = Arc::<Progress>::default();
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    let mut begin = |kind: Kind, of: fn(&BTreeMap<String, String>) -> bool, run: RunWatch| {
        progress.missing.fetch_add(1, Ordering::AcqRel);
        let sink = Sink {
            kind,
            of,
            cache: Arc::clone(cache),
            metrics: Arc::clone(metrics),
            on_change: Arc::clone(on_change),
            progress: Arc::clone(&progress),
            synced: false,
            seen: HashSet::new(),
        };
        let (client, stop) = (client.clone(), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(run(client, sink)).await.unwrap_or_default() });
    };
    for kind in [Kind::ShopService, Kind::ReleaseDecision, Kind::ShopPolicy, Kind::FaultPolicy] {
        begin(kind, |_| true, Box::new(move |client, sink| Box::pin(whole(client, config(), sink))));
    }
    for kind in [
        Kind::Deployment,
        Kind::ControllerRevision,
        Kind::Service,
        Kind::PodDisruptionBudget,
        Kind::NetworkPolicy,
        Kind::Job,
        Kind::Pod,
        Kind::EndpointSlice,
    ] {
        let config = config().labels(LABEL_SERVICE);
        begin(kind, |_| true, Box::new(move |client, sink| Box::pin(whole(client, config, sink))));
    }
    let documents = config().labels(&format!("{LABEL_SERVICE},{LABEL_COMPONENT}={COMPONENT_SIDECAR_CONFIG}"));
    begin(
        Kind::ConfigMap,
        is_sidecar_config,
        Box::new(move |client, sink| Box::pin(whole(client, documents, sink))),
    );
    // Of users' ConfigMaps and Secrets, and of our copies, the metadata only: contents are read when a revision is cut.
    begin(
        Kind::ConfigMap,
        |labels| !is_sidecar_config(labels),
        Box::new(|client, sink| Box::pin(metadata::<ConfigMap>(client, config(), sink))),
    );
    begin(
        Kind::Secret,
        |_| true,
        Box::new(|client, sink| Box::pin(metadata::<Secret>(client, config(), sink))),
    );
    let accounts = config().labels(LABEL_SERVICE);
    begin(
        Kind::ServiceAccount,
        |_| true,
        Box::new(move |client, sink| Box::pin(metadata::<ServiceAccount>(client, accounts, sink))),
    );
    Watches { tasks, progress }
}

type RunWatch = Box<dyn FnOnce(Client, Sink) -> futures::future::BoxFuture<'static, ()> + Send>;

fn config() -> watcher::Config {
    watcher::Config::default().page_size(500)
}

async fn whole(client: Client, config: watcher::Config, sink: Sink) {
    let api: Api<DynamicObject> = Api::all_with(client, &sink.kind.resource());
    follow(api, config, sink, |object| object).await;
}

async fn metadata<K>(client: Client, config: watcher::Config, sink: Sink)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client);
    follow(api, config, sink, |object| DynamicObject {
        types: None,
        metadata: object.metadata,
        data: serde_json::Value::Null,
    })
    .await;
}

async fn follow<K>(api: Api<K>, config: watcher::Config, mut sink: Sink, convert: fn(K) -> DynamicObject)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => sink.take(event, convert),
            Err(error) => {
                metrics::count(&sink.metrics.watch_errors, &[sink.kind.as_str()]);
                tracing::warn!(kind = sink.kind.as_str(), %error, "a watch broke; it is begun again");
            }
        }
    }
}

struct Sink {
    kind: Kind,
    // Which objects of the kind this watch shows.
    of: fn(&BTreeMap<String, String>) -> bool,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    on_change: OnChange,
    progress: Arc<Progress>,
    synced: bool,
    seen: HashSet<(String, String)>,
}

impl Sink {
    fn take<K>(&mut self, event: Event<K>, convert: fn(K) -> DynamicObject) {
        let touched = match event {
            Event::Init => {
                self.seen.clear();
                return;
            }
            Event::InitApply(object) => {
                let object = convert(object);
                if let (Some(namespace), Some(name)) = (&object.metadata.namespace, &object.metadata.name) {
                    self.seen.insert((namespace.clone(), name.clone()));
                }
                self.apply(&object)
            }
            Event::InitDone => {
                let touched = self.cache.replaced(self.kind, &self.seen, self.of);
                self.seen = HashSet::new();
                if !std::mem::replace(&mut self.synced, true) {
                    self.progress.missing.fetch_sub(1, Ordering::AcqRel);
                    self.progress.changed.notify_waiters();
                }
                touched
            }
            Event::Apply(object) => self.apply(&convert(object)),
            Event::Delete(object) => {
                let object = convert(object);
                if self.shows(&object) {
                    self.cache.delete(self.kind, &object.metadata)
                } else {
                    Touched::new()
                }
            }
        };
        if !touched.is_empty() {
            (self.on_change)(self.kind, touched);
        }
    }

    fn apply(&self, object: &DynamicObject) -> Touched {
        if self.shows(object) { self.cache.apply(self.kind, object) } else { Touched::new() }
    }

    // Two watches show ConfigMaps; each object is taken from one of them.
    fn shows(&self, object: &DynamicObject) -> bool {
        self.kind != Kind::ConfigMap
            || label(&object.metadata, LABEL_SERVICE).is_none()
            || (self.of)(object.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()))
    }
}
