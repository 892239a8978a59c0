//! Aborts after the switch, of a candidate whose pods are not ready any more.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use shop_crds::Verb;
use shop_e2e::{
    load::{Load, Report, View},
    scenario::{PATIENCE, Shop, Spec, switch_fault_on},
};
use tokio::time::sleep;

use crate::{Arguments, progress};

/// Pods of a revision.
const PODS: usize = 4;
/// How long answers are looked at after a decision.
const AFTER: u64 = 3_000_000;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// One abort.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aborted {
    /// Ready pods of the candidate at the decision.
    pub(crate) ready: usize,
    /// From the decision to the last request begun that the candidate answered or that failed.
    pub(crate) took: Duration,
    /// Requests that failed although pods for them were ready.
    pub(crate) failed: u64,
    /// Requests that found no ready pod at all, before the way back was made.
    pub(crate) unserved: u64,
}

/// Breaks and aborts candidates, round after round.
pub(crate) async fn measure(shop: &Shop, arguments: &Arguments) -> Result<Vec<Aborted>> {
    let mut found = Vec::new();
    if arguments.aborts == 0 {
        return Ok(found);
    }
    let replicas = i32::try_from(PODS).context("a small constant")?;
    let spec = Spec::new(1).replicas(replicas).keep_old("10m").drain("5s");
    shop.apply(&spec).await?;
    shop.wait_stable(1, PATIENCE).await?;
    for round in 0..arguments.aborts {
        for ready in [0, PODS / 2, PODS - 1] {
            let fault = format!("latency={}ms", found.len() + 1);
            let candidate = spec.clone().tag(2).fault("switchable").fault(&fault);
            let aborted = one(shop, &spec, &candidate, ready, arguments.rate).await;
            let aborted = aborted.with_context(|| format!("round {}, {ready} pods ready", round + 1))?;
            found.push(aborted);
        }
    }
    Ok(found)
}

async fn one(shop: &Shop, stable: &Spec, candidate: &Spec, ready: usize, rate: u32) -> Result<Aborted> {
    let load = shop.traffic(rate, PATIENCE).await?;
    let view = load.view();
    shop.apply(candidate).await?;
    let status = shop.wait_active(2, PATIENCE).await?;
    let revision = status.active.context("a revision is active")?.revision;
    let broken = view.now();
    break_pods(shop, revision, PODS - ready).await?;
    let decided = view.now();
    // By itself or by the decision, whichever comes first: the way back does not need the candidate.
    shop.decide(Verb::Abort, revision, "bench: its pods are broken", PATIENCE).await?;
    shop.wait_active(1, PATIENCE).await?;
    view.until(decided + AFTER).await;
    let aborted = judge(load, &view, ready, broken, decided).await?;
    // The candidate's inputs are taken back, so that the next one is new.
    shop.apply(stable).await?;
    shop.wait_stable(1, PATIENCE).await?;
    shop.wait_no_pods(revision, PATIENCE).await?;
    Ok(aborted)
}

async fn judge(load: Load, view: &View, ready: usize, broken: u64, decided: u64) -> Result<Aborted> {
    let report = load.stop().await;
    let lingered = report.lingered(&Spec::version(2), decided, report.ended);
    let last = failures_begun(&report).filter(|begun| *begun > decided).max();
    let took = lingered.max(Duration::from_micros(last.map_or(0, |last| last - decided)));
    let back = decided + u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    // With no ready pod behind the Service there is nobody who could answer until users are back.
    let excused = |begun: u64| ready == 0 && (broken..=back).contains(&begun);
    let unserved = failures_begun(&report).filter(|begun| excused(*begun)).count() as u64;
    let failed = report.failed() - unserved;
    ensure!(report.not_kept == 0, "{} requests are missing from the figures", report.not_kept);
    let aborted = Aborted { ready, took, failed, unserved };
    let text = format!(
        "abort with {ready} of {PODS} pods ready: back after {} ms, {failed} failed, {unserved} without a pod",
        took.as_millis()
    );
    progress(view, &text);
    if failed > 0 {
        eprintln!("        failed: {:?}", report.failures);
    }
    Ok(aborted)
}

fn failures_begun(report: &Report) -> impl Iterator<Item = u64> {
    report.samples.iter().filter(|sample| sample.failure.is_some()).map(|sample| sample.sent)
}

/// Makes so many pods of a revision unready, and waits until the cluster has seen it.
async fn break_pods(shop: &Shop, revision: i64, count: usize) -> Result<()> {
    let pods = shop.pods(Some(revision)).await?;
    ensure!(pods.len() >= count, "revision {revision} has {} pods", pods.len());
    for pod in pods.iter().take(count) {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        switch_fault_on(ip.context("a ready pod has an address")?, "not-ready").await?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = shop.pods(Some(revision)).await?.iter().filter(|pod| is_ready(pod)).count();
        // The operator may have seen it first, and be taking the pods away already.
        if ready <= PODS - count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{ready} pods of revision {revision} are still ready");
        sleep(LOOK).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
