//! Candidates and first revisions that are late: held, given up, or mended.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use shop_crds::{Reason, ShopServiceStatus, Verb, status::RevisionResult};
use shop_e2e::{
    harness::{eventually, test},
    scenario::{PATIENCE, Shop, switch_fault_off, without_failure},
};

/// Cases 4 and 10: `onFailure: hold` keeps a candidate that is late, and it can still be promoted.
#[test]
fn a_late_candidate_is_held_and_can_be_promoted() {
    test("a_late_candidate_is_held_and_can_be_promoted", async |session| {
        let policy = json!({"release": {"onFailure": "hold"}});
        let spec = super::spec().replicas(1).patch(policy);
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let late = spec.clone().tag(2).fault("switchable").fault("not-ready").progress_deadline("10s");
        shop.apply(&late).await?;
        let held = |status: &ShopServiceStatus| {
            status.blocked.as_ref().is_some_and(|blocked| blocked.reason == Reason::OnHold)
        };
        let status = shop.wait("revision 2 on hold", PATIENCE, held).await?;
        ensure!(super::active(&status) == Some(1), "users were moved");
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 1), (2, 1)].into(), "the late pod does not stay: {counts:?}");

        shop.merge(&json!({"spec": {"release": {"progressDeadline": "10m"}}})).await?;
        mend(&shop, 2).await?;
        shop.carry_out(Verb::Promote, 2, "test: it is ready after all", PATIENCE).await?;
        let status = super::ended(&shop, 2, RevisionResult::Completed).await?;
        ensure!(super::active(&status) == Some(2), "users are not with revision 2");
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}

/// Case 5: where there is nothing to go back to, a late revision is degraded, and recovers by itself.
#[test]
fn a_late_first_revision_recovers_by_itself() {
    test("a_late_first_revision_recovers_by_itself", async |session| {
        let spec = super::spec().replicas(1).fault("switchable").fault("not-ready").progress_deadline("10s");
        let shop = Shop::new(session.client(), session.namespace(), "product").await?;
        shop.apply(&spec).await?;
        let late = |status: &ShopServiceStatus| {
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            ready.is_some_and(|ready| ready.status == "False") && super::active(status) == Some(1)
        };
        shop.wait("condition Ready at False", PATIENCE, late).await?;
        mend(&shop, 1).await?;
        let status = shop.wait_stable(1, PATIENCE).await?;
        ensure!(status.last_revision == 1, "another revision was cut");
        ensure!(status.ready.as_deref() == Some("1/1"), "READY says {:?}", status.ready);
        Ok(())
    });
}

/// Makes the pod of a revision ready.
async fn mend(shop: &Shop, revision: i64) -> Result<()> {
    eventually("the app takes the fault back", async || {
        let pods = shop.pods(Some(revision)).await?;
        let pod = pods.into_iter().next().context("it has no pod")?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("its pod has no address")?;
        switch_fault_off(&ip, "not-ready").await
    })
    .await
}
