//! Documents and hand-off addresses: what each revision's sidecars shall be told, who has acknowledged it, who is told now.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use shop_crds::{ShopServiceStatus, names::ADOPTED, service::limits::Limits};

use crate::{
    dependency,
    desired::Wanted,
    document::SidecarDocument,
    faults, mtls,
    observed::{EndpointsAcknowledged, Pod, PushFailed},
    telemetry::Telemetry,
    tokens,
    view::{Draft, View, after, revision_state},
    write::{PodTarget, Write},
};

/// How long after a failed push the next one is tried.
const RETRY: Duration = Duration::from_secs(1);
/// The same for a pod that is not ready: nothing waits for it, and it may be on a node that is gone.
const RETRY_UNREADY: Duration = Duration::from_secs(5);
/// How long it is tried: by then kubelet has brought the document to the pod as a file, and a pod that gets ready is told anew.
const TRY_UNREADY: Duration = Duration::from_mins(1);

/// The document that a revision shall have; `None` while its facts are not stored.
pub(crate) fn document(view: &View<'_>, draft: &mut Draft, wanted: &Wanted) -> Option<SidecarDocument> {
    let revision = wanted.revision;
    let state = revision_state(&draft.status, revision)?.clone();
    let cut_now = || {
        let inputs = view.inputs.as_ref().ok().filter(|_| view.hash.as_ref() == Some(&state.hash))?;
        Some(inputs.facts(&view.subject.name, revision))
    };
    let facts = view.stored(revision).map(|stored| stored.facts.clone()).or_else(cut_now)?;
    let (mtls, peers) = mtls::wanted(view, draft, revision, &facts);
    Some(SidecarDocument {
        revision,
        role: wanted.role,
        colour: state.colour,
        role_epoch: draft.status.role_epoch,
        port: u16::try_from(facts.port).unwrap_or(u16::MAX),
        protocol: facts.protocol,
        readiness_path: facts.readiness_path.clone(),
        readiness_timeout_ms: facts.readiness_timeout_ms,
        max_connections: facts.max_connections(&view.subject.spec),
        trusted_hops: view
            .subject
            .spec
            .sidecar
            .as_ref()
            .map_or_else(Vec::new, |sidecar| sidecar.trusted_hops.clone()),
        drain_max_ms: u64::try_from(facts.drain_max.duration().as_millis()).unwrap_or(u64::MAX),
        hand_off: wanted.hand_off.clone(),
        mirror: wanted.mirror.clone(),
        limits: view.subject.spec.limits.as_ref().and_then(Limits::resolved),
        depends_on: dependency::of_revision(&facts.depends_on, &view.subject.spec),
        telemetry: Telemetry::of(&view.subject.spec, &view.observed.policies),
        jwt: tokens::wanted(view),
        faults: faults::of_revision(view, wanted.role, state.colour),
        mtls,
        peers,
    })
}

/// Whether a pod's sidecar has not acknowledged the document in the revision's ConfigMap.
fn is_behind(view: &View<'_>, pod: &Pod) -> bool {
    match (view.config(pod.revision), &pod.sidecar.acknowledged) {
        (Some(config), Some(seen)) => seen.generation != config.generation || seen.hash != config.hash,
        _ => true,
    }
}

/// Whether every ready pod of the revision has acknowledged the document that its ConfigMap holds.
pub(crate) fn acknowledged(view: &View<'_>, _: &ShopServiceStatus, revision: i64) -> bool {
    if revision == ADOPTED {
        return true;
    }
    // Pods with another image take requests too, so that they must acknowledge although they do not count as capacity.
    !view.pods(revision).filter(|pod| pod.ready && !pod.terminating).any(|pod| is_behind(view, pod))
}

/// Whether some pod of the revision that counts as capacity has acknowledged the document that its ConfigMap holds.
pub(crate) fn known(view: &View<'_>, status: &ShopServiceStatus, revision: i64) -> bool {
    let nobody = view.subject.replicas() == 0;
    nobody || view.ready_pods(status, revision).iter().any(|pod| !is_behind(view, pod))
}

/// Whether every ready pod of `from` has acknowledged the addresses of all ready pods of `to`.
pub(crate) fn endpoints_acknowledged(
    view: &View<'_>,
    status: &ShopServiceStatus,
    from: i64,
    to: i64,
) -> bool {
    let addresses = view.addresses(status, to);
    view.pods(from).filter(|pod| pod.ready && !pod.terminating).all(|pod| knows(pod, to, &addresses))
}

/// A ready pod of one of the revisions whose sidecar has not been reached for a while, and what went wrong.
pub(crate) fn unreachable(view: &View<'_>, revisions: &[i64]) -> Option<(String, String)> {
    let long = |pod: &&Pod| {
        let failed = pod.sidecar.failed.as_ref();
        failed.is_some_and(|failed| after(failed.since, Duration::from_secs(3)) <= view.now)
    };
    let of = |revision: &i64| {
        view.pods(*revision).filter(|pod| pod.ready && !pod.terminating).filter(long).collect::<Vec<_>>()
    };
    let pod = revisions.iter().flat_map(of).min_by(|left, right| left.name.cmp(&right.name))?;
    Some((pod.name.clone(), pod.sidecar.failed.as_ref().map(|failed| failed.message.clone())?))
}

fn knows(pod: &Pod, to: i64, addresses: &BTreeSet<IpAddr>) -> bool {
    pod.sidecar.endpoints.as_ref().is_some_and(|seen| seen.to_revision == to && seen.addresses == *addresses)
}

/// What to push to the revision's pods: the document where it is not acknowledged, and addresses. `written` is the generation
/// that this very plan writes, `to_revision` where requests are handed over to. Pods that are not ready are told that, too: no
/// Service leads to them any more, but connections that are open do. Nothing waits for their answers.
pub(crate) fn pushes(
    view: &View<'_>,
    draft: &mut Draft,
    revision: i64,
    written: Option<i64>,
    to_revision: Option<i64>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    let Some(generation) = written.or_else(|| view.config(revision).map(|config| config.generation)) else {
        return writes;
    };
    let told: Vec<&Pod> =
        view.pods(revision).filter(|pod| (pod.ready || to_revision.is_some()) && !pod.terminating).collect();
    let late: Vec<&Pod> =
        told.iter().copied().filter(|pod| written.is_some() || is_behind(view, pod)).collect();
    let due = due(view, draft, &late);
    if !due.is_empty() {
        writes.push(Write::PushDocument { revision, generation, pods: due });
    }
    if let Some(to_revision) = to_revision {
        let addresses = view.addresses(&draft.status, to_revision);
        let unaware: Vec<&Pod> =
            told.into_iter().filter(|pod| !knows(pod, to_revision, &addresses)).collect();
        let pods = self::due(view, draft, &unaware);
        if !pods.is_empty() {
            let addresses = addresses.into_iter().collect();
            writes.push(Write::PushEndpoints { revision, to_revision, addresses, pods });
        }
    }
    writes
}

/// Tells the revision's ready pods of each other, where they share limits. Outside of releases too: pods come and go.
pub(crate) fn peers(view: &View<'_>, draft: &mut Draft, revision: i64) -> Vec<Write> {
    let shares = view.subject.spec.limits.as_ref().is_some_and(|limits| !limits.rate.is_empty());
    if !shares || view.config(revision).is_none() {
        return Vec::new();
    }
    let addresses: BTreeSet<IpAddr> =
        view.pods(revision).filter(|pod| pod.ready && !pod.terminating).filter_map(|pod| pod.ip).collect();
    let wanted = Some(EndpointsAcknowledged { to_revision: revision, addresses: addresses.clone() });
    let unaware: Vec<&Pod> = view
        .pods(revision)
        .filter(|pod| pod.ready && !pod.terminating && pod.sidecar.peers != wanted)
        .collect();
    let pods = due(view, draft, &unaware);
    if pods.is_empty() {
        return Vec::new();
    }
    let addresses = addresses.into_iter().collect();
    vec![Write::PushEndpoints { revision, to_revision: revision, addresses, pods }]
}

/// Those of the pods that may be tried now; the draft wakes for the others.
fn due(view: &View<'_>, draft: &mut Draft, pods: &[&Pod]) -> Vec<PodTarget> {
    let mut targets = Vec::new();
    for pod in pods {
        let given_up = |failed: &PushFailed| after(failed.since, TRY_UNREADY) <= view.now;
        if !pod.ready && pod.sidecar.failed.as_ref().is_some_and(given_up) {
            continue;
        }
        let Some(ip) = pod.ip else { continue };
        let retry = if pod.ready { RETRY } else { RETRY_UNREADY };
        let failed = pod.sidecar.failed.as_ref().map(|failed| after(failed.at, retry));
        let again = failed.filter(|again| *again > view.now);
        if again.is_none() {
            targets.push(PodTarget { uid: pod.uid.clone(), ip });
        }
        draft.wake(again.unwrap_or_else(|| after(view.now, retry)));
    }
    targets
}
