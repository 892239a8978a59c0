//! Candidates that never get users: aborted, tried again, superseded, taken back.

use anyhow::ensure;
use shop_crds::{Reason, Verb, status::RevisionResult};
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, outcome_of, without_failure},
};

/// Cases 11, 17, 27, 28, 29 and 30.
#[test]
fn candidates_come_and_go_while_users_stay() {
    test("candidates_come_and_go_while_users_stay", async |session| {
        let spec = super::spec().replicas(1).manual();
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        // Aborted: its pods go, and the same inputs are not tried again by themselves.
        shop.apply(&spec.clone().tag(2)).await?;
        super::awaits_promotion(&shop, 2).await?;
        shop.carry_out(Verb::Abort, 2, "test: not this one", PATIENCE).await?;
        super::ended(&shop, 2, RevisionResult::Aborted).await?;
        shop.wait_no_pods(2, PATIENCE).await?;

        // Tried again because somebody says so.
        shop.carry_out(Verb::Retry, 2, "test: this one after all", PATIENCE).await?;
        super::awaits_promotion(&shop, 2).await?;

        // A newer one takes its place.
        shop.apply(&spec.clone().tag(3)).await?;
        let status = super::awaits_promotion(&shop, 3).await?;
        let second = outcome_of(&status, 2).map(|outcome| (outcome.result, outcome.reason));
        let superseded = Some((RevisionResult::Superseded, Reason::Superseded));
        ensure!(second.is_none() || second == superseded, "revision 2 ended as {second:?}");
        shop.wait_no_pods(2, PATIENCE).await?;

        // The spec goes back to what users have.
        shop.apply(&spec).await?;
        let status = shop.wait_stable(1, PATIENCE).await?;
        let third = outcome_of(&status, 3).map(|outcome| (outcome.result, outcome.reason));
        let restored = Some((RevisionResult::Superseded, Reason::InputsRestored));
        ensure!(third.is_none() || third == restored, "revision 3 ended as {third:?}");
        shop.wait_no_pods(3, PATIENCE).await?;

        let report = without_failure(load).await?;
        super::only(&report, &[1])
    });
}

/// Case 17: after a failed candidate the next one is released, and users are with the first until then.
#[test]
fn the_revision_after_an_aborted_one_is_released() {
    test("the_revision_after_an_aborted_one_is_released", async |session| {
        let spec = super::spec().replicas(1);
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).fault("crash-at-start")).await?;
        let status = super::ended(&shop, 2, RevisionResult::Aborted).await?;
        ensure!(super::active(&status) == Some(1), "users are not with revision 1");
        shop.apply(&spec.clone().tag(3)).await?;
        let status = super::ended(&shop, 3, RevisionResult::Completed).await?;
        ensure!(super::active(&status) == Some(3), "users are not with revision 3");
        let report = without_failure(load).await?;
        super::only(&report, &[1, 3])?;
        super::followed(&report, 1, 3, 0, report.ended)
    });
}
