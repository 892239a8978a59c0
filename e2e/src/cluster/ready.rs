//! Whether a part answers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::NODE;
use super::layout::Layout;
use super::part::Part;
use crate::program;

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Whether the part answers now. Asked inside of the namespace, except for the forwarder.
pub(super) fn answers(part: Part, layout: &Layout, forward: SocketAddr) -> bool {
    if !part.listens(forward).iter().all(|address| connects(*address)) {
        return false;
    }
    match part {
        Part::Etcd => says_ok(2379, "127.0.0.1", "/health"),
        Part::Kubelet => says_ok(10248, "127.0.0.1", "/healthz"),
        // 10256 also tells of the node's own health, which is not the proxy's.
        Part::Proxy => says_ok(10249, "127.0.0.1", "/healthz"),
        Part::Dns => says_ok(8181, "10.200.0.1", "/ready"),
        Part::Containerd => containerd(layout),
        Part::ApiServer => apiserver(layout),
        Part::Metrics | Part::ControllerManager | Part::Scheduler | Part::Forward => true,
    }
}

/// A client of the API server; to be used inside of the namespace.
pub(super) async fn client(layout: &Layout) -> Result<Client> {
    let path = layout.kubeconfig("admin");
    let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("use the kubeconfig")?).context("make a client")
}

/// Waits until the node is Ready, said by this kubelet and not by an earlier one, and pods can be made.
pub(super) async fn wait_node(layout: &Layout, patience: Duration) -> Result<()> {
    let client = client(layout).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
    let deadline = Instant::now() + patience;
    loop {
        let node = tokio::time::timeout(ANSWER, nodes.get_opt(NODE)).await;
        let ready = matches!(&node, Ok(Ok(Some(node))) if is_ready(node));
        if ready && matches!(tokio::time::timeout(ANSWER, accounts.get_opt("default")).await, Ok(Ok(Some(_))))
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the node is not Ready after {} s; last seen: {}", patience.as_secs(), describe(&node));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the node is Ready and takes pods.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    ready && !taints.iter().any(|taint| taint.key.starts_with("node.kubernetes.io/"))
}

fn describe<E: std::fmt::Debug>(node: &Result<Result<Option<Node>, kube::Error>, E>) -> String {
    match node {
        Ok(Ok(Some(node))) => {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
            let ready = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == "Ready");
            ready.map_or_else(
                || "the node has no Ready condition".to_owned(),
                |ready| format!("Ready={} {}", ready.status, ready.message.as_deref().unwrap_or_default()),
            )
        }
        Ok(Ok(None)) => "the node is not registered".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the API server does not answer".to_owned(),
    }
}

fn connects(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&reachable(address), ANSWER).is_ok()
}

/// What listens on every address is asked on one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}

fn says_ok(port: u16, host: &str, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((host, port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

fn containerd(layout: &Layout) -> bool {
    if UnixStream::connect(layout.socket()).is_err() {
        return false;
    }
    program::run(Command::new("ctr").arg("--address").arg(layout.socket()).arg("version")).is_ok()
}

/// Asked on a runtime of this thread, which is inside of the namespace already.
fn apiserver(layout: &Layout) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    let ask = async {
        let request = http::Request::get("/readyz").body(Vec::new()).context("a constant request")?;
        let client = client(layout).await?;
        tokio::time::timeout(ANSWER, client.request_text(request))
            .await
            .context("the API server does not answer")?
            .context("ask")
    };
    runtime.block_on(ask).is_ok_and(|text| text == "ok")
}
