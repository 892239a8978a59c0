//! `cargo bench-release`: what a release costs the API server, how long its phases take, how fast an abort is, and
//! how exactly a canary keeps its share.

mod abort;
mod figures;
mod share;
mod timeline;
mod whole;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use shop_e2e::{
    cluster::{Cluster, DEFAULT_NAME},
    load::View,
    program,
    scenario::{LIMIT, PATIENCE, Shop, bench, tell},
};

use figures::Figures;

/// Where the measured services are.
const NAMESPACE: &str = "bench-release";
/// Their name.
const NAME: &str = "product";

/// Measure releases: writes to the API server by the audit log, phases by the status, aborts by live traffic.
///
/// Some releases of a service with three replicas run to their end. Then candidates are broken after the switch, with none, half
/// and all but one of their pods ready, and aborted. Then a canary stands at some shares, and answers are counted. Load and service share this machine: compare figures of one run only.
#[derive(Parser)]
#[command(name = "cargo bench-release", bin_name = "cargo bench-release", version, max_term_width = 110)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// So many whole releases; the figures are of the one with the most writes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    releases: u8,
    /// So many rounds of aborts, each with none, half and all but one of the candidate's pods ready.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=20))]
    aborts: u8,
    /// So many requests for each share of a canary.
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=500_000))]
    requests: u64,
    /// Requests in a second, in releases and aborts.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=5_000))]
    rate: u32,
    /// Tell every write of a release.
    #[arg(long)]
    trace: bool,
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
    let releases = whole::measure(&shop, cluster, arguments).await.context("whole releases")?;
    shop.delete(PATIENCE).await.context("remove the released service")?;
    let aborts = abort::measure(&shop, arguments).await.context("aborts")?;
    shop.delete(PATIENCE).await.context("remove the aborted service")?;
    // What was measured until then is told all the same.
    let shares = share::measure(&shop, arguments).await.unwrap_or_else(|error| {
        eprintln!("error: there are no figures of a canary's shares: {error:#}");
        Vec::new()
    });
    shop.delete(PATIENCE).await.context("remove the measured service")?;
    Figures::of(&releases, &aborts, &shares)
}

fn progress(load: &View, text: &str) {
    let live = load.live();
    let at = live.at as f64 / 1e6;
    eprintln!("{at:>6.1} s  {text}; {} requests, {} failed", live.requests, live.failed);
}
