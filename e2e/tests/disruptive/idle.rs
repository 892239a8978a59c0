//! An idle cluster with 20 services: nothing is written but the Lease, and nothing is listed.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use shop_e2e::{
    harness::{Audit, Session, eventually_within, test},
    scenario::{Shop, Spec},
};

const SERVICES: usize = 20;
/// So long nothing may be asked or written.
const QUIET: Duration = Duration::from_secs(30);
/// What was begun before has come to its end by then.
const CALM: Duration = Duration::from_mins(4);

#[test]
fn twenty_idle_services_cost_no_requests() {
    test("twenty_idle_services_cost_no_requests", async |session| {
        super::scale_operator(&session.client(), 1).await?;
        let mut shops = Vec::new();
        for number in 0..SERVICES {
            let name = format!("product-{number}");
            let shop = Shop::new(session.client(), session.namespace(), &name).await?;
            shop.apply(&Spec::smallest(1)).await?;
            shops.push(shop);
        }
        for shop in &shops {
            super::stable(shop, 1).await?;
        }
        eventually_within(CALM, "a quiet stretch", async || {
            let until = Timestamp::now();
            let others = requests(session, until - QUIET, until)?;
            ensure!(others.is_empty(), "in the last {} s: {others:?}", QUIET.as_secs());
            // The stretch must lie behind the last change, not before the first.
            ensure!(until - QUIET > session.began(), "it has just begun");
            Ok(())
        })
        .await
    });
}

/// The operator's requests but those for its Lease. A watch that the API server ended may be taken up again.
fn requests(session: &Session, from: Timestamp, until: Timestamp) -> Result<Vec<String>> {
    let all = session.operator_requests(from, until)?;
    let lease = all.iter().filter(|request| request.resource == "leases").count();
    ensure!(lease > 0, "the operator does not even renew its lease");
    let others: Vec<_> =
        all.into_iter().filter(|request| request.resource != "leases" && request.verb != "watch").collect();
    Ok(Audit::count(&others)
        .into_iter()
        .map(|((verb, resource), count)| format!("{count} {verb} {resource}"))
        .collect())
}
