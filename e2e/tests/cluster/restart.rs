//! A restart replaces the pods of the active revision, and users notice nothing.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use shop_crds::Verb;
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Shop, Spec},
};

/// Thirty pods are replaced; `cargo bench-restart` replaces a thousand.
const REPLICAS: i32 = 10;
const RESTARTS: usize = 3;

#[test]
fn a_restart_replaces_every_pod_and_loses_nothing() {
    test("a_restart_replaces_every_pod_and_loses_nothing", async |session| {
        let spec = Spec::new(1).replicas(REPLICAS).drain("3s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let mut before = pods(&shop).await?;
        for _ in 0..RESTARTS {
            shop.carry_out(Verb::Restart, 1, "test: new pods", PATIENCE).await?;
            let status = shop.wait_stable(1, PATIENCE).await?;
            let after = pods(&shop).await?;
            let kept: Vec<_> = after.intersection(&before).collect();
            ensure!(kept.is_empty(), "these pods are still there: {kept:?}");
            ensure!(after.len() == before.len(), "there are {after:?}");
            ensure!(status.last_revision == 1, "a restart cut a revision");
            before = after;
        }
        super::without_failure(load).await?;
        Ok(())
    });
}

/// Unique ids of the pods that do not stop.
async fn pods(shop: &Shop) -> Result<BTreeSet<String>> {
    let pods = shop.pods(Some(1)).await?.into_iter().map(|pod| pod.metadata);
    Ok(pods.filter(|pod| pod.deletion_timestamp.is_none()).filter_map(|pod| pod.uid).collect())
}
