//! Anybody may ask the drain hook, and nothing happens.

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use shop_contract::{Stats, paths, ports};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};
use tokio::net::TcpStream;

#[test]
fn asking_the_drain_hook_changes_nothing() {
    test("asking_the_drain_hook_changes_nothing", async |session| {
        let shop = super::stable(session, &Spec::new(1).replicas(1)).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let ip = address(&shop.pods(Some(1)).await?)?;
        // Comes back when it has seen that no drain has begun.
        get(&ip, paths::DRAIN).await?;
        let stats: Stats = serde_json::from_slice(&get(&ip, paths::STATS).await?)?;
        ensure!(!stats.draining, "the pod drains");
        get(&ip, paths::READY).await.context("the pod is not ready any more")?;
        super::without_failure(load).await?;
        Ok(())
    });
}

fn address(pods: &[Pod]) -> Result<String> {
    let ip = pods.iter().find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    ip.context("no pod has an address")
}

async fn get(ip: &str, path: &str) -> Result<Bytes> {
    let stream = TcpStream::connect((ip, ports::ADMIN)).await.context("connect to the sidecar")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "sidecar").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.with_context(|| format!("GET {path}"))?;
    ensure!(answer.status().is_success(), "GET {path} was answered with {}", answer.status());
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(body)
}
