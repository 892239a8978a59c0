//! `shop-load`: orders for a shop that is running.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::Parser;
use shop_load::{Flow, Plan, run};

/// Sends orders: at a fixed rate, counting latency from when each was meant to be sent, or as fast as they are answered.
#[derive(Parser)]
#[command(name = "shop-load", version, max_term_width = 110)]
struct Cli {
    /// Where the orders are
    #[arg(long, default_value = "127.0.0.1:8082")]
    address: SocketAddr,
    /// Orders a second; 0 is as fast as they are answered
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Users that buy
    #[arg(long, default_value_t = 20_000)]
    users: u64,
    /// A flash sale instead: everybody wants one piece of this SKU, once
    #[arg(long, value_name = "SKU")]
    flash: Option<String>,
    /// Buyers of the flash sale
    #[arg(long, default_value_t = 2000)]
    buyers: u64,
    /// Writes the ids of acknowledged orders here, one a line, for `shop-verify`
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match load(&cli) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the figures as JSON; the number of requests that failed.
fn load(cli: &Cli) -> Result<u64> {
    let flow = match &cli.flash {
        Some(sku) => Flow::Flash { sku: sku.clone(), buyers: cli.buyers },
        None => Flow::Orders,
    };
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos();
    let plan = Plan {
        address: cli.address,
        flow,
        rate: cli.rate,
        duration: Duration::from_secs(cli.seconds),
        connections: cli.connections,
        users: cli.users,
        seed: seed.into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(plan))?;
    if let Some(path) = &cli.acknowledged {
        let mut ids = String::new();
        for id in &outcome.acknowledged {
            let _ = writeln!(ids, "{id}");
        }
        std::fs::write(path, ids).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(failure) = &outcome.first_failure {
        eprintln!("first failure: {failure}");
    }
    println!("{}", serde_json::to_string(&outcome.figures())?);
    Ok(outcome.failed)
}
