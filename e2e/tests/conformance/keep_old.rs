//! How long the old revision stays.

use anyhow::ensure;
use serde_json::json;
use shop_crds::{ShopServiceStatus, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, without_failure},
};

/// Case 9: the old revision stays for keepOld; a shorter one lets it go at once.
#[test]
fn the_old_revision_stays_until_keep_old_is_lowered() {
    test("the_old_revision_stays_until_keep_old_is_lowered", async |session| {
        let spec = super::spec().replicas(1).keep_old("24h");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        super::ended(&shop, 2, RevisionResult::Completed).await?;
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 1), (2, 1)].into(), "the old revision is not warm: {counts:?}");
        let status = shop.status().await?;
        let stable = status.stable.as_ref().map(|stable| stable.revision);
        ensure!(stable == Some(2) && super::active(&status) == Some(2), "stable is {stable:?}");

        shop.merge(&json!({"spec": {"release": {"keepOld": "1s"}}})).await?;
        shop.wait_no_pods(1, PATIENCE).await?;
        let quiet = |status: &ShopServiceStatus| shop_e2e::scenario::is_stable(status);
        let status = shop.wait("the end of the release", PATIENCE, quiet).await?;
        ensure!(status.last_revision == 2, "a change of keepOld cut a revision");
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}
