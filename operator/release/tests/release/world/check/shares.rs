//! Whom a share of the users' requests is handed to: at every write of a document there is somebody, and for more requests there
//! are more pods.

use std::collections::BTreeMap;

use shop_crds::ShopServiceStatus;
use shop_release::{Observed, Pod, SidecarDocument};

use super::{Holds, Invariant, Sight, World, holds};

/// A ready pod of a Deployment that we did not scale to zero.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    uid: String,
    /// Its sidecar has said that it uses the document in the ConfigMap.
    acknowledged: bool,
}

/// Pods that are ready, those of another image left out.
pub(super) fn ready<'a>(
    observed: &'a Observed,
    status: &'a ShopServiceStatus,
) -> impl Iterator<Item = &'a Pod> {
    observed.pods.iter().filter(|pod| pod.ready && !pod.terminating).filter(|pod| {
        let digest = status.revisions.iter().find(|one| one.number == pod.revision);
        let digest = digest.and_then(|one| one.digest.as_deref());
        digest.is_none_or(|digest| pod.image_id.as_deref().is_none_or(|runs| runs.ends_with(digest)))
    })
}

pub(super) fn takers(observed: &Observed, status: &ShopServiceStatus) -> BTreeMap<i64, Vec<Taker>> {
    let mut found: BTreeMap<i64, Vec<Taker>> = BTreeMap::new();
    let emptied = |revision| {
        observed.deployments.iter().any(|one| one.revision == revision && one.replicas == 0 && !one.drifted)
    };
    for pod in ready(observed, status).filter(|pod| !emptied(pod.revision)) {
        let config = observed.configs.iter().find(|one| one.revision == pod.revision);
        let seen = pod.sidecar.acknowledged.as_ref();
        let acknowledged =
            config.zip(seen).is_some_and(|(config, seen)| seen.generation == config.generation);
        found.entry(pod.revision).or_default().push(Taker { uid: pod.uid.clone(), acknowledged });
    }
    found
}

impl World {
    /// A document that is about to be written hands over to a revision with ready pods that stay, and a share rises only where
    /// there are pods for it that know what they are.
    pub(super) fn check_share(&self, sight: &Sight, document: &SidecarDocument) -> Holds {
        let Some(hand_off) = &document.hand_off else { return Ok(()) };
        let (to, share) = (hand_off.to_revision, hand_off.share);
        if sight.wanted == 0 {
            return Ok(());
        }
        let takers = sight.takers.get(&to).map_or(&[][..], Vec::as_slice);
        // Where the users' Service leads there anyway, the document changes nothing.
        let somebody = !takers.is_empty() || sight.users == Some(to);
        holds(somebody, Invariant::Enough, || {
            format!("{share} of 10000 requests are handed to revision {to}, which has no ready pods")
        })?;
        let before = self.observed.configs.iter().find(|one| one.revision == document.revision);
        let before = before.and_then(|one| one.document.as_ref()?.hand_off.as_ref());
        let rises = before.is_none_or(|before| before.to_revision != to || before.share < share);
        if !rises || !hand_off.may_serve_locally || sight.back {
            return Ok(());
        }
        let stays = takers.iter().any(|taker| !self.doomed.contains(&taker.uid));
        holds(stays, Invariant::Enough, || {
            format!("{share} of 10000 requests are handed to revision {to}, whose pods are being removed")
        })?;
        holds(takers.iter().any(|taker| taker.acknowledged), Invariant::Enough, || {
            format!("{share} of 10000 requests are handed to revision {to}, of which no pod has acknowledged")
        })?;
        let may_miss = if sight.wanted >= 20 { (sight.wanted + 9) / 10 } else { 1 };
        let least = (sight.wanted - may_miss).max(1);
        let ready = sight.ready(to);
        let all = share == 10_000 && sight.enough(document.revision, to, false);
        let enough = ready >= 1 && ready * 10_000 >= i32::try_from(share).unwrap() * least;
        holds(all || enough, Invariant::Enough, || {
            format!("{share} of 10000 requests for {ready} pods of revision {to}, {} wanted", sight.wanted)
        })
    }
}
