//! The main job: a new image reaches the users without one failed request, and so does the way back to an old one.

use anyhow::{Result, ensure};
use shop_crds::status::RevisionResult;
use shop_e2e::{
    harness::test,
    scenario::{PATIENCE, Spec},
};

#[test]
fn a_new_image_is_released_without_a_failed_request() {
    test("a_new_image_is_released_without_a_failed_request", async |session| {
        let spec = Spec::new(1).replicas(2).keep_old("1s").drain("5s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        shop.apply(&spec.clone().tag(2)).await?;
        let status = shop.wait_stable(2, PATIENCE).await?;
        ensure!(status.active.map(|active| active.revision) == Some(2), "the second image is not revision 2");
        shop.wait_no_pods(1, PATIENCE).await?;

        // The inputs of a revision that lives: it comes back under its old number.
        shop.apply(&spec).await?;
        let status = shop.wait_stable(1, PATIENCE).await?;
        ensure!(status.active.map(|active| active.revision) == Some(1), "revision 1 did not come back");
        ensure!(status.last_revision == 2, "a revision was cut that nobody asked for");
        shop.wait_no_pods(2, PATIENCE).await?;

        let report = super::without_failure(load).await?;
        ensure!(report.answered_by("v1") > 0 && report.answered_by("v2") > 0, "not both versions answered");
        no_old_answer_at_the_end(&report)
    });
}

fn no_old_answer_at_the_end(report: &shop_e2e::load::Report) -> Result<()> {
    let last_v2 = report.version("v2").and_then(|version| {
        report.samples.iter().filter(|sample| sample.version == version).map(|sample| sample.ended).max()
    });
    let last = report.samples.iter().map(|sample| sample.ended).max();
    ensure!(last_v2 < last, "the revision that was left gave the last answer");
    Ok(())
}

#[test]
fn a_newer_image_takes_the_place_of_a_candidate() {
    test("a_newer_image_takes_the_place_of_a_candidate", async |session| {
        let spec = Spec::new(1).replicas(1).keep_old("1s").drain("5s");
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        let waiting = |number| {
            move |status: &shop_crds::ShopServiceStatus| {
                status.candidate.as_ref().is_some_and(|candidate| candidate.revision == number)
            }
        };
        shop.apply(&spec.clone().tag(2).fault("not-ready")).await?;
        shop.wait("revision 2 as candidate", PATIENCE, waiting(2)).await?;
        shop.apply(&spec.clone().tag(3)).await?;
        let status = shop.wait_stable(3, PATIENCE).await?;

        let superseded = shop_e2e::scenario::outcome_of(&status, 2).map(|outcome| outcome.result);
        ensure!(
            matches!(superseded, None | Some(RevisionResult::Superseded)),
            "revision 2 ended as {superseded:?}"
        );
        let report = super::without_failure(load).await?;
        ensure!(report.answered_by("v2") == 0, "users saw revision 2");
        Ok(())
    });
}
