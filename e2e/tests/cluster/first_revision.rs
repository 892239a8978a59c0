//! The first revision has nothing to go back to: it is told as degraded, and the next spec mends it.

use anyhow::ensure;
use serde_json::json;
use shop_crds::ShopServiceStatus;
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn a_first_revision_that_fails_is_degraded_until_the_spec_is_mended() {
    test("a_first_revision_that_fails_is_degraded_until_the_spec_is_mended", async |session| {
        let shop = super::shop(session).await?;
        let broken = Spec::new(1).replicas(1).patch(json!({"release": {"progressDeadline": "15s"}}));
        let mut object = broken.object(&shop.namespace, &shop.name);
        if let Some(image) = object.pointer_mut("/spec/image") {
            *image = json!("registry.local/shop/absent:1");
        }
        shop.apply_object(&object).await?;
        let told = |status: &ShopServiceStatus| {
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            ready.is_some_and(|ready| ready.status == "False" && ready.message.contains("absent:1"))
        };
        shop.wait("a condition Ready that names the image", PATIENCE, told).await?;

        shop.apply(&broken.tag(2)).await?;
        let status = shop.wait_stable(2, PATIENCE).await?;
        ensure!(status.ready.as_deref() == Some("1/1"), "READY says {:?}", status.ready);
        Ok(())
    });
}
