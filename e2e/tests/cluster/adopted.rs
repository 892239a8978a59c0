//! A Deployment and a Service that were there before: adopted, released, and given back, while users notice nothing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use shop_crds::{ShopService, names::ADOPTED};
use shop_e2e::{
    harness::{Session, eventually, test},
    images, program,
    scenario::{PATIENCE, Shop, Spec},
};

const PLAIN: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: plain}
spec:
  replicas: 2
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec:
      containers:
      - name: web
        image: registry.local/shop/shopd:1
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 25m, memory: 32Mi}}
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1, timeoutSeconds: 5}
---
apiVersion: v1
kind: Service
metadata: {name: product, labels: {team: products}}
spec:
  selector: {app: plain}
  ports: [{port: 80, targetPort: 8080}]
";

#[test]
fn what_was_there_is_adopted_released_and_given_back_without_a_failure() {
    test("what_was_there_is_adopted_released_and_given_back_without_a_failure", async |session| {
        session.apply(PLAIN).await?;
        let shop = super::shop(session).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let before = pods(&shop, "app=plain").await?;
        ensure!(before.len() == 2, "there are {before:?}");

        run(session, &["adopt", "deploy/plain"]).await?;
        let status = shop
            .wait("all pods of revision 0", PATIENCE, |status| status.ready.as_deref() == Some("2/2"))
            .await?;
        ensure!(status.active.as_ref().map(|active| active.revision) == Some(ADOPTED), "{status:?}");
        ensure!(pods(&shop, "app=plain").await? == before, "adoption restarted pods");

        let change = json!({"image": Spec::image(2), "release": {"settle": "200ms", "keepOld": "1s"}});
        shop.merge(&json!({"spec": change})).await?;
        shop.wait_stable(2, PATIENCE).await?;
        let service = shop.api::<Service>().get("product").await?;
        ensure!(
            service.labels().get("team").is_some_and(|team| team == "products"),
            "{:?}",
            service.metadata
        );
        eventually("the adopted pods are gone", async || {
            let left = pods(&shop, "app=plain").await?;
            ensure!(left.is_empty(), "there are {left:?}");
            Ok(())
        })
        .await?;

        let served = pods(&shop, "shopkeeper.dev/revision=1").await?;
        run(session, &["eject", "product"]).await?;
        given_back(&shop, &served).await?;
        super::without_failure(load).await.map(drop)
    });
}

/// What users have stays, and is nobody's; the rest is gone.
async fn given_back(shop: &Shop, served: &BTreeSet<String>) -> Result<()> {
    eventually("the ShopService and what was not given back are gone", async || {
        ensure!(shop.api::<ShopService>().get_opt("product").await?.is_none(), "the ShopService is there");
        ensure!(
            shop.api::<Service>().get_opt("product-preview").await?.is_none(),
            "product-preview is there"
        );
        ensure!(
            shop.api::<Deployment>().get_opt("plain").await?.is_none(),
            "the adopted Deployment is there"
        );
        Ok(())
    })
    .await?;
    let deployment = shop.api::<Deployment>().get("product-r1").await?;
    let service = shop.api::<Service>().get("product").await?;
    for metadata in [&deployment.metadata, &service.metadata] {
        ensure!(metadata.owner_references.as_ref().is_none_or(Vec::is_empty), "{metadata:?}");
    }
    let now = pods(shop, "shopkeeper.dev/revision=1").await?;
    ensure!(now == *served && !now.is_empty(), "pods were {served:?}, and are {now:?}");
    Ok(())
}

/// Unique id and restarts of the pods.
async fn pods(shop: &Shop, labels: &str) -> Result<BTreeSet<String>> {
    let found = shop.api::<Pod>().list(&ListParams::default().labels(labels)).await?;
    let one = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts: i32 = statuses.into_iter().flatten().map(|status| status.restart_count).sum();
        format!("{} {restarts}", pod.uid().unwrap_or_default())
    };
    Ok(found.items.iter().map(one).collect())
}

/// Runs the plugin as a user does.
async fn run(session: &Session, arguments: &[&str]) -> Result<Value> {
    let mut command = session.inside(images::programs().join("kubectl-shop"));
    command.arg("--kubeconfig").arg(session.cluster().admin_kubeconfig());
    command.args(["--namespace", session.namespace(), "--output", "json"]).args(arguments);
    let told = session.blocking(move |_| program::run(&mut command)).await?;
    serde_json::from_str(&told).with_context(|| format!("read {told:?}"))
}
