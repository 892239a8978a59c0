//! Puts the parts together: watches, lease, queue, controller, events and the operator's own port.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::Tools,
    asks::Asks,
    authority::Authority,
    cache::{self, Cache},
    controller::{self, Controller},
    counting::Counting,
    events::Recorder,
    http::{self, HttpError, Probed},
    lease::Candidacy,
    metrics::{Metrics, MetricsError},
    policies,
    queue::Queue,
    render::{SidecarImage, Site},
    settings::Settings,
    sidecars::{Locate, Sidecars},
    signing::{Signer, SigningError},
    sources::Sources,
};

/// How often counts that only show are brought up to date.
const COUNT: Duration = Duration::from_secs(15);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The own port.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The signing key.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Runs the operator until `stop`, then gives the lease back.
///
/// `locate` says where a pod's sidecar is reached; `None`: at its address.
pub async fn run(
    settings: Settings,
    client: Client,
    locate: Option<Locate>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new()?);
    let (cache, queue) = (Arc::new(Cache::default()), Arc::new(Queue::default()));
    let on_change: cache::OnChange = {
        let (cache, queue) = (Arc::clone(&cache), Arc::clone(&queue));
        Arc::new(move |kind, touched| controller::enqueue(&cache, &queue, kind, touched))
    };
    let watches = cache::start(&client, &cache, &metrics, &on_change);
    let port = {
        let probed = Probed { metrics: Arc::clone(&metrics), synced: watches.synced() };
        tokio::spawn(http::serve(settings.listen, probed, stop.clone()))
    };
    let signer = tokio::select! {
        signer = load_signer(&client, &settings.namespace) => Arc::new(signer?),
        () = stop.cancelled() => return Ok(()),
    };
    tracing::info!(namespace = settings.namespace, "started; waiting for the caches");
    if stop.run_until_cancelled(watches.wait()).await.is_none() {
        return Ok(());
    }
    tracing::info!("the caches are filled");

    let highest = {
        let cache = Arc::clone(&cache);
        Arc::new(move || cache.highest_epoch())
    };
    let (candidacy, leadership) = Candidacy::new(
        client.clone(),
        &settings.namespace,
        &settings.pod_name,
        highest,
        Arc::clone(&metrics),
    );
    let (recorder, events) = Recorder::new(client.clone(), &settings.pod_name, Arc::clone(&metrics));
    let sidecars = match locate {
        None => Sidecars::new(signer, Arc::clone(&metrics)),
        Some(locate) => Sidecars::located(signer, Arc::clone(&metrics), locate),
    };
    let telling =
        tokio::spawn(policies::report(client.clone(), Arc::clone(&cache), leadership.clone(), stop.clone()));
    let tools = Tools {
        client: client.clone(),
        sidecars,
        sources: Arc::new(Sources::new(client.clone())),
        image: SidecarImage { image: settings.sidecar_image, pull_policy: settings.sidecar_pull_policy },
        metrics: Arc::clone(&metrics),
        asks: Asks::default(),
        counting: Counting::default(),
        queue: Arc::clone(&queue),
        authority: Arc::new(Authority::new(
            client,
            &settings.namespace,
            Arc::clone(&cache),
            leadership.clone(),
        )),
        leadership,
        site: Arc::new(Site {
            namespace: settings.namespace,
            monitoring: settings.monitoring_namespace,
            trust_domain: settings.trust_domain,
        }),
    };
    let controller = Arc::new(Controller::new(tools, Arc::clone(&cache), queue, events));

    // In this order when it ends: no pass is begun, then the lease is given back, then the rest.
    let (resign, end) = (CancellationToken::new(), CancellationToken::new());
    let candidate = tokio::spawn(candidacy.run(resign.clone()));
    let recording = tokio::spawn(recorder.run(end.clone()));
    let counting = tokio::spawn(count(cache, Arc::clone(&metrics), end.clone()));
    controller.run(settings.concurrency, stop.clone()).await;
    resign.cancel();
    let _ = candidate.await;
    end.cancel();
    let _ = tokio::join!(recording, counting, telling);
    watches.stop().await;
    tracing::info!("stopped");
    match port.await {
        Ok(served) => Ok(served?),
        Err(_) => Ok(()),
    }
}

// The API server may not be there yet when the pod starts.
async fn load_signer(client: &Client, namespace: &str) -> Result<Signer, SigningError> {
    let mut pause = Duration::from_millis(250);
    loop {
        match Signer::load(client.clone(), namespace).await {
            Err(SigningError::Api(error)) => {
                tracing::warn!(%error, "cannot read or make the signing key; trying again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(Duration::from_secs(10));
            }
            other => return other,
        }
    }
}

async fn count(cache: Arc<Cache>, metrics: Arc<Metrics>, end: CancellationToken) {
    loop {
        for (kind, count) in cache.counts() {
            metrics.cached.with_label_values(&[kind.as_str()]).set(count);
        }
        let ends = cache
            .certificates()
            .iter()
            .map(|(_, one)| (one.issued + shop_release::LIFETIME).as_second())
            .min();
        metrics.certificate_ends.set(ends.unwrap_or(0));
        if end.run_until_cancelled(tokio::time::sleep(COUNT)).await.is_none() {
            return;
        }
    }
}
