//! Abort comes first: whatever state the candidate is in, users end at the stable revision.

use anyhow::{Context as _, Result, ensure};
use shop_crds::{Reason, ShopServiceStatus, Verb, status::RevisionResult};
use shop_e2e::{
    harness::{eventually, test},
    scenario::{PATIENCE, Shop, Spec, switch_fault_on},
};

#[test]
fn an_abort_before_the_candidate_is_ready_loses_nothing() {
    test("an_abort_before_the_candidate_is_ready_loses_nothing", async |session| {
        let spec = Spec::new(1).replicas(1).drain("5s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).fault("not-ready")).await?;
        let starting = |status: &ShopServiceStatus| status.candidate.is_some();
        shop.wait("a candidate", PATIENCE, starting).await?;

        shop.carry_out(Verb::Abort, 2, "test: it never gets ready", PATIENCE).await?;
        super::undone(&shop, 2, RevisionResult::Aborted, &[Reason::Decided]).await?;
        shop.wait_no_pods(2, PATIENCE).await?;
        let report = super::without_failure(load).await?;
        ensure!(report.answered_by("v2") == 0, "users saw the candidate");
        Ok(())
    });
}

#[test]
fn users_go_back_when_no_pod_of_the_new_revision_is_ready_any_more() {
    test("users_go_back_when_no_pod_of_the_new_revision_is_ready_any_more", async |session| {
        let spec = Spec::new(1).replicas(2).keep_old("10m").drain("5s");
        let shop = super::stable(session, &spec).await?;
        shop.apply(&spec.clone().tag(2).fault("switchable")).await?;
        shop.wait_active(2, PATIENCE).await?;
        all_pods_get_unready(&shop, 2).await?;

        // By itself or by the decision, whichever comes first: the way back does not need the new revision.
        let decided = shop.decide(Verb::Rollback, 2, "test: nothing is ready", PATIENCE).await?;
        shop.wait_active(1, PATIENCE)
            .await
            .with_context(|| format!("after the decision {:?}", decided.status))?;
        let plan = shop.plan(super::RATE).await?;
        shop.reachable(&plan, PATIENCE).await
    });
}

/// Makes every pod of a revision answer its readiness probe with 503, and waits until the cluster has seen it.
async fn all_pods_get_unready(shop: &Shop, revision: i64) -> Result<()> {
    for pod in shop.pods(Some(revision)).await? {
        let ip = pod.status.and_then(|status| status.pod_ip).context("a ready pod has an address")?;
        switch_fault_on(&ip, "not-ready").await?;
    }
    eventually("no pod of the new revision is ready", async || {
        for pod in shop.pods(Some(revision)).await? {
            let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready =
                conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            ensure!(!ready, "{:?} is ready", pod.metadata.name);
        }
        Ok(())
    })
    .await
}
