//! Where the admission policies are switched off, a foreign change of a generated object is put back, and never promotes
//! anything.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use shop_crds::{Reason, names, status::Phase};
use shop_e2e::{
    harness::{Session, eventually, install, test},
    scenario::{PATIENCE, Shop, Spec, drift::Manner},
};

#[test]
fn foreign_changes_are_put_back_and_promote_nothing() {
    test("foreign_changes_are_put_back_and_promote_nothing", async |session| {
        with_policies(session, false).await?;
        let outcome = changes_are_put_back(session).await;
        // Back first, whatever was seen: the next test needs them.
        with_policies(session, true).await?;
        outcome
    });
}

async fn with_policies(session: &Session, enabled: bool) -> Result<()> {
    let images = session.images().clone();
    let values = if enabled { json!(null) } else { json!({"admissionPolicies": {"enabled": false}}) };
    session.blocking(move |cluster| install(cluster, &images, &values)).await
}

async fn changes_are_put_back(session: &Session) -> Result<()> {
    let shop = super::shop(session).await?;
    let spec = Spec::new(1).replicas(1).drain("5s").manual();
    shop.apply(&spec).await?;
    super::stable(&shop, 1).await?;
    shop.apply(&spec.clone().tag(2)).await?;
    let verifying = |status: &shop_crds::ShopServiceStatus| status.phase == Some(Phase::Verifying);
    shop.wait("a candidate to decide about", PATIENCE, verifying).await?;

    for manner in Manner::ALL {
        // The API server goes on with a policy for a moment after it is gone.
        eventually("the change is let through", async || {
            shop.point_users_at(session.cluster(), manner, 2).await
        })
        .await?;
        put_back(&shop).await.with_context(|| format!("after {manner:?}"))?;
    }
    shop.add_container(1, "registry.local/shop/pause:1").await?;
    eventually("the extra container is gone", async || {
        let template = deployment(&shop).await?.template;
        let containers = template.spec.map(|spec| spec.containers.len());
        ensure!(containers == Some(1), "there are {containers:?} containers");
        Ok(())
    })
    .await?;
    shop.scale_deployment(1, 0).await?;
    eventually("the Deployment has its pod again", async || {
        let replicas = deployment(&shop).await?.replicas;
        ensure!(replicas == Some(1), "it has {replicas:?}");
        Ok(())
    })
    .await?;
    reported(session).await?;
    let status = shop.status().await?;
    ensure!(status.phase == Some(Phase::Verifying), "the release went on to {:?}", status.phase);
    ensure!(status.active.is_some_and(|active| active.revision == 1), "the candidate was promoted");
    Ok(())
}

async fn deployment(shop: &Shop) -> Result<k8s_openapi::api::apps::v1::DeploymentSpec> {
    let deployment: Deployment = shop.api().get(&names::revision(&shop.name, 1)).await?;
    deployment.spec.context("a Deployment has a spec")
}

async fn put_back(shop: &Shop) -> Result<()> {
    eventually("the users' Service selects revision 1 again", async || {
        let selector = shop.users_service().await?.spec.and_then(|spec| spec.selector).unwrap_or_default();
        let selected = selector.get(names::LABEL_REVISION).map(String::as_str);
        ensure!(selected == Some("1"), "it selects {selector:?}");
        let status = shop.status().await?;
        ensure!(status.active.is_some_and(|active| active.revision == 1), "the candidate was promoted");
        Ok(())
    })
    .await
}

async fn reported(session: &Session) -> Result<()> {
    eventually("an event tells about it", async || {
        let events = session.kubectl(&["get", "events", "--output", "custom-columns=:.reason"]).await?;
        ensure!(events.contains(Reason::DriftReverted.as_str()), "events: {events}");
        Ok(())
    })
    .await
}
