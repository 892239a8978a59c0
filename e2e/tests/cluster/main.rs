//! What Shopkeeper does on a real cluster: one module per behaviour. These run beside each other, each in namespaces
//! of its own; whatever breaks the cluster or changes the operator's installation is in another program.

mod abort;
mod adopted;
mod calls;
mod config;
mod crash_loop;
mod decisions;
mod deletion;
mod drain_hook;
mod first_revision;
mod image_missing;
mod liveness;
mod never_ready;
mod refusals;
mod release;
mod requests;
mod restart;
mod rollback;
mod scale;
mod two_lines;

use anyhow::{Context as _, Result, ensure};
use shop_crds::{
    Reason, ShopServiceStatus,
    status::{RevisionOutcome, RevisionResult},
};
use shop_e2e::{
    harness::Session,
    scenario::{PATIENCE, Shop, Spec, outcome_of, without_failure},
};

/// Requests in a second: enough to notice a failure, and little beside the other tests.
const RATE: u32 = 60;

/// The service `product` in the test's namespace.
async fn shop(session: &Session) -> Result<Shop> {
    Shop::new(session.client(), session.namespace(), "product").await
}

/// The same, released for the first time, and stable.
async fn stable(session: &Session, spec: &Spec) -> Result<Shop> {
    let shop = shop(session).await?;
    shop.apply(spec).await?;
    shop.wait_stable(1, PATIENCE).await?;
    Ok(shop)
}

/// Waits until the release of a revision has ended in some way, and says how.
async fn ended(shop: &Shop, revision: i64) -> Result<(ShopServiceStatus, RevisionOutcome)> {
    let what = format!("the end of the release of revision {revision}");
    let wished = |status: &ShopServiceStatus| {
        shop_e2e::scenario::is_stable(status) && outcome_of(status, revision).is_some()
    };
    let status = shop.wait(&what, PATIENCE, wished).await?;
    let outcome = outcome_of(&status, revision).cloned().context("it has just been seen")?;
    Ok((status, outcome))
}

/// Waits until a revision has been undone for one of these reasons, with users on another.
async fn undone(shop: &Shop, revision: i64, result: RevisionResult, reasons: &[Reason]) -> Result<()> {
    let (status, outcome) = ended(shop, revision).await?;
    ensure!(outcome.result == result, "revision {revision} ended as {outcome:?}");
    ensure!(reasons.contains(&outcome.reason), "revision {revision} ended because of {outcome:?}");
    ensure!(!outcome.message.is_empty(), "nothing says what was wrong with revision {revision}");
    let active = status.active.map(|active| active.revision);
    ensure!(active.is_some() && active != Some(revision), "users are with revision {active:?}");
    Ok(())
}
