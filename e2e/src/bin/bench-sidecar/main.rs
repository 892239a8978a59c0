//! `cargo bench-sidecar`: what a request costs on its way through a proxy, ours and others in front of the same origin.

mod figures;
mod helper;
mod load;
mod markdown;
mod origin;
mod process;
mod proxies;
mod requests;
mod soak;
mod token;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use figures::{Figures, Round};
use proxies::{Arm, Features, Kind, Stage};
use requests::Requests;
use shop_e2e::{program, resources, scenario::tell};
use token::Mint;

/// Connections of the load at a fixed rate.
const FEW: usize = 16;
/// Connections of the load without pause, and of the memory figure.
const MANY: usize = 64;
/// Idle connections of the memory figure.
const IDLE: usize = 1_000;
/// Senders of the memory figure, each counted by itself.
const SENDERS: u32 = 100_000;
/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measure what a request costs on its way through shop-sidecar, nginx, haproxy and Envoy, as far as they are installed.
///
/// Proxies run one after the other, in rounds, on one core; load and origin on the other. CPU is that of the proxy's processes,
/// under load without pause from 64 connections. Latency is at a fixed rate, from the moment at which a request was due.
#[derive(Parser)]
#[command(name = "cargo bench-sidecar", bin_name = "cargo bench-sidecar", version, max_term_width = 110)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Print the table and a plot (Mermaid) in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Requests in a second where latency is measured.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    rate: u32,
    /// Rounds over all proxies.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each proxy is measured in each round, twice.
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How long the sidecar with all its features is loaded at the end, to see whether its memory grows; 0: not.
    #[arg(long, default_value_t = 10, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(0..=1440))]
    soak: u64,
    /// Only these: direct, ours, nginx, haproxy, envoy; separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    process::prepare()?;
    let origin = origin::start().context("start the origin")?;
    let mint = Mint::new()?;
    let key_set = mint.key_set();
    let stage = Stage::new(origin, helper::start(&key_set).context("start the helper")?, key_set)?;
    let arms = proxies::arms(&arguments.only)?;
    let requests: Vec<Requests> =
        arms.iter().map(|arm| Requests::new(arm.features, &mint)).collect::<Result<_>>()?;
    ensure!(arms.len() > 1, "nothing to measure: no proxy is installed, or --only leaves none");
    let mut figures = Figures::new(resources::load_average());
    for round in 0..arguments.rounds {
        // There and back: what changes on the machine in the meantime meets all of them.
        let mut order: Vec<(&Arm, &Requests)> = arms.iter().zip(&requests).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (arm, requests) in order {
            eprint!("round {} of {}: {:<12}\r", round + 1, arguments.rounds, arm.label());
            let round = measure(arm, requests, &stage, arguments)
                .with_context(|| format!("measure {}", arm.label()))?;
            figures.take(arm, round);
        }
    }
    let soaked =
        arms.iter().zip(&requests).find(|(arm, _)| arm.kind == Kind::Ours && arm.features == Features::All);
    if let Some((arm, requests)) = soaked.filter(|_| arguments.soak > 0) {
        let running = stage.start(arm, requests)?;
        let minutes = Duration::from_secs(arguments.soak * 60);
        figures.soak = Some(soak::run(&running, requests, arguments.rate, FEW, minutes).context("soak")?);
    }
    eprintln!("{:40}", "");
    tell(&figures.to_json(), arguments.json, |_| {
        if arguments.markdown { print!("{}", markdown::of(&figures)) } else { figures.print() }
    })
}

fn measure(arm: &Arm, requests: &Requests, stage: &Stage, arguments: &Arguments) -> Result<Round> {
    let spans = helper::received();
    let running = stage.start(arm, requests)?;
    let address = running.address;
    let duration = Duration::from_secs(arguments.seconds);
    load::at_rate(address, requests, arguments.rate, FEW, WARM_UP)?;
    let before = running.cpu();
    let steady = load::at_rate(address, requests, arguments.rate, FEW, duration)?;
    let cpu_steady = running.cpu().saturating_sub(before);
    load::without_pause(address, requests, MANY, WARM_UP)?;
    let before = running.cpu();
    let busy = load::without_pause(address, requests, MANY, duration)?;
    let cpu_busy = running.cpu().saturating_sub(before);
    let rss = busy.rss_while(&running)?;
    // The others have no such table; Envoy's holds 20 senders.
    let senders_rss = if arm.kind == Kind::Ours && arm.features == Features::All {
        load::each_once(address, &requests.with_senders(SENDERS), FEW)?;
        Some(running.rss()?)
    } else {
        None
    };
    let rss_before = running.rss()?;
    let idle_rss = load::with_idle(address, requests, IDLE, || running.rss())?;
    let websocket_rss = load::with_websockets(address, requests, IDLE, || running.rss())?;
    ensure!(!arm.features.traces() || helper::received() > spans, "{} sent no spans", arm.label());
    Ok(Round {
        latencies: steady.latencies,
        late: steady.late,
        cpu_steady: (cpu_steady, steady.requests),
        cpu_busy: (cpu_busy, busy.requests),
        throughput: busy.requests as f64 / duration.as_secs_f64(),
        rss,
        rss_idle: idle_rss.saturating_sub(rss_before),
        rss_websockets: websocket_rss.saturating_sub(rss_before),
        rss_senders: senders_rss,
        ready: running.ready,
    })
}
