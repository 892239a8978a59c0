//! Tells in the status of each `ShopPolicy` whether its windows can be read. Only the leader writes, over the version it has seen.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use shop_crds::{Reason, ShopPolicy, ShopPolicyStatus, names::FIELD_MANAGER};
use shop_release::freeze;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, KnownPolicy},
    lease::Leadership,
};

/// The one condition.
const ACCEPTED: &str = "Accepted";
/// Most characters of a condition's message.
const LONGEST_MESSAGE: usize = 1024;
/// How long one write may take, and how long after a failure the next try is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes statuses while this process leads, until `stop`.
pub async fn report(client: Client, cache: Arc<Cache>, mut leadership: Leadership, stop: CancellationToken) {
    while let Some(Some(epoch)) = stop.run_until_cancelled(leadership.gained()).await {
        let work = stop.run_until_cancelled(lead(&client, &cache, &leadership, epoch));
        let mut watched = leadership.clone();
        tokio::select! {
            _ = work => {}
            () = watched.lost(epoch) => {}
        }
    }
}

async fn lead(client: &Client, cache: &Cache, leadership: &Leadership, epoch: i64) {
    loop {
        let mut failed = false;
        for known in cache.policies().all() {
            let Some(status) = wanted(&known, epoch, Timestamp::now()) else { continue };
            if !leadership.holds(epoch) {
                return;
            }
            failed |= !write(client, &known, &status).await;
        }
        if failed {
            let _ = timeout(PATIENCE, cache.policies().changed()).await;
        } else {
            cache.policies().changed().await;
        }
    }
}

// Whether it was written, or somebody else was quicker, which the watch tells.
async fn write(client: &Client, known: &KnownPolicy, status: &ShopPolicyStatus) -> bool {
    let api: Api<ShopPolicy> = Api::namespaced(client.clone(), &known.namespace);
    let body = json!({
        "metadata": { "uid": known.uid, "resourceVersion": known.resource_version },
        "status": status,
    });
    let (name, params) = (
        &known.policy.name,
        PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() },
    );
    match timeout(PATIENCE, api.patch_status(name, &params, &Patch::Merge(&body))).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(error))) if [404, 409].contains(&error.code) => true,
        Ok(Err(error)) => {
            tracing::warn!(policy = name, namespace = known.namespace, %error, "cannot write the status of a ShopPolicy");
            false
        }
        Err(_) => false,
    }
}

/// The status that the policy shall have, if it has another one that no later leader wrote.
fn wanted(known: &KnownPolicy, epoch: i64, now: Timestamp) -> Option<ShopPolicyStatus> {
    let problems: Vec<String> = match &known.policy.spec {
        Ok(spec) => freeze::unreadable(&spec.freeze)
            .into_iter()
            .map(|one| format!("{}: {}", one.field, one.message))
            .collect(),
        Err(error) => vec![format!("spec: {error}; upgrade the operator, or correct it")],
    };
    let (accepted, reason, message) = if problems.is_empty() {
        ("True", Reason::PolicyAccepted, "every window can be read".to_owned())
    } else {
        (
            "False",
            Reason::FreezeInvalid,
            format!("nothing is promoted until this is corrected: {}", problems.join("; ")),
        )
    };
    let message: String = message.chars().take(LONGEST_MESSAGE).collect();
    let before = known.status.conditions.iter().find(|condition| condition.type_ == ACCEPTED);
    let same = before.is_some_and(|before| before.status == accepted && before.message == message)
        && known.status.observed_generation == Some(known.generation);
    if same || known.status.leader_epoch > epoch {
        return None;
    }
    let since =
        before.filter(|before| before.status == accepted).map(|before| before.last_transition_time.clone());
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Some(ShopPolicyStatus {
        observed_generation: Some(known.generation),
        leader_epoch: epoch,
        conditions: vec![Condition {
            type_: ACCEPTED.to_owned(),
            status: accepted.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            observed_generation: Some(known.generation),
            last_transition_time: since.unwrap_or(now),
        }],
    })
}

#[cfg(test)]
mod tests {
    use shop_release::Policy;

    use super::*;

    fn known(zone: &str) -> KnownPolicy {
        let spec = json!({"freeze": [{"name": "w", "start": "2026-01-01T00:00:00", "duration": "1d", "timeZone": zone}]});
        KnownPolicy {
            namespace: "shop".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            generation: 3,
            policy: Policy {
                name: "p".into(),
                spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
            },
            status: ShopPolicyStatus::default(),
        }
    }

    #[test]
    fn a_status_is_written_once_for_each_change_and_never_over_a_later_leaders() {
        let now = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let mut policy = known("Europe/Nowhere");
        let status = wanted(&policy, 4, now).unwrap();
        let condition = &status.conditions[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "FreezeInvalid"));
        assert!(condition.message.contains("spec.freeze[0].timeZone (w)"), "{}", condition.message);
        policy.status = status;
        assert_eq!(wanted(&policy, 5, now), None);
        let mut mended = KnownPolicy { status: policy.status.clone(), generation: 4, ..known("UTC") };
        let status = wanted(&mended, 5, now).unwrap();
        assert_eq!((status.conditions[0].status.as_str(), status.leader_epoch), ("True", 5));
        mended.status.leader_epoch = 6;
        assert_eq!(wanted(&mended, 5, now), None);
    }

    #[test]
    fn what_cannot_be_read_at_all_is_not_accepted() {
        let unread = KnownPolicy {
            policy: Policy { name: "p".into(), spec: Err("missing field `start`".into()) },
            ..known("UTC")
        };
        let status = wanted(&unread, 1, Timestamp::UNIX_EPOCH).unwrap();
        assert!(status.conditions[0].message.contains("upgrade the operator"));
    }
}
