//! What Shopkeeper does when parts of the cluster, or of itself, fail. These run one at a time.

mod absent;
mod drift;
mod idle;
mod killed;
mod two_operators;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use shop_e2e::{
    harness::{OPERATOR_NAMESPACE, RELEASE, Session, eventually},
    scenario::{PATIENCE, Shop, is_ready, operator_pods, without_failure},
};

/// Requests in a second.
const RATE: u32 = 60;
/// Longer than any release here takes on a slow machine.
const LONG: Duration = Duration::from_mins(5);

/// The service `product` in the test's namespace.
async fn shop(session: &Session) -> Result<Shop> {
    Shop::new(session.client(), session.namespace(), "product").await
}

/// Has so many operators, and waits until each of them is ready (or gone).
async fn scale_operator(client: &Client, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), OPERATOR_NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch(RELEASE, &PatchParams::default(), &patch).await.context("scale the operator")?;
    eventually(&format!("{replicas} operators are ready"), async || {
        let pods = operator_pods(client).await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(
            i32::try_from(pods.len()) == Ok(replicas) && ready == pods.len(),
            "{ready} of {} pods are ready",
            pods.len()
        );
        Ok(())
    })
    .await
}

/// Waits until users reach the tag and no release runs, with patience for a lease that has to run out.
async fn stable(shop: &Shop, tag: u8) -> Result<()> {
    shop.wait_stable(tag, PATIENCE.max(LONG)).await.map(drop)
}
