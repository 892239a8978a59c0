//! Config is part of a revision: a change of it alone makes one, and a rollback brings the old one back.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use serde_json::json;
use shop_crds::{ShopServiceStatus, Verb, names};
use shop_e2e::{
    harness::{Session, test},
    scenario::{PATIENCE, Shop, Spec, is_stable},
};

fn settings(greeting: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"greeting": greeting},
    })
    .to_string()
}

fn active(number: i64) -> impl Fn(&ShopServiceStatus) -> bool {
    move |status| is_stable(status) && status.active.as_ref().is_some_and(|active| active.revision == number)
}

#[test]
fn config_makes_revisions_and_comes_back_with_a_rollback() {
    test("config_makes_revisions_and_comes_back_with_a_rollback", async |session| {
        session.apply(&settings("one")).await?;
        let config = json!({"config": [{"configMap": "settings", "mountPath": "/etc/settings"}]});
        // Long enough for both objects of one `kubectl apply` to arrive, on a slow machine too.
        let spec = Spec::new(1).replicas(1).keep_old("1s").drain("5s").settle("5s").patch(config);
        let shop = super::stable(session, &spec).await?;
        holds(&shop, 1, "one").await?;

        session.apply(&settings("two")).await?;
        shop.wait("revision 2, by its config alone", PATIENCE, active(2)).await?;
        holds(&shop, 2, "two").await?;

        apply_both(session, &settings("three"), &spec.tag(2)).await?;
        let status = shop.wait("revision 3", PATIENCE, active(3)).await?;
        ensure!(status.last_revision == 3, "one apply made {} revisions", status.last_revision - 2);
        holds(&shop, 3, "three").await?;

        shop.carry_out(Verb::Rollback, 3, "test: back to the old config", PATIENCE).await?;
        shop.wait("revision 2 again", PATIENCE, active(2)).await?;
        holds(&shop, 2, "two").await
    });
}

/// One `kubectl apply` of two files, as of a folder.
async fn apply_both(session: &Session, settings: &str, spec: &Spec) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let service = spec.object(session.namespace(), "product").to_string();
    for (name, content) in [("product.json", service.as_str()), ("settings.json", settings)] {
        std::fs::write(folder.path().join(name), content).with_context(|| format!("write {name}"))?;
    }
    let path = folder.path().to_str().context("a temporary folder has a plain name")?;
    // Server-side and by force: the service was applied by another manager before.
    session.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", path]).await.map(drop)
}

/// The revision's pods mount the copy that holds this greeting, and nobody can change it.
async fn holds(shop: &Shop, revision: i64, greeting: &str) -> Result<()> {
    let name = names::snapshot("product", revision, "settings");
    let copy: ConfigMap = shop.api().get(&name).await?;
    ensure!(copy.immutable == Some(true), "{name} can be changed");
    let found = copy.data.unwrap_or_default().remove("greeting");
    ensure!(found.as_deref() == Some(greeting), "{name} holds {found:?}");
    let deployment: Deployment = shop.api().get(&names::revision("product", revision)).await?;
    let template = serde_json::to_string(&deployment.spec.map(|spec| spec.template))?;
    ensure!(template.contains(&format!("\"{name}\"")), "the pods of revision {revision} do not mount {name}");
    Ok(())
}
