//! `cargo verify`: everything that must hold before a change is taken, from formatting to failures of a real cluster.

mod libtest;
mod prepare;
mod run;
mod stages;
mod summary;

use std::process::ExitCode;

use clap::Parser;

use stages::{Kind, STAGES, Stage};
use summary::{Outcome, Summary};

/// Check formatting and lints, run all tests, and run the cluster tests on a real cluster that is made for it.
///
/// Stages run one after the other and all of them are run, also after one has failed; what needs a cluster is skipped
/// when there is none. A cluster test that fails is run once more by itself; if it then passes it is listed as flaky,
/// and more than 2 of these fail the run. Needs root, as the cluster does (not with --skip-cluster).
#[derive(Parser)]
#[command(name = "cargo verify", bin_name = "cargo verify", version, max_term_width = 110)]
struct Arguments {
    /// Leave out what needs a cluster.
    #[arg(long, conflicts_with = "only")]
    skip_cluster: bool,
    /// Run these stages only.
    #[arg(long, value_name = "STAGE", value_parser = STAGES.map(|stage| stage.name))]
    only: Vec<String>,
    /// Leave the cluster up at the end.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = |stage: &Stage| match arguments.only.as_slice() {
        [] => !(arguments.skip_cluster && stage.needs_cluster()),
        only => only.iter().any(|name| name == stage.name),
    };
    let mut summary = Summary::default();
    let mut prepared: Option<bool> = None;
    for stage in STAGES {
        if !chosen(&stage) {
            continue;
        }
        if matches!(stage.kind, Kind::ClusterTests { .. }) {
            // Asked for by itself, a cluster test still needs its cluster.
            let ready = *prepared.get_or_insert_with(|| prepare::run(&mut summary));
            if !ready {
                summary.add(stage.name, Outcome::skipped("there is no cluster"));
                continue;
            }
        }
        match stage.kind {
            Kind::Packages => prepare::packages(&mut summary),
            Kind::Prepare => prepared = Some(prepare::run(&mut summary)),
            Kind::Commands(commands) => run::commands(&stage, commands, &mut summary),
            Kind::Tests(commands) => run::tests(&stage, commands, &mut summary),
            Kind::ClusterTests { threads } => run::cluster_tests(&stage, threads, &mut summary),
        }
    }
    if prepared.is_some() {
        prepare::finish(summary.failed(), arguments.keep);
    }
    summary.print();
    if summary.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
