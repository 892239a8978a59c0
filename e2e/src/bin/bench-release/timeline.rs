//! The phases of a release, as the status told them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use kube::api::{WatchEvent, WatchParams};
use shop_crds::{ShopService, status::Phase};
use shop_e2e::scenario::Shop;
use tokio::task::JoinHandle;

/// When each phase began, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    entered: Vec<(Phase, Timestamp)>,
}

impl Timeline {
    /// Takes down phases from the service's next change until it is stable again.
    pub(crate) async fn follow(shop: &Shop) -> Result<JoinHandle<Result<Self>>> {
        let version = shop.get().await?.metadata.resource_version.context("a stored object has a version")?;
        let params = WatchParams::default().fields(&format!("metadata.name={}", shop.name));
        let services = shop.api::<ShopService>();
        let watch = async move {
            let events = services.watch(&params, &version).await.context("watch the ShopService")?;
            pin_mut!(events);
            let mut timeline = Self::default();
            while let Some(event) = events.next().await {
                let event = event.context("watch the ShopService")?;
                if let WatchEvent::Modified(service) = event
                    && timeline.note(&service, Timestamp::now())
                {
                    return Ok(timeline);
                }
            }
            anyhow::bail!("the watch ended before the release did")
        };
        Ok(tokio::spawn(watch))
    }

    /// Takes one change down; true when the release is over.
    fn note(&mut self, service: &ShopService, now: Timestamp) -> bool {
        let Some(status) = &service.status else { return false };
        let phase = status.phase.unwrap_or_default();
        let began = status.release.as_ref().map(|release| release.phase_since.0);
        match self.entered.last() {
            // Not begun yet.
            None if began.is_none() => false,
            Some((last, _)) if *last == phase => false,
            _ => {
                self.entered.push((phase, began.unwrap_or(now)));
                phase == Phase::Stable
            }
        }
    }

    /// How long each phase took, in milliseconds.
    pub(crate) fn milliseconds(&self) -> BTreeMap<&'static str, i64> {
        let mut took = BTreeMap::new();
        for pair in self.entered.windows(2) {
            if let [(phase, from), (_, until)] = pair {
                let span = until.duration_since(*from).as_millis();
                *took.entry(phase.as_str()).or_default() += i64::try_from(span).unwrap_or(i64::MAX);
            }
        }
        took
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(phase: &str, since: Option<&str>) -> ShopService {
        let release = since
            .map(|since| json!({"to": 2, "started": "2026-01-01T00:00:00.000000Z", "phaseSince": since}));
        let status =
            json!({"phase": phase, "release": release, "lastRevision": 2, "roleEpoch": 1, "leaderEpoch": 1});
        let object = json!({"apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopService", "metadata": {"name": "product"},
            "spec": {"image": "a", "port": 1}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn phases_last_until_the_next_one() {
        let mut timeline = Timeline::default();
        let now: Timestamp = "2026-01-01T00:00:09Z".parse().unwrap();
        for (phase, since, over) in [
            ("Stable", None, false),
            ("Preparing", Some("2026-01-01T00:00:00.000000Z"), false),
            ("Preparing", Some("2026-01-01T00:00:00.000000Z"), false),
            ("Scaling", Some("2026-01-01T00:00:01.500000Z"), false),
            ("Draining", Some("2026-01-01T00:00:04.000000Z"), false),
            ("Stable", None, true),
        ] {
            assert_eq!(timeline.note(&service(phase, since), now), over, "{phase}");
        }
        let took = timeline.milliseconds();
        assert_eq!(took, BTreeMap::from([("Preparing", 1_500), ("Scaling", 2_500), ("Draining", 5_000)]));
    }
}
