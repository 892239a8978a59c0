//! Faults of the program that come and go while it runs: it was started with `switchable`.

use anyhow::{Context as _, Result, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where the app listens in a pod, beside its sidecar.
const APP_PORT: u16 = 8080;

/// Switches a fault on (`not-ready`, `error`, `crash`) in the pod of this address.
pub async fn switch_fault_on(ip: &str, fault: &str) -> Result<()> {
    let stream = TcpStream::connect((ip, APP_PORT)).await.context("connect to the app")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request =
        http::Request::post(format!("/faults/{fault}")).header("host", "app").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.context("switch a fault on")?;
    ensure!(answer.status().is_success(), "the fault was answered with {}", answer.status());
    connection.abort();
    Ok(())
}
