//! How exactly a canary's share is kept: answers counted by version, on every kind of connection that carries single requests.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use shop_crds::{Reason, ShopServiceStatus, Verb};
use shop_e2e::{
    load::{Kind, Load, Mix, Report},
    scenario::{PATIENCE, Shop, Spec},
};

use crate::Arguments;

/// Shares that are asked for, in parts per 10,000, and as the spec has them.
const SHARES: [(i64, &str); 3] = [(10, "0.1%"), (1_000, "10%"), (5_000, "50%")];
/// Requests in a second.
const RATE: u32 = 600;
/// A message on a WebSocket goes where its handshake went: it says nothing about shares.
const MIX: Mix = Mix([60, 15, 15, 10, 0]);

/// What came of one share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// What was asked for, in percent.
    pub(crate) asked: f64,
    /// Answers of the candidate, in percent of all.
    pub(crate) got: f64,
    /// The same on kept-alive HTTP/1 connections.
    pub(crate) kept_alive: f64,
}

impl Shared {
    /// The larger distance from what was asked for, in points.
    pub(crate) fn error(&self) -> f64 {
        (self.got - self.asked).abs().max((self.kept_alive - self.asked).abs())
    }
}

/// Stops a canary at each share, and counts.
pub(crate) async fn measure(shop: &Shop, arguments: &Arguments) -> Result<Vec<Shared>> {
    let mut found = Vec::new();
    if arguments.requests == 0 {
        return Ok(found);
    }
    let steps: Vec<_> =
        SHARES.iter().flat_map(|(_, share)| [json!({"weight": share}), json!({"pause": "manual"})]).collect();
    let canary = json!({"release": {"strategy": "canary", "canary": {"steps": steps}}});
    let spec = Spec::new(1).keep_old("1s").drain("3s").patch(canary);
    shop.apply(&spec).await?;
    shop.wait_stable(1, PATIENCE).await?;
    let mut plan = shop.plan(RATE).await?;
    shop.reachable(&plan, PATIENCE).await?;
    plan.mix = MIX;
    plan.requests = Some(arguments.requests);
    shop.apply(&spec.clone().tag(2)).await?;
    for (parts, share) in SHARES {
        let status =
            shop.wait(&format!("a share of {share} and its pause"), PATIENCE, pauses_at(parts)).await?;
        let report = Load::start(plan.clone()).finish().await;
        ensure!(report.failed() == 0, "{} requests failed: {:?}", report.failed(), report.failures);
        let shared = count(&report, parts as f64 / 100.0);
        eprintln!(
            "        {share} asked for: {:.2} % of {} requests, {:.2} % on kept-alive connections",
            shared.got,
            report.requests(),
            shared.kept_alive
        );
        found.push(shared);
        let candidate = status.candidate.context("it has a candidate")?.revision;
        // It is done when users are with the candidate, which is some shares later.
        shop.decide_only(Verb::Promote, candidate, "bench: the share was counted").await?;
    }
    shop.wait_stable(2, PATIENCE).await?;
    Ok(found)
}

fn pauses_at(parts: i64) -> impl Fn(&ShopServiceStatus) -> bool {
    move |status| {
        let weight = status.release.as_ref().and_then(|release| release.weight);
        let reason = status.blocked.as_ref().map(|blocked| blocked.reason);
        weight == Some(parts) && reason == Some(Reason::AwaitingPromotion)
    }
}

fn count(report: &Report, asked: f64) -> Shared {
    let candidate = report.version(&Spec::version(2));
    let share = |kind: Option<Kind>| {
        let answers = report.samples.iter().filter(|sample| kind.is_none_or(|kind| sample.kind == kind));
        let (all, its) = answers.fold((0_u64, 0_u64), |(all, its), sample| {
            (all + 1, its + u64::from(Some(sample.version) == candidate))
        });
        its as f64 * 100.0 / all.max(1) as f64
    };
    Shared { asked, got: share(None), kept_alive: share(Some(Kind::KeepAlive)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shop_e2e::load::{Clock, Sample, VersionId};

    use super::*;

    #[test]
    fn shares_are_counted_on_kept_alive_connections_too() {
        let sample = |kind, version| Sample {
            kind,
            failure: None,
            version: VersionId(version),
            scheduled: 0,
            begun: 0,
            sent: 0,
            ended: 1,
        };
        let mut samples = vec![sample(Kind::KeepAlive, 1); 19];
        samples.push(sample(Kind::KeepAlive, 2));
        samples.extend(vec![sample(Kind::Http2, 1); 17]);
        samples.extend(vec![sample(Kind::Http2, 2); 3]);
        let report = Report {
            clock: Clock::start(),
            ended: 1,
            samples,
            not_kept: 0,
            versions: ["", "v1", "v2"].map(str::to_owned).to_vec(),
            kinds: BTreeMap::new(),
            failures: BTreeMap::new(),
            late: 0,
        };
        let shared = count(&report, 10.0);
        assert!((shared.got - 10.0).abs() < 1e-9 && (shared.kept_alive - 5.0).abs() < 1e-9, "{shared:?}");
        assert!((shared.error() - 5.0).abs() < 1e-9, "{shared:?}");
    }
}
