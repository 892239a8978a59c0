//! What tests stand on: packages, and the cluster that the cluster tests share.

use std::time::Instant;

use shop_e2e::cluster::{Cluster, DEFAULT_NAME};
use shop_e2e::{harness, setup};

use crate::run;
use crate::summary::{Outcome, Summary};

/// Sets up the machine, builds the images, starts the cluster and installs the operator.
pub(crate) fn run(summary: &mut Summary) -> bool {
    let begin = Instant::now();
    run::announce("prepare: programs, images, cluster, operator");
    let outcome = match harness::prepared() {
        Ok(_) => Outcome::passed(),
        Err(error) => {
            println!("{error:#}");
            Outcome::failed("the cluster could not be prepared")
        }
    };
    let ready = !outcome.has_failed();
    summary.add("prepare", outcome.after(begin.elapsed()));
    ready
}

/// Installs what tests need.
pub(crate) fn packages(summary: &mut Summary) {
    let begin = Instant::now();
    run::announce("packages: what tests need of the distribution");
    let outcome = match setup::ensure_for_tests() {
        Ok(()) => Outcome::passed(),
        Err(error) => {
            println!("{error:#}");
            Outcome::failed("packages are missing, and could not be installed")
        }
    };
    summary.add("packages", outcome.after(begin.elapsed()));
}

/// Takes the cluster down, unless somebody may want to look at it.
pub(crate) fn finish(failed: bool, keep: bool) {
    if failed || keep {
        println!("\nthe cluster {DEFAULT_NAME} is left up; `cargo cluster down` takes it down");
        return;
    }
    match Cluster::named(DEFAULT_NAME).and_then(|cluster| cluster.down()) {
        Ok(_) => println!("\nthe cluster {DEFAULT_NAME} is down"),
        Err(error) => println!("\nthe cluster {DEFAULT_NAME} could not be taken down: {error:#}"),
    }
}
