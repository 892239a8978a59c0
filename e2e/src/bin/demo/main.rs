//! `cargo demo`: a cluster, the operator, a service with users, and every way a release can go, shown as it happens.

mod story;
mod summary;
mod timeline;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use shop_e2e::{
    cluster::{Cluster, DEFAULT_NAME},
    netns, program,
    scenario::{Shop, stage},
};

use story::{Moments, Story};
use timeline::{Timeline, Who};

/// Where the demo's service is.
const NAMESPACE: &str = "shop";
/// Its name.
const NAME: &str = "product";

/// Show a release, a rollback and a broken release on a real cluster, under constant traffic.
///
/// Starts everything it needs: a Kubernetes cluster on this machine, the operator, a service and its users. Exit code 1 if a
/// single request failed or something did not happen. The cluster stays up afterwards.
#[derive(Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo", version, max_term_width = 110)]
struct Arguments {
    /// Requests in a second.
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=5000))]
    rate: u32,
    /// The cluster to use; started if it does not run.
    #[arg(long, default_value = DEFAULT_NAME, value_name = "NAME")]
    cluster: String,
}

fn main() -> ExitCode {
    program::end(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let timeline = Timeline::begin();
    let (cluster, _) = stage(&arguments.cluster, |step| timeline.say(Who::You, step))?;
    let well = netns::block_on(cluster.name(), || play(&cluster, &timeline, arguments.rate))??;
    print_next(&cluster);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells the story and its summary; says whether all went well.
async fn play(cluster: &Cluster, timeline: &Timeline, rate: u32) -> Result<bool> {
    let shop = Shop::new(cluster.client().await?, NAMESPACE, NAME).await?;
    let service = timeline.watch_service(&shop);
    let load = story::open(&shop, timeline, rate).await?;
    let answers = timeline.watch_users(load.view());
    let story = Story { shop: &shop, timeline, users: load.view() };
    let mut moments = Moments::default();
    let told = story.tell(&mut moments).await;
    drop((service, answers));
    let summary = summary::summarise(&load.stop().await, &moments);
    summary.print();
    if let Err(error) = &told {
        println!("  the story ended early: {error:#}");
    }
    Ok(told.is_ok() && summary.problems.is_empty())
}

fn print_next(cluster: &Cluster) {
    let name = match cluster.name() {
        DEFAULT_NAME => String::new(),
        name => format!(" --name {name}"),
    };
    println!("\nThe cluster is still up. To go on by yourself:\n");
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  cargo cluster{name} kubectl get shopservices,pods --namespace {NAMESPACE}");
    println!(
        "  cargo cluster{name} kubectl get releasedecisions --namespace {NAMESPACE}   # who decided what"
    );
    println!(
        "  cargo run --bin kubectl-shop -- why {NAME} --namespace {NAMESPACE}   # why version 3 is not tried again"
    );
    println!("  cargo cluster{name} down");
}
