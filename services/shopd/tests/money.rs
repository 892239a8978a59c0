//! What the money path promises, asked over HTTP of the program as it is shipped: a flash sale sells what there is, and what was
//! acknowledged is there after kill -9.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shop_ledger::store::sqlite;
use shop_ledger::{Reader as _, store::Audit};
use shop_load::{Flow, Outcome, Plan, run};

const DEADLINE: Duration = Duration::from_mins(2);
const ITEMS: [&str; 4] = ["MUG", "BOWL", "PLATE", "TEAPOT"];

/// `shopd order` with its ledger in a file; does not outlive its test.
struct Orders {
    process: Child,
    address: SocketAddr,
}

impl Orders {
    fn start(ledger: &Path, first_stock: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shopd"))
            .args(["order", "--host", "127.0.0.1", "--port", "0", "--first-stock", first_stock, "--store"])
            .arg(ledger)
            .env_remove("SHOP_FAULT")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut listening = lines.map(Result::unwrap).filter(|line| line.contains("\"listening\""));
        let line: serde_json::Value = serde_json::from_str(&listening.next().expect("it listens")).unwrap();
        Self { process, address: line["address"].as_str().unwrap().parse().unwrap() }
    }

    fn plan(&self, flow: Flow, seed: u64) -> Plan {
        let (connections, users) = (128, 20_000);
        Plan { address: self.address, flow, rate: 0, duration: DEADLINE, connections, users, seed }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn audit(ledger: &Path) -> Audit {
    sqlite::open(ledger).await.unwrap().1.audit().await.unwrap()
}

#[tokio::test]
async fn a_flash_sale_sells_exactly_what_there_is_twenty_times() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let orders = Orders::start(&ledger, "100");
    for round in 0..20 {
        let sku = format!("{}-{:04}", ITEMS[round % ITEMS.len()], round / ITEMS.len() + 1);
        let flow = Flow::Flash { sku, buyers: 2000 };
        let Outcome { acknowledged, sold_out, failed, first_failure, .. } =
            run(orders.plan(flow, round as u64)).await.unwrap();
        assert_eq!((acknowledged.len(), sold_out, failed), (100, 1900, 0), "{first_failure:?}");
    }
    let audit = audit(&ledger).await;
    assert!(audit.is_clean() && audit.pieces == 2000, "{audit:?}");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut orders = Orders::start(&ledger, "1000000");
        let reader = sqlite::open(&ledger).await.unwrap().1;
        let newest = async |count| reader.orders_of("u-0", i64::MAX, count).await.unwrap();
        let before = newest(1).await.first().map_or(0, |order| order.id);
        let load = tokio::spawn(run(Plan { users: 1, ..orders.plan(Flow::Orders, round) }));
        let begun = Instant::now();
        while newest(500).await.get(499).is_none_or(|order| order.id <= before) {
            assert!(begun.elapsed() < DEADLINE && !load.is_finished(), "too few orders are written");
            tokio::task::yield_now().await;
        }
        orders.process.kill().unwrap();
        let outcome = load.await.unwrap().unwrap();
        assert!(!outcome.acknowledged.is_empty(), "{:?}", outcome.first_failure);
        acknowledged.extend(outcome.acknowledged);
        orders.process.wait().unwrap();
        for id in &acknowledged {
            assert!(reader.order(*id).await.unwrap().is_some(), "{id} was acknowledged and is lost");
        }
        let audit = reader.audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
    }
    acknowledged.sort_unstable();
    let count = acknowledged.len();
    acknowledged.dedup();
    assert_eq!(acknowledged.len(), count, "no id is made twice, also after a restart");
}
