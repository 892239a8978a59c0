//! The release cases that peers test end to end, in our terms, on a real cluster and under traffic: no request fails, and no
//! revision answers outside of its time. `README.md` says which case is where. These run beside each other.

mod analysed;
mod canary;
mod failure;
mod keep_old;
mod paused;
mod preview;
mod undecided;
mod update;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use shop_crds::{Reason, ShopServiceStatus, status::RevisionResult};
use shop_e2e::{
    harness::Session,
    load::Report,
    scenario::{PATIENCE, Shop, Spec, outcome_of},
};

/// Requests in a second: enough to notice a failure, and little beside the other tests.
const RATE: u32 = 50;
/// How long two revisions may answer new requests side by side: a switch takes milliseconds, a busy machine's scheduler more.
const SIDE_BY_SIDE: u64 = 1_000_000;

/// Few pods and short times: what is tested is the order of things.
fn spec() -> Spec {
    Spec::new(1).replicas(2).keep_old("1s").drain("5s")
}

/// The service `product` in the test's namespace, released for the first time, and stable.
async fn stable(session: &Session, spec: &Spec) -> Result<Shop> {
    let shop = Shop::new(session.client(), session.namespace(), "product").await?;
    shop.apply(spec).await?;
    shop.wait_stable(1, PATIENCE).await?;
    Ok(shop)
}

/// Waits until a candidate is ready and nothing but a decision is missing.
async fn awaits_promotion(shop: &Shop, number: i64) -> Result<ShopServiceStatus> {
    let what = format!("revision {number} waiting for a decision");
    shop.wait(&what, PATIENCE, |status| {
        let candidate = status.candidate.as_ref().is_some_and(|candidate| candidate.revision == number);
        let blocked = status.blocked.as_ref().map(|blocked| blocked.reason);
        candidate && blocked == Some(Reason::AwaitingPromotion)
    })
    .await
}

/// Waits until a release has ended like that.
async fn ended(shop: &Shop, number: i64, result: RevisionResult) -> Result<ShopServiceStatus> {
    let what = format!("revision {number} as {result:?}");
    let wished = |status: &ShopServiceStatus| {
        outcome_of(status, number).is_some_and(|outcome| outcome.result == result)
    };
    shop.wait(&what, PATIENCE, wished).await
}

/// How many pods each revision has that do not stop.
async fn pods(shop: &Shop) -> Result<BTreeMap<i64, usize>> {
    let mut counts = BTreeMap::new();
    for pod in shop.pods(None).await?.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let labels = pod.metadata.labels.unwrap_or_default();
        let revision = labels.get(shop_crds::names::LABEL_REVISION).context("a pod without a revision")?;
        *counts.entry(revision.parse().context("a revision is a number")?).or_default() += 1;
    }
    Ok(counts)
}

/// The revision that users reach.
fn active(status: &ShopServiceStatus) -> Option<i64> {
    status.active.as_ref().map(|active| active.revision)
}

/// Checks that one version followed another at a point in time: once the new one has answered, nothing that begins later is
/// answered by the old one.
fn followed(report: &Report, old: u8, new: u8, since: u64, until: u64) -> Result<()> {
    let (old, new) = (Spec::version(old), Spec::version(new));
    let overlap = report.overlap(&old, &new, since..until);
    let overlap = overlap.with_context(|| format!("{new} has not answered"))?;
    let both = u64::try_from(overlap.both().as_micros()).unwrap_or(u64::MAX);
    ensure!(both <= SIDE_BY_SIDE, "{old} answered for {both} µs after {new} had begun");
    Ok(())
}

/// Checks that only these versions answered.
fn only(report: &Report, versions: &[u8]) -> Result<()> {
    let known: Vec<String> = versions.iter().map(|version| Spec::version(*version)).collect();
    let other = report.versions.iter().find(|name| !name.is_empty() && !known.contains(name));
    ensure!(other.is_none(), "{other:?} answered, beside {known:?}");
    Ok(())
}
