//! `shop-verify`: reads a ledger and says whether its books balance and every acknowledged order is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use shop_ledger::store::Audit;
use shop_ledger::{Place, Reader, store};

/// Checks a ledger: every acknowledged order exists once, stock and money balance, nothing is held for nobody, no event is lost.
/// Run it while nothing is written.
#[derive(Parser)]
#[command(
    name = "shop-verify",
    version,
    after_help = "Exit codes: 0 all is well, 1 something is wrong, 2 it could not be read."
)]
struct Cli {
    /// The ledger: a `SQLite` file or `postgres://user@host/database`
    #[arg(long, value_name = "STORE")]
    store: Place,
    /// A file with the id of one acknowledged order a line, as `shop-load --acknowledged` writes it
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(verify(&cli))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn verify(cli: &Cli) -> Result<bool> {
    let reader: Box<dyn Reader> = match &cli.store {
        Place::File(path) => {
            anyhow::ensure!(path.exists(), "there is no file {}: check --store", path.display());
            Box::new(store::sqlite::open(path).await?.1)
        }
        Place::Server(url) => Box::new(store::postgres::open(url).await?.1),
    };
    let audit = reader.audit().await?;
    let (mut acknowledged, mut lost, mut doubled) = (0_u64, Vec::new(), Vec::new());
    if let Some(path) = &cli.acknowledged {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let id: i64 = line.trim().parse().with_context(|| format!("`{line}` is no order id"))?;
            acknowledged += 1;
            if !seen.insert(id) {
                doubled.push(id);
            } else if reader.order(id).await?.is_none() {
                lost.push(id);
            }
        }
    }
    let is_well = audit.is_clean() && lost.is_empty() && doubled.is_empty();
    if cli.json {
        let faults: serde_json::Map<_, _> =
            audit.faults.iter().map(|(fault, count)| (fault.to_string(), (*count).into())).collect();
        let shown = serde_json::json!({
            "ok": is_well, "orders": audit.orders, "items": audit.items, "pieces": audit.pieces,
            "acknowledged": acknowledged, "lost": lost.len(), "acknowledged_twice": doubled.len(), "faults": faults,
        });
        println!("{shown}");
    } else {
        print(&audit, acknowledged, &lost, &doubled);
    }
    Ok(is_well)
}

fn print(audit: &Audit, acknowledged: u64, lost: &[i64], doubled: &[i64]) {
    println!("{} orders, {} items, {} pieces held or sold", audit.orders, audit.items, audit.pieces);
    println!("{acknowledged} acknowledged orders: {} lost, {} acknowledged twice", lost.len(), doubled.len());
    for id in lost.iter().take(10) {
        println!("  lost: {id}");
    }
    if audit.is_clean() {
        println!("the books balance");
    }
    for (fault, count) in &audit.faults {
        println!("WRONG: {count} {fault}");
    }
}
