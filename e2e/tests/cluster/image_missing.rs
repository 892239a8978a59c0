//! An image that does not exist is given up by itself, and users notice nothing.

use anyhow::ensure;
use serde_json::json;
use shop_crds::{Reason, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn an_image_that_does_not_exist_is_aborted() {
    test("an_image_that_does_not_exist_is_aborted", async |session| {
        let shop = super::stable(session, &Spec::new(1).replicas(1)).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.merge(&json!({"spec": {"image": "registry.local/shop/absent:1"}})).await?;
        let reasons = [Reason::ImagePullFailed];
        super::undone(&shop, 2, RevisionResult::Aborted, &reasons).await?;
        let (_, outcome) = super::ended(&shop, 2).await?;
        ensure!(outcome.message.contains("registry.local/shop/absent:1"), "it says {:?}", outcome.message);
        super::without_failure(load).await?;
        Ok(())
    });
}
