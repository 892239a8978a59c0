//! Without the operator everything that runs goes on: traffic, drains, restarts.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::DeleteParams};
use shop_e2e::{
    harness::{eventually, test},
    scenario::{PATIENCE, Shop, Spec},
};

#[test]
fn services_go_on_without_the_operator() {
    test("services_go_on_without_the_operator", async |session| {
        let client = session.client();
        super::scale_operator(&client, 1).await?;
        let shop = super::shop(session).await?;
        let spec = Spec::new(1).replicas(2).keep_old("1s").drain("5s");
        shop.apply(&spec).await?;
        super::stable(&shop, 1).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        super::scale_operator(&client, 0).await?;

        let outcome = pods_are_replaced(&shop).await;
        // Back first, whatever was seen: the next test needs it.
        shop.apply(&spec.clone().tag(2)).await?;
        super::scale_operator(&client, 1).await?;
        outcome?;
        super::stable(&shop, 2).await?;
        super::without_failure(load).await?;
        Ok(())
    });
}

/// Each pod is deleted, drains and is replaced, one after the other.
async fn pods_are_replaced(shop: &Shop) -> Result<()> {
    for pod in shop.pods(Some(1)).await? {
        let name = pod.name_any();
        shop.api::<Pod>().delete(&name, &DeleteParams::default()).await.context("delete a pod")?;
        eventually("the pod is replaced by a ready one", async || {
            let pods = shop.pods(Some(1)).await?;
            ensure!(pods.iter().all(|pod| pod.name_any() != name), "{name} is there");
            let ready = pods.iter().filter(|pod| super::is_ready(pod)).count();
            ensure!(ready == 2, "{ready} pods are ready");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
