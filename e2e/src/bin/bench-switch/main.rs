//! `cargo bench-switch`: what users notice of many switches and rollbacks.

mod figures;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use jiff::Timestamp;
use serde_json::json;
use shop_crds::Verb;
use shop_e2e::{
    cluster::{Cluster, DEFAULT_NAME},
    harness::{Audit, OPERATOR_USER},
    load::{Load, View},
    program,
    scenario::{LIMIT, PATIENCE, Shop, Spec, bench, release_writes, tell},
};

use figures::{Figures, Round};

const SECOND: u64 = 1_000_000;
/// Where the measured service is.
const NAMESPACE: &str = "bench-switch";
/// Its name.
const NAME: &str = "product";
/// The version that rollbacks return to.
const BASE: u8 = 1;

/// Measure switches and rollbacks under constant load over keep-alive, new, HTTP/2, gRPC and WebSocket connections.
///
/// Each round releases another version and rolls it back two seconds later; its pods are removed under load. Two releases at
/// the end run to their end. Load and service share this machine: compare figures of one run only.
#[derive(Parser)]
#[command(name = "cargo bench-switch", bin_name = "cargo bench-switch", version, max_term_width = 110)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Requests in a second.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    rate: u32,
    /// At least so many requests in all.
    #[arg(long, default_value_t = 300_000, value_name = "N")]
    requests: u64,
    /// So many switches, and as many rollbacks.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    switches: u32,
    /// The cluster to use; started if it does not run.
    #[arg(long, default_value = DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let figures = bench(&arguments.cluster, LIMIT, async |cluster| measure(cluster, arguments).await)?;
    tell(&figures, arguments.json, Figures::print)
}

async fn measure(cluster: &Cluster, arguments: &Arguments) -> Result<Figures> {
    let shop = Shop::new(cluster.client().await?, NAMESPACE, NAME).await?;
    shop.delete(PATIENCE).await.context("remove what an earlier run left")?;
    shop.apply(&spec(BASE)).await?;
    shop.wait_stable(BASE, PATIENCE).await?;
    let mut plan = shop.plan(arguments.rate).await?;
    plan.samples = usize::try_from(arguments.requests.saturating_mul(3)).unwrap_or(usize::MAX).min(3_000_000);
    shop.reachable(&plan, PATIENCE).await?;
    let load = Load::start(plan);
    let bench = Bench { shop: &shop, cluster, load: load.view() };
    let mut rounds = Vec::new();
    let mut writes = Vec::new();
    let share = arguments.requests / u64::from(arguments.rate) * SECOND / u64::from(arguments.switches + 3);
    for number in 0..arguments.switches {
        // Spread over the whole run, so that there is an outside to compare with.
        bench.load.until(u64::from(number + 1) * share).await;
        let tag = tag_of(number);
        let round = bench.there_and_back(tag).await.with_context(|| format!("round {}", number + 1))?;
        bench.progress(
            &format!("round {} of {}: v{tag} and back", number + 1, arguments.switches),
            Some(&round),
        );
        rounds.push(round);
    }
    // Not the version that was rolled back last: the same inputs are not tried again by themselves.
    let other = tag_of(arguments.switches);
    for (old, new) in [(BASE, other), (other, BASE)] {
        let (round, written) = bench.to_its_end(old, new).await.context("a release to its end")?;
        bench.progress(&format!("released v{new} to its end, {written} writes"), Some(&round));
        rounds.push(round);
        writes.push(written);
    }
    let left = arguments.requests.saturating_sub(bench.load.live().requests) / u64::from(arguments.rate) + 60;
    if !bench.load.requests(arguments.requests, Duration::from_secs(left)).await {
        bench.progress("the load could not send all requests in time", None);
    }
    let report = load.stop().await;
    eprintln!("the load itself was late by {:.1} ms at most", report.late as f64 / 1e3);
    ensure!(report.not_kept == 0, "{} requests are missing from the figures", report.not_kept);
    shop.delete(PATIENCE).await.context("remove the measured service")?;
    Ok(Figures::of(&report, &rounds, &writes))
}

/// Pods that stop are given three seconds for their connections, so that long ones end within a round; the old revision is kept
/// for longer than a round needs it.
fn spec(tag: u8) -> Spec {
    Spec::new(tag).keep_old("60s").drain("3s")
}

/// The version of a round; never that of the round before.
fn tag_of(round: u32) -> u8 {
    BASE + 1 + u8::try_from(round % 3).unwrap_or(0)
}

struct Bench<'a> {
    shop: &'a Shop,
    cluster: &'a Cluster,
    load: View,
}

impl Bench<'_> {
    /// Releases a version, and rolls it back; over when its pods are gone.
    async fn there_and_back(&self, tag: u8) -> Result<Round> {
        let applied = self.load.now();
        self.shop.apply(&spec(tag)).await?;
        let status = self.shop.wait_active(tag, PATIENCE).await?;
        let switched = self.first_answer(tag, applied).await?;
        self.load.until(switched + 2 * SECOND).await;
        let revision = status.active.context("a revision is active")?.revision;
        let decided = self.load.now();
        let why = "bench: users go back while the old revision is warm";
        self.shop.carry_out(Verb::Rollback, revision, why, PATIENCE).await?;
        self.shop.wait_stable(BASE, PATIENCE).await?;
        self.shop.wait_no_pods(revision, PATIENCE).await?;
        self.load.until(decided + 3 * SECOND).await;
        let (old, new) = (Spec::version(BASE), Spec::version(tag));
        Ok(Round { old, new, applied, switched, decided: Some(decided), ended: self.load.now() })
    }

    /// Releases a version and leaves it; over when the old one's pods are gone. Counts the operator's writes.
    async fn to_its_end(&self, old: u8, new: u8) -> Result<(Round, usize)> {
        let from = Timestamp::now();
        let before = self.shop.status().await?.active.context("a revision is active")?.revision;
        let applied = self.load.now();
        self.shop.apply(&spec(new).patch(json!({"release": {"keepOld": "2s"}}))).await?;
        self.shop.wait_active(new, PATIENCE).await?;
        let switched = self.first_answer(new, applied).await?;
        self.shop.wait_stable(new, PATIENCE).await?;
        self.shop.wait_no_pods(before, PATIENCE).await?;
        // What still follows belongs to the release too.
        self.load.until(self.load.now() + 2 * SECOND).await;
        let audit = Audit::new(self.cluster.audit_log());
        let requests = audit.requests(OPERATOR_USER, None, from, Timestamp::now())?;
        let own: Vec<_> =
            requests.into_iter().filter(|request| request.namespace == self.shop.namespace).collect();
        let (old, new) = (Spec::version(old), Spec::version(new));
        let round = Round { old, new, applied, switched, decided: None, ended: self.load.now() };
        Ok((round, release_writes(&own).len()))
    }

    async fn first_answer(&self, tag: u8, since: u64) -> Result<u64> {
        let version = Spec::version(tag);
        let first = self.load.first_answer(&version, since, PATIENCE).await;
        first.with_context(|| format!("no answer of {version}"))
    }

    fn progress(&self, text: &str, round: Option<&Round>) {
        let live = self.load.live();
        let at = live.at as f64 / 1e6;
        eprint!("{at:>6.1} s  {text}; {} requests, {} failed", live.requests, live.failed);
        let durations = round.map(|round| round.durations(&self.load.report()));
        let (both, back) = durations.unwrap_or_default();
        for (what, duration) in [("both versions", both), ("back after", back)] {
            if let Some(duration) = duration {
                eprint!("; {what} {} ms", duration.as_millis());
            }
        }
        eprintln!();
    }
}
