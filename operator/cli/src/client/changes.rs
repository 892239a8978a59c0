//! When to look again: watches tell that something has changed, and a clock where there is no watch.

use std::{future::ready, time::Duration};

use futures::{StreamExt as _, stream, stream::BoxStream};
use kube::{
    Api, Client,
    api::{WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use shop_crds::{ReleaseDecision, ShopService};
use tokio::time::sleep;

use super::{Cluster, ask};

/// Longest life of one watch, in seconds.
const LIFE: u32 = 290;
/// After so many watches in a row that could not be opened, none is tried any more: the right may be missing.
const TRIES: u8 = 3;
/// Longest time between two looks while a watch is open, should it miss something.
const CALM: Duration = Duration::from_secs(10);

/// Changes of a service, and of a decision about it.
pub struct Changes {
    client: Client,
    namespace: String,
    service: Option<String>,
    decision: Option<String>,
    poll: Duration,
    stream: Option<BoxStream<'static, bool>>,
    refused: u8,
    begun: bool,
}

impl Changes {
    pub(super) fn new(
        cluster: &Cluster,
        service: Option<&str>,
        decision: Option<&str>,
        poll: Duration,
    ) -> Self {
        Self {
            client: cluster.client.clone(),
            namespace: cluster.namespace.clone(),
            service: service.map(str::to_owned),
            decision: decision.map(str::to_owned),
            poll,
            stream: None,
            refused: 0,
            begun: false,
        }
    }

    /// Returns when it is worth looking again, the first time at once. After `trouble` the clock alone counts.
    pub async fn next(&mut self, trouble: bool) {
        if !std::mem::replace(&mut self.begun, true) {
            return;
        }
        if self.stream.is_none() && self.refused < TRIES {
            self.open().await;
        }
        let Some(stream) = self.stream.as_mut().filter(|_| !trouble) else {
            return sleep(self.poll).await;
        };
        tokio::select! {
            more = stream.next() => if more != Some(true) {
                self.stream = None;
                sleep(self.poll).await;
            },
            () = sleep(CALM) => {}
        }
    }

    async fn open(&mut self) {
        let (client, namespace) = (self.client.clone(), &self.namespace);
        let mut streams = Vec::new();
        if let Some(name) = &self.service {
            streams.push(watched(&Api::<ShopService>::namespaced(client.clone(), namespace), name).await);
        }
        if let Some(name) = &self.decision {
            streams.push(watched(&Api::<ReleaseDecision>::namespaced(client, namespace), name).await);
        }
        let opened: Option<Vec<_>> = streams.into_iter().collect();
        self.refused = if opened.is_some() { 0 } else { self.refused + 1 };
        // The end of one is told as `false`: then both are opened anew.
        self.stream = opened.map(|streams| {
            stream::select_all(streams.into_iter().map(|one| one.chain(stream::iter([false])).boxed()))
                .boxed()
        });
    }
}

/// `true` for each change of the object; the one that it begins with counts, because it may be news.
async fn watched<K>(api: &Api<K>, name: &str) -> Option<BoxStream<'static, bool>>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + 'static,
{
    let query = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(LIFE);
    let events = ask("watch", api.watch_metadata(&query, "0")).await.ok()?;
    let told = events.filter_map(|event| {
        ready(match event {
            Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_)) => Some(true),
            Ok(WatchEvent::Bookmark(_)) => None,
            Ok(WatchEvent::Error(_)) | Err(_) => Some(false),
        })
    });
    Some(told.boxed())
}
