//! Many ShopServices: made, changed, and watched until all of them are as wished.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use shop_crds::ShopService;
use shop_e2e::scenario::{Spec, active_image, is_stable};

/// The services are spread over so many namespaces.
const NAMESPACES: usize = 20;
/// Requests of this benchmark's own at the same time.
const PARALLEL: usize = 32;
/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(10);

/// How many, of a client with all rights.
pub(crate) struct Services {
    client: Client,
    count: usize,
    placement: Value,
}

impl Services {
    pub(crate) async fn new(client: Client, count: usize, placement: Value) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for number in 0..=NAMESPACES {
            let name = namespace(number);
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let params = PatchParams::apply("bench-scale");
            namespaces.patch(&name, &params, &Patch::Apply(object)).await.context("make a namespace")?;
        }
        Ok(Self { client, count, placement })
    }

    /// All of them have the image of this tag from now on.
    pub(crate) async fn apply_all(&self, tag: u8) -> Result<()> {
        let all =
            (0..self.count).map(|number| self.apply(number % NAMESPACES, format!("shop-{number}"), tag));
        stream::iter(all).buffer_unordered(PARALLEL).try_collect().await
    }

    /// One more, in a namespace of its own.
    pub(crate) async fn apply_bystander(&self, tag: u8) -> Result<()> {
        self.apply(NAMESPACES, "bystander".to_owned(), tag).await
    }

    async fn apply(&self, place: usize, name: String, tag: u8) -> Result<()> {
        let spec = Spec::smallest(tag).replicas(1).patch(json!({"pod": {"spec": self.placement}}));
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &namespace(place));
        let object = spec.object(&namespace(place), &name);
        let params = PatchParams::apply("bench-scale").force();
        api.patch(&name, &params, &Patch::Apply(object)).await.with_context(|| format!("apply {name}"))?;
        Ok(())
    }

    /// Waits until users of every service reach the image of this tag, and says how long it took from `since` on.
    pub(crate) async fn all_on(&self, tag: u8, since: Instant, within: Duration) -> Result<Duration> {
        let api: Api<ShopService> = Api::all(self.client.clone());
        let serves = |service: &ShopService| service.name_any() != "bystander" && serves(service, tag);
        self.until(&api, "services", self.count, serves, since, within).await
    }

    /// The same for the one in a namespace of its own.
    pub(crate) async fn bystander_on(&self, tag: u8, since: Instant, within: Duration) -> Result<Duration> {
        let api: Api<ShopService> = Api::namespaced(self.client.clone(), &namespace(NAMESPACES));
        self.until(&api, "bystander", 1, |service| serves(service, tag), since, within).await
    }

    /// Waits until no release runs any more.
    pub(crate) async fn all_stable(&self, within: Duration) -> Result<()> {
        let api: Api<ShopService> = Api::all(self.client.clone());
        let stable = |service: &ShopService| service.status.as_ref().is_some_and(is_stable);
        self.until(&api, "without a release", self.count + 1, stable, Instant::now(), within).await.map(drop)
    }

    async fn until(
        &self,
        api: &Api<ShopService>,
        what: &str,
        count: usize,
        wished: impl Fn(&ShopService) -> bool,
        since: Instant,
        within: Duration,
    ) -> Result<Duration> {
        let deadline = since + within;
        let (mut done, mut told) = (HashSet::new(), Instant::now());
        while Instant::now() < deadline {
            let list = api.list(&ListParams::default()).await.context("list the ShopServices")?;
            let mut version = list.metadata.resource_version.unwrap_or_default();
            list.items.iter().for_each(|service| note(&mut done, service, &wished));
            while done.len() < count && Instant::now() < deadline {
                let params = WatchParams::default().timeout(30);
                let Ok(watch) = api.watch(&params, &version).await else { break };
                let mut watch = std::pin::pin!(watch);
                while let Some(event) = watch.next().await {
                    match event {
                        Ok(WatchEvent::Added(service) | WatchEvent::Modified(service)) => {
                            version = service.resource_version().unwrap_or_default();
                            note(&mut done, &service, &wished);
                        }
                        Ok(_) => {}
                        Err(_) => break,
                    }
                    if told.elapsed() > TELL {
                        told = Instant::now();
                        eprintln!("{:>6} s  {} of {count} {what}", since.elapsed().as_secs(), done.len());
                    }
                    if done.len() >= count || Instant::now() > deadline {
                        break;
                    }
                }
            }
            if done.len() >= count {
                return Ok(since.elapsed());
            }
        }
        bail!("{} of {count} {what} after {} s", done.len(), within.as_secs())
    }
}

fn note(done: &mut HashSet<(String, String)>, service: &ShopService, wished: &impl Fn(&ShopService) -> bool) {
    let key = (service.namespace().unwrap_or_default(), service.name_any());
    if wished(service) {
        done.insert(key);
    } else {
        done.remove(&key);
    }
}

fn serves(service: &ShopService, tag: u8) -> bool {
    service.status.as_ref().is_some_and(|status| {
        active_image(status) == Some(Spec::image(tag).as_str()) && status.ready.as_deref() == Some("1/1")
    })
}

fn namespace(number: usize) -> String {
    format!("scale-{number}")
}
