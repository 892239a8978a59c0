//! Nodes that exist by their objects alone (kwok), and sidecars that answer for all of their pods.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use shop_contract::{Acknowledgement, Push, Stats, document_hash, ports};
use shop_e2e::{cluster::Cluster, netns, program, setup};
use tokio::net::TcpListener;

/// Addresses of the pods.
const PODS: &str = "10.128.0.0/14";
/// Pods of a node.
const PODS_OF_A_NODE: usize = 1_000;
/// Label and taint of such nodes.
const MARK: &str = "kwok.x-k8s.io/node";
/// What becomes of nodes and pods, as kwok has it in its source.
const STAGES: [&str; 4] = [
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-delete.yaml",
];
/// Longest push of a sidecar's document.
const MAX_PUSH: usize = 1 << 20;

/// Plays kubelets; ended with this.
pub(crate) struct Nodes(Child);

impl Nodes {
    /// Nodes with room for so many pods.
    pub(crate) async fn start(cluster: &Cluster, client: &Client, pods: usize) -> Result<Self> {
        // Whoever asks a pod is answered here, whatever its address.
        program::run(
            program::inside(cluster.name(), "ip").args(["route", "replace", "local", PODS, "dev", "lo"]),
        )?;
        let log = File::create(cluster.state().join("kwok.log")).context("open a log")?;
        let kubeconfig = cluster.admin_kubeconfig();
        let stages = setup::module_source("sigs.k8s.io/kwok")?.join("kustomize/stage");
        let child = netns::within(cluster.name(), || {
            let mut command = Command::new(setup::bin().join("kwok"));
            command.arg("--kubeconfig").arg(kubeconfig).args([
                "--cidr",
                PODS,
                "--node-ip",
                netns::NODE_ADDRESS,
            ]);
            command.args(["--manage-nodes-with-annotation-selector", &format!("{MARK}=fake")]);
            command.arg("--node-lease-duration-seconds=40");
            command.args(
                STAGES.iter().flat_map(|stage| ["--config".into(), stages.join(stage).into_os_string()]),
            );
            let stderr = log.try_clone().context("use the log twice")?;
            command.stdin(Stdio::null()).stdout(log).stderr(stderr).spawn().context("start kwok")
        })??;
        let nodes = Self(child);
        let api: Api<Node> = Api::all(client.clone());
        let all = (0..=pods / PODS_OF_A_NODE).map(|number| {
            let (api, object) = (api.clone(), node(number));
            async move {
                let params = PatchParams::apply("bench-scale").force();
                api.patch(&format!("fake-{number}"), &params, &Patch::Apply(object))
                    .await
                    .context("make a node")
            }
        });
        try_join_all(all).await?;
        Ok(nodes)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(number: usize) -> Value {
    let room = json!({"cpu": "1000", "memory": "4Ti", "pods": PODS_OF_A_NODE.to_string()});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("fake-{number}"), "annotations": {MARK: "fake"},
            "labels": {MARK: "fake", "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    })
}

/// What keeps a pod on these nodes.
pub(crate) fn placement() -> Value {
    json!({
        "nodeSelector": {MARK: "fake"},
        "tolerations": [{"key": MARK, "operator": "Exists", "effect": "NoSchedule"}],
    })
}

/// What each pod's sidecar has accepted.
type Accepted = Arc<Mutex<HashMap<IpAddr, Acknowledgement>>>;

/// Answers as the sidecars of all pods; runs until the runtime ends.
pub(crate) async fn sidecars() -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, ports::ADMIN)).await.context("listen as sidecars")?;
    let accepted = Accepted::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(pod) = stream.local_addr() else { continue };
            let accepted = Arc::clone(&accepted);
            let service = service_fn(move |request| answer(request, pod.ip(), Arc::clone(&accepted)));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    pod: IpAddr,
    accepted: Accepted,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_push = request.method() == http::Method::POST;
    let body =
        Limited::new(request.into_body(), MAX_PUSH).collect().await.map(http_body_util::Collected::to_bytes);
    let mut accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
    let held = accepted.entry(pod).or_default();
    let text = if is_push {
        let Some(push) = body.ok().and_then(|body| serde_json::from_slice(&body).ok()) else {
            let mut refused = Response::new(Full::default());
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(refused);
        };
        take(held, &push);
        serde_json::to_vec(held)
    } else {
        serde_json::to_vec(&Stats { revision: held.revision, idle_ms: Some(60_000), ..Stats::default() })
    };
    Ok(Response::new(Full::new(text.unwrap_or_default().into())))
}

fn take(held: &mut Acknowledgement, push: &Push) {
    match push {
        Push::Document(document) => {
            held.revision = document.identity.revision;
            held.generation = document.generation;
            held.hash = document_hash(document);
            held.leader_epoch = document.leader_epoch;
            held.role_epoch = document.role_epoch;
        }
        Push::Endpoints(endpoints) => {
            held.endpoints_seen = endpoints.sequence;
            held.endpoints_revision = endpoints.to_revision;
        }
        Push::Peers(peers) => held.peers_seen = peers.sequence,
        Push::Query(_) => {}
    }
}
