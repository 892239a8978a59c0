//! Whole blue-green releases, from the new image to the last pod of the old one.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use shop_e2e::{
    cluster::Cluster,
    harness::{Audit, OPERATOR_USER, Request, eventually_within},
    scenario::{PATIENCE, Shop, Spec, release_writes, without_failure},
};

use crate::{Arguments, progress, timeline::Timeline};

/// What still follows a release belongs to it.
const AFTERMATH: u64 = 2_000_000;

/// What one release cost.
pub(crate) struct Whole {
    /// Accepted writes of the operator, without events and leases, by verb and resource.
    pub(crate) writes: BTreeMap<String, usize>,
    /// Refused ones: conflicts with other writers.
    pub(crate) refused: usize,
    /// Objects that were asked for or listed instead of being watched.
    pub(crate) reads: usize,
    /// How long each phase took.
    pub(crate) phase_ms: BTreeMap<&'static str, i64>,
}

impl Whole {
    pub(crate) fn api_writes(&self) -> usize {
        self.writes.values().sum()
    }
}

/// Releases one version after another under a light load.
pub(crate) async fn measure(shop: &Shop, cluster: &Cluster, arguments: &Arguments) -> Result<Vec<Whole>> {
    let spec = Spec::new(1).keep_old("2s").drain("3s");
    shop.apply(&spec).await?;
    shop.wait_stable(1, PATIENCE).await?;
    let load = shop.traffic(arguments.rate, PATIENCE).await?;
    let mut found = Vec::new();
    for number in 0..arguments.releases {
        // One that is new each time: returns to a revision that lives cost less.
        let next = spec.clone().tag(2 + number % 3).fault(&format!("latency={}ms", number / 3 + 1));
        let whole = one(shop, cluster, &next, number, arguments.trace).await?;
        progress(
            &load.view(),
            &format!("release {}: {} writes, {} reads", number + 1, whole.api_writes(), whole.reads),
        );
        found.push(whole);
    }
    without_failure(load).await?;
    Ok(found)
}

async fn one(shop: &Shop, cluster: &Cluster, spec: &Spec, number: u8, trace: bool) -> Result<Whole> {
    let old = shop.status().await?.active.context("a revision is active")?.revision;
    let timeline = Timeline::follow(shop).await?;
    let from = Timestamp::now();
    shop.apply(spec).await?;
    shop.wait_stable(2 + number % 3, PATIENCE).await?;
    shop.wait_no_pods(old, PATIENCE).await?;
    let timeline = timeline.await.context("the watch panicked")??;
    let until = Timestamp::now();
    tokio::time::sleep(Duration::from_micros(AFTERMATH)).await;
    let requests = own_requests(shop, cluster, from).await?;
    if trace {
        tell(&requests, from, until);
    }
    let mut whole =
        Whole { writes: BTreeMap::new(), refused: 0, reads: 0, phase_ms: timeline.milliseconds() };
    for request in release_writes(&requests) {
        if request.code < 400 {
            *whole.writes.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        } else {
            whole.refused += 1;
        }
    }
    whole.reads = requests.iter().filter(|request| matches!(request.verb.as_str(), "get" | "list")).count();
    Ok(whole)
}

/// The operator's requests for the service since then. The log is written a moment after the answer.
async fn own_requests(shop: &Shop, cluster: &Cluster, from: Timestamp) -> Result<Vec<Request>> {
    let audit = Audit::new(cluster.audit_log());
    let found = eventually_within(PATIENCE, "the operator's writes are in the audit log", async || {
        let requests = audit.requests(OPERATOR_USER, None, from, Timestamp::now())?;
        let own: Vec<_> =
            requests.into_iter().filter(|request| request.namespace == shop.namespace).collect();
        ensure!(!own.is_empty(), "there is none");
        Ok(own)
    });
    found.await
}

fn tell(requests: &[Request], from: Timestamp, until: Timestamp) {
    for request in requests {
        let Request { verb, resource, name, code, .. } = request;
        let at = request.at.duration_since(from).as_secs_f64();
        let late = if request.at > until { " after the end" } else { "" };
        eprintln!("        {at:>7.3} s  {verb:<7} {resource:<24} {name} {code}{late}");
    }
}
