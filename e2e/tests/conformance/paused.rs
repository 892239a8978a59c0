//! Pauses, and promotions that skip what is left.

use anyhow::ensure;
use shop_crds::{
    ShopServiceStatus, Verb,
    status::{Phase, RevisionResult},
};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, without_failure},
};

/// Case 23: a paused release takes no step until it is resumed, and an abort works in it all the same.
#[test]
fn a_paused_release_waits_until_it_is_resumed() {
    test("a_paused_release_waits_until_it_is_resumed", async |session| {
        let spec = super::spec().replicas(1).manual();
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        super::awaits_promotion(&shop, 2).await?;
        shop.carry_out(Verb::Pause, 2, "test: wait", PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).automatic()).await?;
        let seen = |status: &ShopServiceStatus| {
            let paused = status.release.as_ref().is_some_and(|release| release.paused.is_some());
            paused && status.conditions.iter().any(|condition| condition.observed_generation >= Some(3))
        };
        let status = shop.wait("the pause, with the new spec seen", PATIENCE, seen).await?;
        ensure!(status.phase == Some(Phase::Verifying), "it went on to {:?}", status.phase);

        shop.carry_out(Verb::Resume, 2, "test: go on", PATIENCE).await?;
        super::ended(&shop, 2, RevisionResult::Completed).await?;

        shop.wait_stable(2, PATIENCE).await?;
        let spec = spec.tag(3);
        shop.apply(&spec).await?;
        super::awaits_promotion(&shop, 3).await?;
        shop.carry_out(Verb::Pause, 3, "test: wait", PATIENCE).await?;
        shop.carry_out(Verb::Abort, 3, "test: not this one", PATIENCE).await?;
        super::ended(&shop, 3, RevisionResult::Aborted).await?;
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}
