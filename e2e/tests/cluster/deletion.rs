//! A ShopService that is deleted takes everything with it that was made for it.

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    apps::v1::ControllerRevision,
    core::v1::{ConfigMap, Secret, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::api::ListParams;
use shop_crds::names;
use shop_e2e::{
    harness::{eventually, test},
    scenario::{PATIENCE, Shop, Spec},
};

#[test]
fn a_deleted_service_leaves_nothing() {
    test("a_deleted_service_leaves_nothing", async |session| {
        session.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n").await?;
        let config = serde_json::json!({"config": [{"configMap": "settings", "mountPath": "/etc/settings"}]});
        let shop = super::stable(session, &Spec::new(1).replicas(1).drain("5s").patch(config)).await?;
        ensure!(left::<ControllerRevision>(&shop).await? == 1, "one revision was expected");
        shop.delete(PATIENCE).await?;
        eventually("nothing is left", async || {
            let counts = [
                left::<ControllerRevision>(&shop).await?,
                left::<ConfigMap>(&shop).await?,
                left::<Secret>(&shop).await?,
                left::<Service>(&shop).await?,
                left::<ServiceAccount>(&shop).await?,
                left::<PodDisruptionBudget>(&shop).await?,
            ];
            ensure!(counts.iter().all(|count| *count == 0), "left: {counts:?}");
            Ok(())
        })
        .await?;
        // What the user made stays.
        session.kubectl(&["get", "configmap", "settings"]).await.map(drop)
    });
}

async fn left<K>(shop: &Shop) -> Result<usize>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let ours = ListParams::default().labels(&format!("{}={}", names::LABEL_SERVICE, shop.name));
    Ok(shop.api::<K>().list(&ours).await?.items.len())
}
