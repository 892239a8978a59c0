//! Going back after a switch: at once while the old revision is warm, and from nothing when it is not.

use anyhow::{Result, ensure};
use shop_crds::{Reason, ShopServiceStatus, Verb, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Shop, Spec},
};

#[test]
fn a_rollback_to_a_warm_revision_loses_nothing_and_is_not_undone() {
    test("a_rollback_to_a_warm_revision_loses_nothing_and_is_not_undone", async |session| {
        let spec = Spec::new(1).replicas(2).keep_old("10m").drain("5s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        shop.wait_active(2, PATIENCE).await?;

        shop.carry_out(Verb::Rollback, 2, "test: v2 is not wanted", PATIENCE).await?;
        super::undone(&shop, 2, RevisionResult::RolledBack, &[Reason::Decided, Reason::RolledBack]).await?;
        stays_back(&shop).await?;
        super::without_failure(load).await?;

        shop.carry_out(Verb::Retry, 2, "test: v2 is wanted after all", PATIENCE).await?;
        shop.wait_active(2, PATIENCE).await?;
        Ok(())
    });
}

/// The spec still names what was rolled back: it is not tried again by itself, and the status says so.
async fn stays_back(shop: &Shop) -> Result<()> {
    let told = |status: &ShopServiceStatus| {
        status.blocked.as_ref().is_some_and(|blocked| blocked.reason == Reason::NotTriedAgain)
    };
    let status = shop.wait("that revision 2 is not tried again", PATIENCE, told).await?;
    let command = status.blocked.and_then(|blocked| blocked.command).unwrap_or_default();
    ensure!(command.contains("retry"), "the command that moves it is {command:?}");
    Ok(())
}

#[test]
fn a_rollback_to_a_cold_revision_starts_it_first() {
    test("a_rollback_to_a_cold_revision_starts_it_first", async |session| {
        let spec = Spec::new(1).replicas(1).keep_old("1s").drain("5s");
        let shop = super::stable(session, &spec).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        shop.wait_stable(2, PATIENCE).await?;
        shop.wait_no_pods(1, PATIENCE).await?;

        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.carry_out(Verb::Rollback, 2, "test: v2 is not wanted", PATIENCE).await?;
        let status = shop.wait_stable(1, PATIENCE).await?;
        ensure!(status.active.map(|active| active.revision) == Some(1), "users are not with revision 1");
        super::without_failure(load).await?;
        Ok(())
    });
}
