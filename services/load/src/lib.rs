//! Load for the shop: orders at a fixed rate that does not wait for slow answers (open loop), or as fast as they are answered, and
//! flash sales. Latency is counted from when a request was meant to be sent, so that a server that stalls does not hide it.

pub mod client;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use client::{Answer, Connection};

/// The longest latency that is told apart: a minute, in microseconds.
const LONGEST: u64 = 60_000_000;
/// The SKUs of the built-in catalogue: each item in each make.
const ITEMS: [&str; 12] =
    ["MUG", "BOWL", "PLATE", "TEAPOT", "LAMP", "VASE", "CLOCK", "PEN", "TRAY", "STAND", "PLANTER", "FEEDER"];
const MAKES: u64 = 10;

/// What is bought.
#[derive(Clone, Debug)]
pub enum Flow {
    /// One piece of any item of the catalogue.
    Orders,
    /// One piece of one item, each buyer once.
    Flash {
        /// The item.
        sku: String,
        /// How many buyers there are.
        buyers: u64,
    },
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the orders are.
    pub address: SocketAddr,
    /// What is bought.
    pub flow: Flow,
    /// Orders a second; 0: each connection sends the next one when the last one is answered.
    pub rate: u64,
    /// How long orders are sent.
    pub duration: Duration,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Users that buy.
    pub users: u64,
    /// Makes keys of this run different from those of others.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Ids of the orders that were acknowledged.
    pub acknowledged: Vec<i64>,
    /// Requests that found too little stock.
    pub sold_out: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// What was wrong first.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub took: Duration,
    latency: Histogram<u64>,
}

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Orders that were acknowledged.
    pub orders: usize,
    /// Of these a second.
    pub orders_per_s: f64,
    /// Latency of good answers.
    pub mean_ms: f64,
    /// Half are faster.
    pub p50_ms: f64,
    /// 99 % are faster.
    pub p99_ms: f64,
    /// Requests that found too little stock.
    pub sold_out: u64,
    /// Requests without a good answer.
    pub failed: u64,
}

impl Outcome {
    /// The figures.
    pub fn figures(&self) -> Figures {
        let millis = |micros: f64| (micros / 10.0).round() / 100.0;
        let at = |quantile| millis(self.latency.value_at_quantile(quantile) as f64);
        Figures {
            orders: self.acknowledged.len(),
            orders_per_s: (self.acknowledged.len() as f64 / self.took.as_secs_f64()).round(),
            mean_ms: millis(self.latency.mean()),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            sold_out: self.sold_out,
            failed: self.failed,
        }
    }
}

/// What all connections share: who sends the next request, and when.
struct Tickets {
    plan: Plan,
    next: AtomicU64,
    start: Instant,
}

impl Tickets {
    /// The next request: its number, and when it is meant to be sent.
    fn take(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Flow::Flash { buyers, .. } = self.plan.flow {
            return (number < buyers).then(|| (number, Instant::now()));
        }
        let at = match self.plan.rate {
            0 => Instant::now(),
            rate => self.start + Duration::from_secs_f64(number as f64 / rate as f64),
        };
        (at < self.start + self.plan.duration).then_some((number, at))
    }

    fn request(&self, number: u64, text: &mut Vec<u8>) {
        let Plan { flow, users, seed, .. } = &self.plan;
        // Spread, but the same in every run.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let sku = match flow {
            Flow::Flash { sku, .. } => sku.clone(),
            Flow::Orders => {
                let item = usize::try_from(mixed / MAKES).unwrap_or_default() % ITEMS.len();
                format!("{}-{:04}", ITEMS.get(item).unwrap_or(&"MUG"), mixed % MAKES + 1)
            }
        };
        let user = mixed % users.max(&1);
        client::post_order(text, &format!("u-{user}"), &format!("{seed:x}-{number:x}"), &sku);
    }
}

/// Sends what `plan` says.
pub async fn run(plan: Plan) -> Result<Outcome> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let open = Connection::open(plan.address).await;
        connections.push(open.with_context(|| format!("cannot connect to {}", plan.address))?);
    }
    let tickets = std::sync::Arc::new(Tickets { plan, next: AtomicU64::new(0), start: Instant::now() });
    let mut senders = JoinSet::new();
    for connection in connections {
        senders.spawn(send(std::sync::Arc::clone(&tickets), connection));
    }
    let mut all = empty()?;
    while let Some(one) = senders.join_next().await {
        let one = one.context("a connection's task ended early")??;
        all.acknowledged.extend(one.acknowledged);
        all.sold_out += one.sold_out;
        all.failed += one.failed;
        all.first_failure = all.first_failure.or(one.first_failure);
        all.latency.add(&one.latency)?;
    }
    all.took = tickets.start.elapsed();
    Ok(all)
}

fn empty() -> Result<Outcome> {
    Ok(Outcome {
        acknowledged: Vec::new(),
        sold_out: 0,
        failed: 0,
        first_failure: None,
        took: Duration::ZERO,
        latency: Histogram::new_with_bounds(1, LONGEST, 3)?,
    })
}

/// One connection: its requests, one after another, until there are no more or it breaks.
async fn send(tickets: std::sync::Arc<Tickets>, mut connection: Connection) -> Result<Outcome> {
    let mut outcome = empty()?;
    let mut request = Vec::with_capacity(512);
    while let Some((number, at)) = tickets.take() {
        if at > Instant::now() {
            sleep_until(at).await;
        }
        tickets.request(number, &mut request);
        match connection.exchange(&request).await {
            Ok(Answer { status: 201 | 202, order: Some(id) }) => {
                outcome.acknowledged.push(id);
                let micros = u64::try_from(at.elapsed().as_micros()).unwrap_or(LONGEST);
                outcome.latency.saturating_record(micros.max(1));
            }
            Ok(Answer { status: 409, .. }) => outcome.sold_out += 1,
            Ok(Answer { status, .. }) => {
                outcome.failed += 1;
                outcome.first_failure.get_or_insert_with(|| format!("status {status}"));
            }
            Err(error) => {
                outcome.failed += 1;
                outcome.first_failure.get_or_insert_with(|| error.to_string());
                // The server is gone, or has closed this connection: another one, or the end of this sender.
                match Connection::open(tickets.plan.address).await {
                    Ok(open) => connection = open,
                    Err(_) => break,
                }
            }
        }
    }
    Ok(outcome)
}
