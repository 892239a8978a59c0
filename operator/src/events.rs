//! Kubernetes events about ShopServices: for people, never for machines. Losing one costs nothing but the message.
//!
//! Recording happens beside the work, through a bounded queue. The same event again raises the count of the first.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use shop_crds::names::FIELD_MANAGER;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    key::ServiceKey,
    metrics::{self, Metrics},
};

/// Events that wait to be recorded.
const WAITING: usize = 512;
/// Events that are remembered to be counted.
const REMEMBERED: usize = 2_048;
/// Longest note that the API server takes.
const MAX_NOTE: usize = 1_024;
/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is told, and about whom.
#[derive(Clone, Debug)]
pub struct Told {
    /// The service.
    pub key: ServiceKey,
    /// Its uid.
    pub uid: String,
    /// What.
    pub event: shop_release::Event,
}

/// Takes events.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<Told>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Takes an event; drops it when too many wait.
    pub fn tell(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            metrics::count(&self.metrics.events, &["dropped"]);
        }
    }
}

/// Records events.
pub struct Recorder {
    client: Client,
    pod: String,
    metrics: Arc<Metrics>,
    receiver: mpsc::Receiver<Told>,
    // Name and count of what was recorded, by service, reason and note.
    recorded: HashMap<(String, String, String), (String, i32)>,
    number: u64,
}

impl Recorder {
    /// A recorder, and the end that takes events.
    pub fn new(client: Client, pod: &str, metrics: Arc<Metrics>) -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let events = Events { sender, metrics: Arc::clone(&metrics) };
        let recorded = HashMap::new();
        (Self { client, pod: pod.to_owned(), metrics, receiver, recorded, number: 0 }, events)
    }

    /// Records until `stop`, then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(told)) = stop.run_until_cancelled(self.receiver.recv()).await {
            self.record(told).await;
        }
        self.receiver.close();
        let rest = async {
            while let Some(told) = self.receiver.recv().await {
                self.record(told).await;
            }
        };
        // Nobody waits long for messages when the pod stops.
        let _ = timeout(TIMEOUT, rest).await;
    }

    async fn record(&mut self, told: Told) {
        let outcome = match timeout(TIMEOUT, self.send(&told)).await {
            Ok(Ok(())) => "done",
            Ok(Err(error)) => {
                tracing::warn!(shop = %told.key, reason = told.event.reason.as_str(), %error, "cannot record an event");
                "failed"
            }
            Err(_) => "failed",
        };
        metrics::count(&self.metrics.events, &[outcome]);
    }

    async fn send(&mut self, told: &Told) -> Result<(), kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &told.key.namespace);
        let identity = (told.uid.clone(), told.event.reason.as_str().to_owned(), told.event.message.clone());
        let now = MicroTime(Timestamp::now());
        if let Some((name, count)) = self.recorded.get(&identity).cloned() {
            let count = count.saturating_add(1);
            let series = json!({ "series": { "count": count, "lastObservedTime": now } });
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(&series)).await {
                Ok(_) => drop(self.recorded.insert(identity, (name, count))),
                // It has expired.
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    self.recorded.remove(&identity);
                    self.create(&api, told, identity, now).await?;
                }
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        self.create(&api, told, identity, now).await
    }

    async fn create(
        &mut self,
        api: &Api<Event>,
        told: &Told,
        identity: (String, String, String),
        now: MicroTime,
    ) -> Result<(), kube::Error> {
        self.number = self.number.wrapping_add(1);
        let name = format!("{}.{:x}.{:x}", told.key.name, now.0.as_microsecond(), self.number);
        let event = event(told, &self.pod, name.clone(), now);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        api.create(&parameters, &event).await?;
        if self.recorded.len() >= REMEMBERED {
            self.recorded.clear();
        }
        self.recorded.insert(identity, (name, 1));
        Ok(())
    }
}

fn event(told: &Told, pod: &str, name: String, now: MicroTime) -> Event {
    let mut note = told.event.message.clone();
    while note.len() > MAX_NOTE {
        note.pop();
    }
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(told.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Release".to_owned()),
        event_time: Some(now),
        note: Some(note),
        reason: Some(told.event.reason.as_str().to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(format!("{}/{}", shop_crds::GROUP, shop_crds::VERSION)),
            kind: Some("ShopService".to_owned()),
            name: Some(told.key.name.clone()),
            namespace: Some(told.key.namespace.clone()),
            uid: Some(told.uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("shopkeeper.dev/operator".to_owned()),
        reporting_instance: Some(pod.to_owned()),
        type_: Some(if told.event.warning { "Warning" } else { "Normal" }.to_owned()),
        series: None::<EventSeries>,
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use shop_crds::Reason;

    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        let told = Told {
            key: ServiceKey::new("shop", "order"),
            uid: "u".into(),
            event: shop_release::Event {
                warning: true, reason: Reason::CrashLoop, message: "ä".repeat(600)
            },
        };
        let event = event(&told, "shopkeeper-0", "order.1".into(), MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(event.note.unwrap().len(), MAX_NOTE);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
