//! A candidate at preview size waits for its promotion, however long that takes.

use anyhow::{Result, ensure};
use serde_json::json;
use shop_crds::{Verb, names};
use shop_e2e::{
    harness::{Session, test},
    load::View,
    scenario::{PATIENCE, Shop, without_failure},
};

/// Cases 2, 3, 12, 13, 25.
#[test]
fn a_preview_waits_beyond_the_deadline_and_grows_when_it_is_promoted() {
    test("a_preview_waits_beyond_the_deadline_and_grows_when_it_is_promoted", async |session| {
        let spec = super::spec().manual();
        let shop = super::stable(session, &spec).await?;
        kubectl_waits(session, "Progressing=false").await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        shop.apply(&spec.clone().tag(2)).await?;
        kubectl_waits(session, "Blocked").await?;
        super::awaits_promotion(&shop, 2).await?;
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 2), (2, 1)].into(), "the preview makes {counts:?}");
        preview_is_reachable(&shop).await?;

        // Waiting for people is not what the deadline is about.
        shop.merge(&json!({"spec": {"release": {"progressDeadline": "10s"}}})).await?;
        outlasts(&load.view(), 12_000_000).await;
        super::awaits_promotion(&shop, 2).await?;
        shop.merge(&json!({"spec": {"release": {"progressDeadline": "10m"}}})).await?;

        shop.carry_out(Verb::Promote, 2, "test: it was looked at", PATIENCE).await?;
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 2), (2, 2)].into(), "users were moved to {counts:?}");
        shop.wait_stable(2, PATIENCE).await?;
        kubectl_waits(session, "Progressing=false").await?;
        kubectl_waits(session, "Ready").await?;

        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}

async fn kubectl_waits(session: &Session, condition: &str) -> Result<()> {
    let condition = format!("--for=condition={condition}");
    session.kubectl(&["wait", "shop/product", &condition, "--timeout=180s"]).await.map(drop)
}

/// Who knows the preview's Service reaches the candidate; users do not.
async fn preview_is_reachable(shop: &Shop) -> Result<()> {
    let service: k8s_openapi::api::core::v1::Service =
        shop.api().get(&names::preview_service(&shop.name)).await?;
    let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
    ensure!(selector.get(names::LABEL_REVISION).map(String::as_str) == Some("2"), "it selects {selector:?}");
    Ok(())
}

/// Lets traffic go on for so many microseconds.
async fn outlasts(load: &View, micros: u64) {
    load.until(load.now() + micros).await;
}
