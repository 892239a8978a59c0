//! `cargo bench-restart`: what users notice when every pod of a service is replaced, again and again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;
use shop_crds::Verb;
use shop_e2e::{
    cluster::{Cluster, DEFAULT_NAME},
    load::{Connections, Latency, Report, View},
    program,
    scenario::{Shop, Spec, bench, tell},
};

/// Where the measured service is.
const NAMESPACE: &str = "bench-restart";
/// Its name.
const NAME: &str = "product";
/// Longest wait for one restart of all pods, and for the service to be there or gone.
const PATIENCE: Duration = Duration::from_mins(5);
/// Longest measurement of a replacement, on average.
const EACH: Duration = Duration::from_secs(15);

/// Replace pods by rolling restarts under constant load over keep-alive, new, HTTP/2, gRPC and WebSocket connections.
///
/// A request that fails is one too many. What ends in order is counted apart: `Connection: close` on an answer, GOAWAY, and a
/// WebSocket's close frame with 1012. Load and service share this machine: compare figures of one run only.
#[derive(Parser)]
#[command(name = "cargo bench-restart", bin_name = "cargo bench-restart", version, max_term_width = 110)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// At least so many pods are replaced, all pods of the service each time.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    replacements: u32,
    /// Pods of the service.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    replicas: u8,
    /// Requests in a second.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=5_000))]
    rate: u32,
    /// The cluster to use; started if it does not run.
    #[arg(long, default_value = DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Figures {
    replacements: u32,
    requests: u64,
    failed: u64,
    failures: BTreeMap<&'static str, u64>,
    latency: Latency,
    connections: BTreeMap<&'static str, Connections>,
    seconds: u64,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let limit = PATIENCE * 3 + EACH * arguments.replacements;
    let figures = bench(&arguments.cluster, limit, async |cluster| measure(cluster, arguments).await)?;
    tell(&figures, arguments.json, Figures::print)
}

async fn measure(cluster: &Cluster, arguments: &Arguments) -> Result<Figures> {
    let shop = Shop::new(cluster.client().await?, NAMESPACE, NAME).await?;
    shop.delete(PATIENCE).await.context("remove what an earlier run left")?;
    shop.apply(&Spec::new(1).replicas(arguments.replicas.into()).drain("3s")).await?;
    shop.wait_stable(1, PATIENCE).await?;
    let begun = Instant::now();
    let load = shop.traffic(arguments.rate, PATIENCE).await?;
    let mut replaced = 0;
    while replaced < arguments.replacements {
        shop.carry_out(Verb::Restart, 1, "bench: new pods", PATIENCE).await?;
        shop.wait_stable(1, PATIENCE).await?;
        replaced += u32::from(arguments.replicas);
        progress(&load.view(), replaced, arguments.replacements);
    }
    let report = load.stop().await;
    shop.delete(PATIENCE).await.context("remove the measured service")?;
    Ok(Figures::of(&report, replaced, begun.elapsed()))
}

fn progress(load: &View, replaced: u32, of: u32) {
    let live = load.live();
    let at = live.at as f64 / 1e6;
    eprintln!(
        "{at:>6.0} s  {replaced} of {of} pods replaced; {} requests, {} failed",
        live.requests, live.failed
    );
    if live.failed > 0 {
        eprintln!("          {:?}", failures(&load.report()));
    }
}

fn failures(report: &Report) -> BTreeMap<&'static str, u64> {
    report.failures.iter().map(|(why, count)| (why.as_str(), *count)).collect()
}

impl Figures {
    fn of(report: &Report, replacements: u32, took: Duration) -> Self {
        Self {
            replacements,
            requests: report.requests(),
            failed: report.failed(),
            failures: failures(report),
            latency: report.latency(|_| true),
            connections: report
                .kinds
                .iter()
                .map(|(kind, count)| (kind.as_str(), count.connections))
                .collect(),
            seconds: took.as_secs(),
        }
    }

    fn print(&self) {
        println!("pods replaced     {} in {} s", self.replacements, self.seconds);
        println!("requests          {}", self.requests);
        println!("failed            {} {:?}", self.failed, self.failures);
        let Latency { p50_ms, p95_ms, p99_ms, max_ms, .. } = self.latency;
        println!(
            "latency           p50 {p50_ms:.1} ms, p95 {p95_ms:.1} ms, p99 {p99_ms:.1} ms, at most {max_ms:.0} ms"
        );
        for (kind, connections) in &self.connections {
            let Connections { opened, closed_by_answer, closed_idle, goaway, closed_1012, sent_again } =
                connections;
            println!(
                "{kind:<17} {opened} connections; ended by `close` {closed_by_answer}, idle {closed_idle}, GOAWAY {goaway}, \
                 1012 {closed_1012}; sent again {sent_again}"
            );
        }
    }
}
