//! `cargo bench-scale`: what many services cost the operator, and what they have to wait for.

mod nodes;
mod services;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;
use shop_e2e::{
    cluster::Cluster,
    harness::{Audit, OPERATOR_USER},
    program, resources,
    scenario::{Operator, bench, tell},
};

use nodes::Nodes;
use services::Services;

/// Longest wait for all services, each.
const EACH: Duration = Duration::from_secs(2);
/// And in any case.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long the operator is watched while nothing happens.
const IDLE: Duration = Duration::from_mins(1);
/// From the begin of a storm to the release of a bystander.
const INTO_THE_STORM: Duration = Duration::from_secs(2);
const MB: f64 = 1024.0 * 1024.0;

/// Make many ShopServices on nodes that exist by their objects alone (kwok), and measure the operator.
///
/// Operator, API server and etcd are real and share this machine with kwok, which plays the kubelets, and with sidecars that
/// accept whatever they are told. The cluster is one of its own, and is taken down at the end.
#[derive(Parser)]
#[command(name = "cargo bench-scale", bin_name = "cargo bench-scale", version, max_term_width = 110)]
struct Arguments {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// So many ShopServices, with one pod each.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=20_000))]
    services: u32,
    /// The cluster to use; started if it does not run.
    #[arg(long, default_value = "scale0", value_name = "NAME")]
    cluster: String,
    /// Leave the cluster and the services as they are at the end.
    #[arg(long)]
    keep: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Figures {
    services: u32,
    /// Of the operator, after all services were made.
    rss_mib: f64,
    /// Of the operator, the highest that was seen at the end of each part.
    rss_mib_max: f64,
    cpu_ms_per_create: f64,
    all_ready_s: f64,
    idle_requests_per_min: usize,
    idle_cpu_ms_per_min: f64,
    /// From the operator's death to the first step of a release that somebody asked for meanwhile.
    restart_s: f64,
    /// Gets and lists of the new operator in that time.
    restart_reads: usize,
    storm_s: f64,
    bystander_alone_s: f64,
    bystander_release_s: f64,
    load_average_before: f64,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let load = resources::load_average();
    let limit = PATIENCE * 6 + EACH * arguments.services * 4;
    let figures = bench(&arguments.cluster, limit, async |cluster| measure(cluster, arguments, load).await);
    if !arguments.keep {
        Cluster::named(&arguments.cluster)?.down().context("take the cluster down")?;
    }
    tell(&figures?, arguments.json, Figures::print)
}

async fn measure(cluster: &Cluster, arguments: &Arguments, load: f64) -> Result<Figures> {
    let client = cluster.client().await?;
    let count = usize::try_from(arguments.services)?;
    let _nodes = Nodes::start(cluster, &client, count * 2 + 2).await?;
    nodes::sidecars().await?;
    let services = Services::new(client.clone(), count, nodes::placement()).await?;
    let patience = PATIENCE.max(EACH * arguments.services);
    let operator = Seen::new(&client).await?;

    step("making services");
    let (cpu, begun) = (operator.cpu(), Instant::now());
    services.apply_all(1).await?;
    let ready = services.all_on(1, begun, patience).await?;
    let cpu = operator.cpu().saturating_sub(cpu);
    services.apply_bystander(1).await?;
    services.all_stable(patience).await?;
    let rss = operator.rss()?;

    step("doing nothing");
    let (idle_cpu, since) = (operator.cpu(), Timestamp::now());
    tokio::time::sleep(IDLE).await;
    let idle_cpu = operator.cpu().saturating_sub(idle_cpu);
    let idle = requests(cluster, since)?;

    step("releasing one");
    let alone = release(&services, 2, patience).await?;
    services.all_stable(patience).await?;

    step("killing the operator");
    let (killed, since) = (Instant::now(), Timestamp::now());
    operator.0.kill()?;
    services.apply_bystander(3).await?;
    let restart = acts(cluster, since, killed, patience).await?;
    let read = requests_of(cluster, since, &["get", "list"])?;
    services.bystander_on(3, killed, patience).await?;
    services.all_stable(patience).await?;
    let operator = Seen::new(&client).await?;
    let after_restart = operator.rss()?;

    step("changing all");
    let begun = Instant::now();
    let storm = async {
        services.apply_all(2).await?;
        services.all_on(2, begun, patience).await
    };
    let bystander = async {
        tokio::time::sleep(INTO_THE_STORM).await;
        release(&services, 4, patience).await
    };
    let (storm, bystander) = tokio::try_join!(storm, bystander)?;
    services.all_stable(patience).await?;

    Ok(Figures {
        services: arguments.services,
        rss_mib: tenths(rss as f64 / MB),
        rss_mib_max: tenths(rss.max(after_restart).max(operator.rss()?) as f64 / MB),
        cpu_ms_per_create: tenths(cpu.as_secs_f64() * 1e3 / f64::from(arguments.services)),
        all_ready_s: tenths(ready.as_secs_f64()),
        idle_requests_per_min: idle,
        idle_cpu_ms_per_min: tenths(idle_cpu.as_secs_f64() * 1e3),
        restart_s: tenths(restart.as_secs_f64()),
        restart_reads: read,
        storm_s: tenths(storm.as_secs_f64()),
        bystander_alone_s: tenths(alone.as_secs_f64()),
        bystander_release_s: tenths(bystander.as_secs_f64()),
        load_average_before: load,
    })
}

/// Releases the bystander, and says how long it takes until its users are on the new image.
async fn release(services: &Services, tag: u8, patience: Duration) -> Result<Duration> {
    let begun = Instant::now();
    services.apply_bystander(tag).await?;
    services.bystander_on(tag, begun, patience).await
}

/// The operator's process.
struct Seen(Operator);

impl Seen {
    async fn new(client: &Client) -> Result<Self> {
        Ok(Self(Operator::find(client).await?))
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.processes().iter().filter_map(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    fn cpu(&self) -> Duration {
        self.pids().map(resources::cpu).sum()
    }

    fn rss(&self) -> Result<u64> {
        self.pids().map(resources::rss).sum()
    }
}

/// Waits until the operator writes anything of a release.
async fn acts(cluster: &Cluster, since: Timestamp, killed: Instant, within: Duration) -> Result<Duration> {
    loop {
        if requests_of(cluster, since, &["create"])? > 0 {
            return Ok(killed.elapsed());
        }
        anyhow::ensure!(killed.elapsed() < within, "the operator did nothing after its restart");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The operator's requests since then: all but those of the Lease, and watches that are taken up again every five minutes.
fn requests(cluster: &Cluster, since: Timestamp) -> Result<usize> {
    let all = Audit::new(cluster.audit_log()).requests(OPERATOR_USER, None, since, Timestamp::now())?;
    Ok(all.iter().filter(|one| one.resource != "leases" && one.verb != "watch").count())
}

/// Of those, the ones with these verbs, events left out.
fn requests_of(cluster: &Cluster, since: Timestamp, verbs: &[&str]) -> Result<usize> {
    let all = Audit::new(cluster.audit_log()).requests(OPERATOR_USER, None, since, Timestamp::now())?;
    let wanted = all.iter().filter(|one| !matches!(one.resource.as_str(), "leases" | "events"));
    Ok(wanted.filter(|one| verbs.contains(&one.verb.as_str())).count())
}

fn step(name: &str) {
    eprintln!("{name}");
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Figures {
    fn print(&self) {
        println!("services                {}", self.services);
        println!("operator's memory       {} MiB, at most {} MiB", self.rss_mib, self.rss_mib_max);
        println!("CPU for each            {} ms", self.cpu_ms_per_create);
        println!("all ready after         {} s", self.all_ready_s);
        println!(
            "idle                    {} requests and {} ms of CPU a minute",
            self.idle_requests_per_min, self.idle_cpu_ms_per_min
        );
        println!("restart                 acts after {} s, {} reads", self.restart_s, self.restart_reads);
        println!("all changed at once     healthy after {} s", self.storm_s);
        println!(
            "a release meanwhile     {} s, alone {} s",
            self.bystander_release_s, self.bystander_alone_s
        );
        println!("load average before     {}", self.load_average_before);
    }
}
