//! The two-line ShopService just works: image and port are enough.

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use shop_crds::names;
use shop_e2e::{
    harness::test,
    load::Load,
    scenario::{PATIENCE, Shop},
};

#[test]
fn a_two_line_service_gets_ready_and_answers() {
    test("a_two_line_service_gets_ready_and_answers", async |session| {
        let shop = super::shop(session).await?;
        let applied = session
            .apply(
                "apiVersion: shopkeeper.dev/v1alpha1\nkind: ShopService\nmetadata: {name: product}\nspec:\n  \
                 image: registry.local/shop/shopd:1\n  port: 8080\n",
            )
            .await?;
        ensure!(!applied.contains("Warning"), "apply warns: {applied}");
        let status = shop.wait_stable(1, PATIENCE).await?;
        ensure!(status.ready.as_deref() == Some("1/1"), "READY says {:?}", status.ready);

        let listed = session.kubectl(&["get", "shop", "product"]).await?;
        for column in ["READY", "ACTIVE", "CANDIDATE", "PHASE", "MESSAGE", "AGE"] {
            ensure!(listed.contains(column), "kubectl get shop has no column {column}:\n{listed}");
        }
        every_protocol_answers(&shop).await?;
        objects_are_as_designed(&shop).await
    });
}

async fn every_protocol_answers(shop: &Shop) -> Result<()> {
    let plan = shop.plan(50).await?;
    shop.reachable(&plan, PATIENCE).await?;
    let load = Load::start(plan);
    ensure!(load.view().requests(100, PATIENCE).await, "100 requests took too long");
    let report = super::without_failure(load).await?;
    ensure!(
        report.kinds.values().all(|count| count.requests > 0),
        "not every kind was tried: {:?}",
        report.kinds
    );
    Ok(())
}

async fn objects_are_as_designed(shop: &Shop) -> Result<()> {
    for name in
        [names::users_service("product"), names::pods_service("product"), names::preview_service("product")]
    {
        let service: Service = shop.api().get(&name).await?;
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        let selects = selector.get(names::LABEL_REVISION).map(String::as_str);
        ensure!(selects == Some("1"), "the Service {name} selects {selector:?}");
    }
    let account: ServiceAccount = shop.api().get(&names::service_account("product")).await?;
    ensure!(account.automount_service_account_token == Some(false), "pods get a token");
    shop.api::<PodDisruptionBudget>().get(&names::revision("product", 1)).await?;
    for pod in shop.pods(Some(1)).await? {
        sidecar_comes_first(&pod)?;
    }
    Ok(())
}

fn sidecar_comes_first(pod: &Pod) -> Result<()> {
    let spec = pod.spec.clone().unwrap_or_default();
    let first = spec.init_containers.unwrap_or_default().into_iter().next();
    let native = first.is_some_and(|container| {
        container.name == names::SIDECAR_CONTAINER && container.restart_policy.as_deref() == Some("Always")
    });
    ensure!(native, "the sidecar is not the first init container");
    ensure!(spec.automount_service_account_token == Some(false), "the pod gets a token");
    Ok(())
}
