//! Plain updates, and what is kept in the status and told as events about them.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use shop_crds::{Reason, ShopServiceStatus, status::RevisionResult};
use shop_e2e::{
    harness::{eventually, test},
    scenario::{PATIENCE, Shop, outcome_of, without_failure},
};

/// Cases 1, 22, 24 and 34.
#[test]
fn an_update_is_told_from_its_cut_to_the_drain_of_the_old_revision() {
    test("an_update_is_told_from_its_cut_to_the_drain_of_the_old_revision", async |session| {
        let shop = super::stable(session, &super::spec()).await?;
        let first = completed(&shop.status().await?, 1)?;
        told(&shop, 1, &[Reason::RevisionCut, Reason::ReleaseStarted, Reason::ReleaseCompleted]).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        shop.apply(&super::spec().tag(2)).await?;
        let both = |status: &ShopServiceStatus| super::active(status) == Some(2);
        shop.wait("users with revision 2", PATIENCE, both).await?;
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 2), (2, 2)].into(), "after the switch there are {counts:?}");
        let status = shop.wait_stable(2, PATIENCE).await?;
        ensure!(completed(&status, 2)? >= first, "revision 2 ended before revision 1");
        shop.wait_no_pods(1, PATIENCE).await?;
        let ours = [
            Reason::RevisionCut,
            Reason::ReleaseStarted,
            Reason::Promoted,
            Reason::Switched,
            Reason::ReleaseCompleted,
        ];
        told(&shop, 2, &ours).await?;
        told(&shop, 1, &[Reason::Drained]).await?;

        let released = outcome_of(&status, 2).cloned();
        session.kubectl(&["scale", "shop/product", "--replicas=1"]).await?;
        let scaled = |status: &ShopServiceStatus| status.ready.as_deref() == Some("1/1");
        let status = shop.wait("one pod", PATIENCE, scaled).await?;
        ensure!(status.last_revision == 2, "scaling cut a revision");
        ensure!(outcome_of(&status, 2).cloned() == released, "scaling changed how the release ended");

        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}

/// Case 31: the spec returns to the revision before the active one while a third is being released.
#[test]
fn a_return_to_an_older_revision_takes_the_place_of_a_candidate() {
    test("a_return_to_an_older_revision_takes_the_place_of_a_candidate", async |session| {
        let spec = super::spec().replicas(1);
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let view = load.view();
        shop.apply(&spec.clone().tag(2)).await?;
        shop.wait_stable(2, PATIENCE).await?;
        // Until then a WebSocket that was open before the switch is answered by revision 1.
        shop.wait_no_pods(1, PATIENCE).await?;
        let second = view.now();

        shop.apply(&spec.clone().tag(3).fault("not-ready")).await?;
        let starts = |status: &ShopServiceStatus| {
            status.candidate.as_ref().is_some_and(|candidate| candidate.revision == 3)
        };
        shop.wait("revision 3 as candidate", PATIENCE, starts).await?;
        shop.apply(&spec).await?;
        let status = shop.wait_stable(1, PATIENCE).await?;
        ensure!(super::active(&status) == Some(1), "revision 1 did not come back under its number");
        let third = outcome_of(&status, 3).map(|outcome| outcome.result);
        ensure!(matches!(third, None | Some(RevisionResult::Superseded)), "revision 3 ended as {third:?}");

        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, second)?;
        super::followed(&report, 2, 1, second, report.ended)
    });
}

fn completed(status: &ShopServiceStatus, number: i64) -> Result<jiff::Timestamp> {
    let outcome = outcome_of(status, number).context("its release has no outcome")?;
    ensure!(outcome.result == RevisionResult::Completed, "revision {number} ended as {outcome:?}");
    let cut = status.revisions.iter().find(|revision| revision.number == number).context("it is living")?;
    ensure!(cut.created.0 <= outcome.at.0, "revision {number} ended before it was cut");
    Ok(outcome.at.0)
}

/// Waits until events about a revision have been recorded with these reasons, in this order.
async fn told(shop: &Shop, number: i64, reasons: &[Reason]) -> Result<()> {
    let wanted: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    let about = format!("revision {number}");
    eventually("the release is told", async || {
        let mut events = shop.api::<Event>().list(&ListParams::default()).await?.items;
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        let ours = events.iter().filter(|event| {
            let words = event.note.as_deref().unwrap_or_default();
            words.split([',', ';', ' ']).collect::<Vec<_>>().join(" ").contains(&about)
        });
        let told: Vec<&str> = ours.filter_map(|event| event.reason.as_deref()).collect();
        let mut left = told.iter();
        let in_order = wanted.iter().all(|reason| left.any(|seen| seen == reason));
        ensure!(in_order, "told about revision {number}: {told:?}, wanted {wanted:?}");
        Ok(())
    })
    .await
}
