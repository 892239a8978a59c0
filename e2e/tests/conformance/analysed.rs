//! Updates that are analysed: before the promotion by a Job, and with users by the sidecars' own counters.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::{Value, json};
use shop_crds::{
    Reason, ShopServiceStatus, Verb,
    status::{
        Phase, RevisionResult,
        analysis::{AnalysisOutcome, AnalysisStage, AnalysisState},
    },
};
use shop_e2e::{
    harness::test,
    load::Report,
    scenario::{PATIENCE, Shop, Spec, without_failure},
};

/// `promoteAfter` of the kitchen sink, in milliseconds.
const PROMOTE_AFTER: i128 = 6_000;

/// Case 14: analysed before the promotion and after it; a return to the revision before is not, and takes no time.
#[test]
fn an_update_is_analysed_before_and_after_its_promotion_and_a_return_is_not() {
    test("an_update_is_analysed_before_and_after_its_promotion_and_a_return_is_not", async |session| {
        let spec = super::spec().replicas(1).manual().keep_old("10m").patch(analysis("--help"));
        let shop = super::stable(session, &spec).await?;
        ensure!(jobs(&shop).await? == 0, "the first revision was analysed");
        let load = shop.traffic(super::RATE, PATIENCE).await?;

        shop.apply(&spec.clone().tag(2)).await?;
        let status = super::awaits_promotion(&shop, 2).await?;
        passed(&status, AnalysisStage::Verifying)?;
        ensure!(super::active(&status) == Some(1), "users were moved without a decision");
        ensure!(jobs(&shop).await? == 1, "the Job did not run once");
        shop.carry_out(Verb::Promote, 2, "test: the analysis has passed", PATIENCE).await?;
        let status = super::ended(&shop, 2, RevisionResult::Completed).await?;
        passed(&status, AnalysisStage::Watching)?;

        shop.apply(&spec).await?;
        let back = |status: &ShopServiceStatus| {
            super::active(status) == Some(1)
                && status.stable.as_ref().is_some_and(|stable| stable.revision == 1)
        };
        let status = shop.wait("revision 1 back, and stable", PATIENCE, back).await?;
        ensure!(status.last_revision == 2, "the return cut a revision");
        ensure!(analysis_of(&status).is_none(), "the return was analysed: {:?}", analysis_of(&status));
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])
    });
}

/// Case 15: a candidate that fails before its promotion has no users; once the analysis is mended it is measured again.
#[test]
fn a_candidate_that_fails_its_analysis_is_held_and_measured_again() {
    test("a_candidate_that_fails_its_analysis_is_held_and_measured_again", async |session| {
        let policy = json!({"release": {"onFailure": "hold", "analysis": {"when": ["verifying"], "successRate": null}}});
        let spec = super::spec().replicas(1).patch(analysis("--no-such-flag")).patch(policy);
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2)).await?;
        let held = |status: &ShopServiceStatus| {
            status.blocked.as_ref().is_some_and(|blocked| blocked.reason == Reason::OnHold)
        };
        let status = shop.wait("revision 2 on hold", PATIENCE, held).await?;
        let analysis = analysis_of(&status).context("it was analysed")?;
        ensure!(analysis.outcome == Some(AnalysisOutcome::Failed), "it ended as {analysis:?}");
        ensure!(super::active(&status) == Some(1), "users were moved");

        shop.merge(&json!({"spec": {"release": {"analysis": {"checks": [smoke("--help")]}}}})).await?;
        shop.carry_out(Verb::Retry, 2, "test: the analysis was wrong", PATIENCE).await?;
        super::ended(&shop, 2, RevisionResult::Completed).await?;
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        super::followed(&report, 1, 2, 0, report.ended)
    });
}

/// Cases 16 and 18: a preview, a Job before the promotion, a promotion after some time and not before it, and then a revision that
/// fails a fifth of its users' requests: they go back, and nothing else has failed.
#[test]
fn users_leave_a_revision_that_fails_their_requests() {
    test("users_leave_a_revision_that_fails_their_requests", async |session| {
        let sink = json!({"release": {"promoteAfter": "6s", "preview": {"replicas": 1}}});
        let spec = super::spec().manual().keep_old("10m").patch(analysis("--help")).patch(sink);
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        shop.apply(&spec.clone().tag(2).fault("error-rate=0.2")).await?;

        let status = shop.wait("a ready preview", PATIENCE, |status| is_in(status, Phase::Verifying)).await?;
        let ready = phase_since(&status)?;
        let counts = super::pods(&shop).await?;
        ensure!(counts == [(1, 2), (2, 1)].into(), "the preview makes {counts:?}");
        let status =
            shop.wait("users with revision 2", PATIENCE, |status| is_in(status, Phase::Watching)).await?;
        let stable = status.stable.as_ref().map(|stable| stable.revision);
        ensure!(super::active(&status) == Some(2) && stable == Some(1), "stable is {stable:?}");
        let waited = phase_since(&status)?.duration_since(ready).as_millis();
        ensure!(waited >= PROMOTE_AFTER, "it was promoted after {waited} ms");

        let status = super::ended(&shop, 2, RevisionResult::Aborted).await?;
        let reason = shop_e2e::scenario::outcome_of(&status, 2).map(|outcome| outcome.reason);
        ensure!(reason == Some(Reason::AnalysisFailed), "it was aborted because of {reason:?}");
        let back = |status: &ShopServiceStatus| {
            shop_e2e::scenario::is_stable(status) && super::active(status) == Some(1)
        };
        shop.wait("users back with revision 1", PATIENCE, back).await?;
        let view = load.view();
        view.until(view.now() + super::SIDE_BY_SIDE).await;
        only_the_fault(&load.stop().await)
    });
}

/// A Job before the promotion, and the sidecars' counters after it.
fn analysis(flag: &str) -> Value {
    json!({"release": {"analysis": {
        "when": ["verifying", "watching"],
        "successRate": {"min": "90%"},
        "minRequests": 60,
        "duration": "1s",
        "checks": [smoke(flag)],
    }}})
}

/// A Job that succeeds if the program knows the flag.
fn smoke(flag: &str) -> Value {
    json!({"name": "smoke", "job": {"image": Spec::image(1), "command": ["/shopd", flag]}})
}

async fn jobs(shop: &Shop) -> Result<usize> {
    Ok(shop.api::<Job>().list(&ListParams::default()).await.context("list Jobs")?.items.len())
}

fn is_in(status: &ShopServiceStatus, phase: Phase) -> bool {
    status.phase == Some(phase)
}

fn phase_since(status: &ShopServiceStatus) -> Result<Timestamp> {
    Ok(status.release.as_ref().context("a release runs")?.phase_since.0)
}

fn analysis_of(status: &ShopServiceStatus) -> Option<AnalysisState> {
    status.release.as_ref()?.analysis.clone()
}

/// Checks that the last analysis was at that stage, and has passed.
fn passed(status: &ShopServiceStatus, stage: AnalysisStage) -> Result<()> {
    let analysis = analysis_of(status).context("it was analysed")?;
    ensure!(
        analysis.stage == stage && analysis.outcome == Some(AnalysisOutcome::Passed),
        "the analysis is {analysis:?}"
    );
    Ok(())
}

/// Checks that nothing failed but what the bad version answered with an error.
fn only_the_fault(report: &Report) -> Result<()> {
    let bad = report.version(&Spec::version(2)).context("it has answered")?;
    let others: Vec<_> =
        report.samples.iter().filter(|sample| sample.failure.is_some() && sample.version != bad).collect();
    ensure!(others.is_empty(), "these failed elsewhere: {others:?}");
    ensure!(report.failed() > 0, "nothing failed");
    super::only(report, &[1, 2])
}
