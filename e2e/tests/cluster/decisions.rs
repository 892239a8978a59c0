//! A decision moves the revision that it names, or nothing.

use anyhow::{Result, ensure};
use shop_crds::{DecisionOutcome, Reason, ShopServiceStatus, Verb};
use shop_e2e::{
    harness::test,
    scenario::{Decided, PATIENCE, Shop, Spec},
};

fn awaiting(number: i64) -> impl Fn(&ShopServiceStatus) -> bool {
    move |status| {
        let candidate = status.candidate.as_ref().is_some_and(|candidate| candidate.revision == number);
        let blocked = status.blocked.as_ref().map(|blocked| blocked.reason);
        candidate && blocked == Some(Reason::AwaitingPromotion)
    }
}

async fn waits_for_promotion(shop: &Shop, number: i64) -> Result<()> {
    let what = format!("revision {number} waiting for a decision");
    let status = shop.wait(&what, PATIENCE, awaiting(number)).await?;
    let command = status.blocked.and_then(|blocked| blocked.command).unwrap_or_default();
    ensure!(command.contains(&format!("--revision {number}")), "the command that moves it is {command:?}");
    Ok(())
}

fn refused(decided: &Decided, reason: Reason) -> Result<()> {
    let status = &decided.status;
    ensure!(status.outcome == Some(DecisionOutcome::Refused), "it was not refused: {status:?}");
    ensure!(status.reason == Some(reason), "it was refused because of {status:?}");
    ensure!(status.message.as_ref().is_some_and(|message| !message.is_empty()), "nothing says why");
    Ok(())
}

#[test]
fn a_decision_for_another_revision_is_refused() {
    test("a_decision_for_another_revision_is_refused", async |session| {
        let spec = Spec::new(1).replicas(1).keep_old("1s").drain("5s").manual();
        let shop = super::stable(session, &spec).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        waits_for_promotion(&shop, 2).await?;

        let old = shop.decide(Verb::Promote, 1, "test: an old one", PATIENCE).await?;
        refused(&old, Reason::StaleRevision)?;
        ensure!(awaiting(2)(&shop.status().await?), "a refused decision moved revision 2");

        // A newer revision arrives between the test of revision 2 and its promotion.
        shop.apply(&spec.clone().tag(3)).await?;
        waits_for_promotion(&shop, 3).await?;
        let tested = shop.decide(Verb::Promote, 2, "test: revision 2 was tested", PATIENCE).await?;
        refused(&tested, Reason::StaleRevision)?;
        ensure!(awaiting(3)(&shop.status().await?), "a decision for revision 2 moved revision 3");

        shop.carry_out(Verb::Promote, 3, "test: revision 3 was tested", PATIENCE).await?;
        shop.wait_stable(3, PATIENCE).await?;
        Ok(())
    });
}

#[test]
fn a_decision_that_nothing_can_be_done_about_is_refused() {
    test("a_decision_that_nothing_can_be_done_about_is_refused", async |session| {
        let shop = super::stable(session, &Spec::new(1).replicas(1)).await?;
        let early = shop.decide(Verb::Rollback, 1, "test: there is nothing before it", PATIENCE).await?;
        refused(&early, Reason::NoWayBack)?;
        let status = shop.status().await?;
        ensure!(status.active.map(|active| active.revision) == Some(1), "the first revision was left");
        Ok(())
    });
}
