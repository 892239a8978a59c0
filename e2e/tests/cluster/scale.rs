//! Replicas change live: no revision is cut, and `kubectl scale` works.

use anyhow::ensure;
use shop_crds::ShopServiceStatus;
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn kubectl_scale_changes_the_active_revision() {
    test("kubectl_scale_changes_the_active_revision", async |session| {
        let shop = super::stable(session, &Spec::new(1).replicas(1)).await?;
        for (replicas, ready) in [("3", "3/3"), ("2", "2/2")] {
            session.kubectl(&["scale", "shop/product", &format!("--replicas={replicas}")]).await?;
            let scaled = |status: &ShopServiceStatus| status.ready.as_deref() == Some(ready);
            let status = shop.wait(&format!("{ready} ready"), PATIENCE, scaled).await?;
            ensure!(status.last_revision == 1, "scaling cut a revision");
            ensure!(status.selector.is_some(), "an autoscaler finds no selector");
        }
        Ok(())
    });
}
