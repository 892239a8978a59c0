//! Users of a scenario's service.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use shop_crds::names;
use tokio::time::sleep;

use super::Shop;
use crate::load::{Failure, Load, Plan, Report};

/// A product that the product service has from the start.
const SKU: &str = "MUG-0001";

impl Shop {
    /// Where its users go: the Service's cluster address.
    pub async fn endpoint(&self) -> Result<SocketAddr> {
        let spec = self.users_service().await?.spec.unwrap_or_default();
        let address: IpAddr =
            spec.cluster_ip.unwrap_or_default().parse().context("the Service has no address")?;
        Ok(SocketAddr::new(address, 80))
    }

    /// Starts users of all kinds, so many requests in a second, once every kind of connection gets answers.
    pub async fn traffic(&self, rate: u32, within: Duration) -> Result<Load> {
        let plan = self.plan(rate).await?;
        self.reachable(&plan, within).await?;
        Ok(Load::start(plan))
    }

    /// What [`Self::traffic`] sends, to be changed and started by [`Load::start`].
    pub async fn plan(&self, rate: u32) -> Result<Plan> {
        let authority = format!("{}.{}", names::users_service(&self.name), self.namespace);
        Ok(product_plan(self.endpoint().await?, &authority, rate))
    }

    /// Waits until every kind of connection gets answers: a Service that has just been made is not known everywhere yet.
    pub async fn reachable(&self, plan: &Plan, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let few = Plan { rate: 100, requests: Some(40), ..plan.clone() };
            let report = Load::start(few).finish().await;
            if report.failed() == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (target, seconds) = (plan.target, within.as_secs());
                bail!("{target} does not answer after {seconds} s: {:?}", failures(&report));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Stops the load; an error tells what failed, if anything did.
pub async fn without_failure(load: Load) -> Result<Report> {
    let report = load.stop().await;
    let (failed, requests) = (report.failed(), report.requests());
    ensure!(failed == 0, "{failed} of {requests} requests failed: {:?}", failures(&report));
    ensure!(requests > 0, "there was no request");
    Ok(report)
}

fn failures(report: &Report) -> Vec<(&'static str, u64)> {
    report.failures.iter().map(|(failure, count)| (Failure::as_str(*failure), *count)).collect()
}

/// All kinds of connections against a product service.
pub fn product_plan(target: SocketAddr, authority: &str, rate: u32) -> Plan {
    Plan {
        path: format!("/products/{SKU}"),
        grpc_message: get_product(SKU),
        ..Plan::new(target, authority, rate)
    }
}

/// `GetProductRequest { sku = 1 }` as protobuf writes it.
fn get_product(sku: &str) -> Bytes {
    let mut message = BytesMut::with_capacity(sku.len() + 2);
    message.put_u8(0x0a);
    message.put_u8(u8::try_from(sku.len()).expect("the SKU is a short constant"));
    message.put_slice(sku.as_bytes());
    message.freeze()
}
