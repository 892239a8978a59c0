//! Faults of the program that come and go while it runs: it was started with `switchable`.

use anyhow::{Context as _, Result, ensure};
use http::Method;
use http_body_util::Full;

use super::ask::ask;

/// Where the app listens in a pod, beside its sidecar.
const APP_PORT: u16 = 8080;

/// Switches a fault on (`not-ready`, `error`, `crash`) in the pod of this address.
pub async fn switch_fault_on(ip: &str, fault: &str) -> Result<()> {
    switch(ip, fault, Method::POST).await
}

/// Switches a fault off (`not-ready`, `error`), one that the app began with too.
pub async fn switch_fault_off(ip: &str, fault: &str) -> Result<()> {
    switch(ip, fault, Method::DELETE).await
}

async fn switch(ip: &str, fault: &str, method: Method) -> Result<()> {
    let request = http::Request::builder().method(method).uri(format!("/faults/{fault}"));
    let answer = ask((ip, APP_PORT), request.body(Full::default())?).await.context("switch a fault")?;
    ensure!(answer.status.is_success(), "the fault was answered with {}", answer.status);
    Ok(())
}
