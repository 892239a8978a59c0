//! What the rest of a cluster would do: pods for Deployments, EndpointSlices for Services, and sidecars that answer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    http::{HeaderMap, header::HOST},
    routing::{get, post},
};
use serde_json::{Value, json};
use shop_contract::{Acknowledgement, Push, RevisionCounters, Stats, document_hash, paths};
use shop_operator::sidecars::Locate;
use tokio::net::TcpListener;

use crate::api::{Place, State};

/// Images with this in their name never get ready; Jobs with them fail.
pub(crate) const BROKEN: &str = "broken";
/// Jobs with this argument are left for the test to end.
pub(crate) const BY_HAND: &str = "by-hand";
/// Images with this in their name answer every tenth request with an error.
pub(crate) const FAILING: &str = "failing";

/// Addresses of pods that fail.
static FAILS: Mutex<BTreeSet<IpAddr>> = Mutex::new(BTreeSet::new());

/// Brings pods and EndpointSlices in line with Deployments and Services.
pub(crate) fn run(state: &mut State) {
    let of = |state: &State, resource: &str| -> Vec<(Place, Value)> {
        let here = state.objects.iter().filter(|(place, _)| place.0 == resource);
        here.map(|(place, object)| (place.clone(), object.clone())).collect()
    };
    for (place, deployment) in of(state, "apps/v1/deployments") {
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let broken = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .is_some_and(|image| image.contains(BROKEN));
        for number in 0..20 {
            let name = format!("{}-{number}", place.2);
            let place = ("v1/pods".to_owned(), place.1.clone(), name);
            let of_template = |pod: &Value| {
                pod["metadata"]["annotations"] == deployment["spec"]["template"]["metadata"]["annotations"]
            };
            if state.objects.get(&place).is_some_and(|pod| !of_template(pod)) {
                state.remove(&place);
            }
            match (number < wanted, state.objects.contains_key(&place)) {
                (true, false) => drop(state.put(place, pod(&deployment, !broken))),
                (false, true) => state.remove(&place),
                _ => {}
            }
        }
    }
    for (place, mut deployment) in of(state, "apps/v1/deployments") {
        let count = deployment["spec"]["replicas"].clone();
        let status = json!({ "replicas": count, "readyReplicas": count });
        // Of others the counts are all that is known of their pods.
        let ours = !deployment["spec"]["template"]["metadata"]["labels"]["shopkeeper.dev/revision"].is_null();
        if !ours && deployment["status"] != status {
            deployment["status"] = status;
            state.put(place, deployment);
        }
    }
    for (place, mut job) in of(state, "batch/v1/jobs") {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        if container["args"] == json!([BY_HAND]) {
            continue;
        }
        let image = container["image"].to_string();
        let kind = if image.contains(BROKEN) { "Failed" } else { "Complete" };
        let condition = json!({ "type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "it exits" });
        job["status"] = json!({ "conditions": [condition] });
        state.put(place, job);
    }
    let pods = of(state, "v1/pods");
    for (place, service) in of(state, "v1/services") {
        let selector = service["spec"]["selector"].as_object().cloned().unwrap_or_default();
        let endpoints: Vec<Value> = pods
            .iter()
            .filter(|(_, pod)| selector.iter().all(|(name, value)| pod["metadata"]["labels"][name] == *value))
            .filter(|(_, pod)| pod["status"]["conditions"][0]["status"] == "True")
            .map(|(_, pod)| {
                json!({
                    "addresses": [pod["status"]["podIP"]],
                    "conditions": { "ready": true },
                    "targetRef": { "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] },
                })
            })
            .collect();
        let mut labels = service["metadata"]["labels"].clone();
        labels["kubernetes.io/service-name"] = place.2.clone().into();
        let slice =
            json!({ "metadata": { "labels": labels }, "addressType": "IPv4", "endpoints": endpoints });
        state
            .put(("discovery.k8s.io/v1/endpointslices".to_owned(), place.1, format!("{}-x", place.2)), slice);
    }
}

fn pod(deployment: &Value, ready: bool) -> Value {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    // Every address of 127/8 is this machine: each pod has its own, and one listener hears them all.
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 9, 0, 0)) + next);
    let status = if ready { "True" } else { "False" };
    let spec = &deployment["spec"]["template"]["spec"];
    let image = spec["containers"][0]["image"].as_str().unwrap_or_default();
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "it exits" } });
    if image.contains(FAILING) {
        FAILS.lock().unwrap().insert(ip.into());
    }
    let state = if ready { json!({ "running": {} }) } else { waiting };
    json!({
        "metadata": {
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
            "annotations": deployment["spec"]["template"]["metadata"]["annotations"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                "name": deployment["metadata"]["name"], "uid": deployment["metadata"]["uid"],
            }],
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "podIP": ip.to_string(),
            "conditions": [{ "type": "Ready", "status": status }],
            "initContainerStatuses": [{
                "name": "shop-sidecar", "ready": true, "restartCount": 0, "image": "sidecar", "imageID": "s",
                "state": { "running": {} },
            }],
            "containerStatuses": [{
                "name": "app", "ready": ready, "restartCount": if ready { 0 } else { 9 }, "image": image,
                "imageID": format!("registry.local/x@sha256:{:0>64}", image.len()), "state": state,
            }],
        },
    })
}

// Every pod has a hundred requests more each time it is asked.
async fn stats(headers: HeaderMap) -> Json<Stats> {
    static ASKED: Mutex<BTreeMap<SocketAddr, u64>> = Mutex::new(BTreeMap::new());
    let pod: SocketAddr = headers[HOST].to_str().unwrap().parse().unwrap();
    let requests = {
        let mut asked = ASKED.lock().unwrap();
        let count = asked.entry(pod).or_default();
        *count += 100;
        *count
    };
    let failures = if FAILS.lock().unwrap().contains(&pod.ip()) { requests / 10 } else { 0 };
    let mut window = RevisionCounters { requests, failures, ..RevisionCounters::default() };
    window.latency.counts[3] = requests;
    Json(Stats { idle_ms: Some(60_000), window: Some(window), ..Stats::default() })
}

/// Sidecars of all pods, behind one listener; says where each is.
pub(crate) async fn sidecars() -> Locate {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted: Arc<Mutex<HashMap<String, Acknowledgement>>> = Arc::default();
    let config = move |headers: HeaderMap, Json(push): Json<Push>| {
        let pod = headers[HOST].to_str().unwrap().to_owned();
        let mut accepted = accepted.lock().unwrap();
        let acknowledged = accepted.entry(pod).or_default();
        match push {
            Push::Document(document) => {
                acknowledged.revision = document.identity.revision;
                acknowledged.generation = document.generation;
                acknowledged.hash = document_hash(&document);
                acknowledged.leader_epoch = document.leader_epoch;
                acknowledged.role_epoch = document.role_epoch;
            }
            Push::Endpoints(endpoints) => {
                acknowledged.endpoints_seen = endpoints.sequence;
                acknowledged.endpoints_revision = endpoints.to_revision;
            }
            Push::Peers(peers) => acknowledged.peers_seen = peers.sequence,
            Push::Query(_) => {}
        }
        let answer = acknowledged.clone();
        async move { Json(answer) }
    };
    let router = Router::new().route(paths::CONFIG, post(config)).route(paths::STATS, get(stats));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Arc::new(move |ip: IpAddr| SocketAddr::new(ip, port))
}
