//! Tells in the status of each `ShopPolicy` whether its windows can be read, and in that of each `FaultPolicy` what came of it
//! ([`crate::faults`]). Only the leader writes, over the version it has seen.

use std::{fmt::Debug, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use shop_crds::{FaultPolicy, FaultPolicyStatus, Reason, ShopPolicy, ShopPolicyStatus, names::FIELD_MANAGER};
use shop_release::{
    faults::{Standing, standing},
    freeze,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, Known, KnownFault, KnownPolicy},
    faults::{self, Place},
    lease::Leadership,
};

/// The one condition.
const ACCEPTED: &str = "Accepted";
/// Most characters of a condition's message.
const LONGEST_MESSAGE: usize = 1024;
/// How long one write may take, and how long after a failure the next try is.
const PATIENCE: Duration = Duration::from_secs(5);
/// While faults are on: how often it is looked which services there are, and how soon at the earliest.
const AGAIN: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_millis(100);
/// Without faults nothing comes by itself.
const FAR: Duration = Duration::from_hours(24);

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
        let now = Timestamp::now();
        let (mut failed, mut look) = (false, None);
        for known in cache.policies().all() {
            let Some(status) = wanted(&known, epoch, now) else { continue };
            if !leadership.holds(epoch) {
                return;
            }
            failed |= !write::<ShopPolicy, _, _>(client, &known, &status).await;
        }
        for (known, status) in faults(cache, epoch, now, &mut look) {
            if !leadership.holds(epoch) {
                return;
            }
            failed |= !write::<FaultPolicy, _, _>(client, &known, &status).await;
        }
        let pause = if failed { Some(PATIENCE) } else { look };
        tokio::select! {
            () = cache.policies().changed() => {}
            () = cache.faults().changed() => {}
            () = tokio::time::sleep(pause.unwrap_or(FAR)) => {}
        }
    }
}

/// FaultPolicies whose status is to be written, with it; and when to look again, while one of them is not over.
fn faults(
    cache: &Cache,
    epoch: i64,
    now: Timestamp,
    look: &mut Option<Duration>,
) -> Vec<(Arc<KnownFault>, FaultPolicyStatus)> {
    let mut found = Vec::new();
    let all = cache.faults().all();
    for of_namespace in all.chunk_by(|left, right| left.namespace == right.namespace) {
        let Some(first) = of_namespace.first() else { continue };
        let policies: Vec<_> = cache.policies().of(&first.namespace).iter().map(|one| one.seen()).collect();
        let services = cache.shops(&first.namespace);
        let place = Place { faults: of_namespace, policies: &policies, services: &services };
        for known in of_namespace {
            if let Standing::On(until) = standing(&known.seen(), &policies, now) {
                let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                // Services come and go meanwhile.
                *look = Some(look.unwrap_or(AGAIN).min(left.max(LEAST)));
            }
            found.extend(faults::wanted(known, &place, epoch, now).map(|status| (Arc::clone(known), status)));
        }
    }
    found
}

// Whether it was written, or somebody else was quicker, which the watch tells.
async fn write<K, S, T: Serialize>(client: &Client, known: &Known<S, T>, status: &T) -> bool
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &known.namespace);
    let body = json!({
        "metadata": { "uid": known.uid, "resourceVersion": known.resource_version },
        "status": status,
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    match timeout(PATIENCE, api.patch_status(&known.name, &params, &Patch::Merge(&body))).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(error))) if [404, 409].contains(&error.code) => true,
        Ok(Err(error)) => {
            let kind = K::kind(&());
            tracing::warn!(policy = known.name, namespace = known.namespace, %error, "cannot write the status of a {kind}");
            false
        }
        Err(_) => false,
    }
}

/// The status that the policy shall have, if it has another one that no later leader wrote.
fn wanted(known: &KnownPolicy, epoch: i64, now: Timestamp) -> Option<ShopPolicyStatus> {
    let problems: Vec<String> = match &known.spec {
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
    use super::*;

    fn known(zone: &str) -> KnownPolicy {
        let spec = json!({"freeze": [{"name": "w", "start": "2026-01-01T00:00:00", "duration": "1d", "timeZone": zone}]});
        KnownPolicy {
            namespace: "shop".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            generation: 3,
            name: "p".into(),
            created: Timestamp::UNIX_EPOCH,
            spec: serde_json::from_value(spec).map_err(|error| error.to_string()),
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
        let unread = KnownPolicy { spec: Err("missing field `start`".into()), ..known("UTC") };
        let status = wanted(&unread, 1, Timestamp::UNIX_EPOCH).unwrap();
        assert!(status.conditions[0].message.contains("upgrade the operator"));
    }
}
