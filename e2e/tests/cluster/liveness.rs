//! A liveness restart is the app's own affair: the pod is not drained, and the sidecar stays.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;
use shop_crds::names;
use shop_e2e::{
    harness::{eventually, test},
    scenario::{Shop, Spec, switch_fault_on},
};

#[test]
fn a_liveness_restart_does_not_drain_the_pod() {
    test("a_liveness_restart_does_not_drain_the_pod", async |session| {
        // Not ready is not alive here, so that the fault makes the kubelet restart the container; the fault ends with it.
        let probes = json!({"probes": {"liveness": {"path": "/readyz", "period": "1s", "timeout": "1s", "failures": 2}}});
        let spec = Spec::new(1).replicas(1).fault("switchable").patch(probes);
        let shop = super::stable(session, &spec).await?;
        let before = only_pod(&shop).await?;
        let ip = before.status.as_ref().and_then(|status| status.pod_ip.clone()).context("no address")?;
        switch_fault_on(&ip, "not-ready").await?;

        eventually("the app was restarted in its pod, which is ready again", async || {
            let pod = only_pod(&shop).await?;
            ensure!(pod.metadata.uid == before.metadata.uid, "the pod was replaced");
            let status = pod.status.unwrap_or_default();
            let app = container(status.container_statuses.as_deref(), names::APP_CONTAINER)?;
            ensure!(app.restart_count >= 1, "the app was not restarted yet");
            let sidecar = container(status.init_container_statuses.as_deref(), names::SIDECAR_CONTAINER)?;
            ensure!(sidecar.restart_count == 0, "the sidecar was restarted");
            ensure!(app.ready && sidecar.ready, "it is not ready again");
            Ok(())
        })
        .await?;
        let plan = shop.plan(super::RATE).await?;
        shop.reachable(&plan, shop_e2e::scenario::PATIENCE).await
    });
}

async fn only_pod(shop: &Shop) -> Result<Pod> {
    shop.pods(Some(1)).await?.pop().context("there is no pod")
}

fn container<'a>(all: Option<&'a [ContainerStatus]>, name: &str) -> Result<&'a ContainerStatus> {
    let found = all.unwrap_or_default().iter().find(|container| container.name == name);
    found.with_context(|| format!("the pod has no container {name}"))
}
