//! A strategy that is changed under way, shares of requests, and a promotion that skips what is left.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use shop_crds::{
    Reason, ReleaseDecisionSpec, ShopServiceStatus, Verb,
    status::{RevisionResult, analysis::AnalysisStage},
};
use shop_e2e::{
    harness::test,
    load::Report,
    scenario::{PATIENCE, Spec, without_failure},
};

/// How long answers are counted at a share, in microseconds.
const COUNTED: u64 = 4_000_000;

/// Cases 7, 8 and 26: a preview becomes a canary, keeps its share, and is then promoted fully: the analysis that runs ends, and
/// neither it nor the pause behind it is waited for.
#[test]
fn a_preview_becomes_a_canary_and_a_full_promotion_skips_what_is_left() {
    test("a_preview_becomes_a_canary_and_a_full_promotion_skips_what_is_left", async |session| {
        let spec = super::spec().manual();
        let shop = super::stable(session, &spec).await?;
        let load = shop.traffic(super::RATE, PATIENCE).await?;
        let view = load.view();
        shop.apply(&spec.clone().tag(2)).await?;
        super::awaits_promotion(&shop, 2).await?;
        let canary = json!({"release": {
            "strategy": "canary",
            "canary": {"steps": [{"weight": "25%"}, {"pause": "manual"}, {"analysis": {}}, {"weight": "50%"}, {"pause": "24h"}]},
            "analysis": {"successRate": {"min": "99%"}, "minRequests": 1_000_000, "timeout": "24h"},
        }});
        shop.apply(&spec.clone().tag(2).patch(canary)).await?;
        // Done is what the decision wants when users are with revision 2: that takes the others too.
        shop.decide_only(Verb::Promote, 2, "test: it was looked at").await?;
        let at = |status: &ShopServiceStatus, reason| {
            let weight = status.release.as_ref().and_then(|release| release.weight);
            weight == Some(2_500) && status.blocked.as_ref().map(|blocked| blocked.reason) == Some(reason)
        };
        shop.wait("a quarter of the requests, and a pause", PATIENCE, |status| {
            at(status, Reason::AwaitingPromotion)
        })
        .await?;
        let from = view.now();
        view.until(from + COUNTED).await;
        let until = view.now();

        shop.decide_only(Verb::Promote, 2, "test: the share was looked at").await?;
        let status = shop
            .wait("an analysis at a step", PATIENCE, |status| at(status, Reason::AnalysisRunning))
            .await?;
        let stage = status.release.and_then(|release| release.analysis).map(|analysis| analysis.stage);
        ensure!(stage == Some(AnalysisStage::Step), "it is analysed in {stage:?}");
        let fully =
            ReleaseDecisionSpec { full: true, ..shop.decision(Verb::Promote, 2, "test: enough was seen") };
        shop.carry_out_as(fully, PATIENCE).await?;
        let status = super::ended(&shop, 2, RevisionResult::Completed).await?;
        ensure!(super::active(&status) == Some(2), "users are not with revision 2");
        let report = without_failure(load).await?;
        super::only(&report, &[1, 2])?;
        keeps_a_quarter(&report, from, until)
    });
}

/// Checks the share of what was begun and answered in a time. Messages on a WebSocket go where their stream went.
fn keeps_a_quarter(report: &Report, from: u64, until: u64) -> Result<()> {
    let new = report.version(&Spec::version(2)).context("it has answered")?;
    let counted = report
        .samples
        .iter()
        .filter(|sample| sample.begun == sample.sent && (from..until).contains(&sample.sent));
    let (all, its) =
        counted.fold((0_u32, 0_u32), |(all, its), sample| (all + 1, its + u32::from(sample.version == new)));
    let percent = f64::from(its) * 100.0 / f64::from(all.max(1));
    ensure!(all >= 100 && (20.0..=30.0).contains(&percent), "it had {percent} % of {all} requests");
    Ok(())
}
