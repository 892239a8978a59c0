//! What happens without a request: orders that were accepted for later get their stock, deadlines pass, holds end.
//!
//! Only the active release does this. Its epoch goes with every command, and the store refuses one that is lower than the highest
//! it has seen, within the transaction: an old release that wakes up late changes nothing.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use shop_common::Stop;
use tokio::sync::watch;

use crate::command::{Command, Fence, Outcome, Refusal};
use crate::ledger::{Ledger, Unavailable};
use crate::role;
use crate::store::StoreError;
use crate::wall_clock;

/// How often it is looked for what is due.
const EVERY: Duration = Duration::from_millis(200);
/// How many of a kind are looked for at a time.
const AT_ONCE: u16 = 500;

/// Whether this process does the background work, and under which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not: another release is active.
    Passive,
    /// It does.
    Active(Fence),
}

/// Does the background work of `ledger` while `role` says so, until the service ends.
pub async fn run(ledger: Ledger, mut role: watch::Receiver<Role>, stop: Stop) {
    // Without a sidecar nobody ever says another role.
    let mut can_change = true;
    while !stop.has_begun() {
        let now = *role.borrow_and_update();
        if let Role::Active(fence) = now {
            match pass(&ledger, fence).await {
                // A full round: there is more.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "background work failed; it is tried again"),
            }
        }
        tokio::select! {
            changed = role.changed(), if can_change => can_change = changed.is_ok(),
            () = stop.begun() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Starts the background work: as the sidecar at `address` says, or, without one, as if this were the only process.
pub fn start(ledger: &Ledger, address: Option<&str>, stop: Stop) {
    let role = match address {
        Some(address) => {
            let (tell, role) = watch::channel(Role::Passive);
            tokio::spawn(role::follow(address.to_owned(), tell));
            role
        }
        None => watch::channel(Role::Active(Fence(ledger.own_epoch()))).1,
    };
    tokio::spawn(run(ledger.clone(), role, stop));
}

/// Why a round of background work has failed.
#[derive(Debug, thiserror::Error)]
pub enum BackgroundError {
    /// What is due could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// What is due could not be written.
    #[error(transparent)]
    Write(#[from] Unavailable),
}

/// One round; true when there may be more at once.
pub async fn pass(ledger: &Ledger, fence: Fence) -> Result<bool, BackgroundError> {
    let now = wall_clock();
    let read = ledger.read();
    let settle = read.to_settle(AT_ONCE.into()).await?;
    let expire = read.due(now, AT_ONCE.into()).await?;
    let release = read.due_reservations(now, AT_ONCE.into()).await?;
    let is_full = [&settle, &expire, &release].iter().any(|ids| ids.len() >= usize::from(AT_ONCE));
    let commands = settle
        .into_iter()
        .map(|id| Command::Settle(id, fence))
        .chain(expire.into_iter().map(|id| Command::Expire(id, fence)))
        .chain(release.into_iter().map(|id| Command::ReleaseExpired(id, fence)));
    let mut answers: FuturesUnordered<_> = commands.map(|command| ledger.submit(command)).collect();
    let mut moved = false;
    while let Some(answer) = answers.next().await {
        match answer? {
            Ok(Outcome::Order(_) | Outcome::Reservation(_)) => moved = true,
            Err(Refusal::Fenced(Fence(epoch))) => {
                tracing::info!(own = fence.0, epoch, "another release does the background work");
                return Ok(false);
            }
            // Somebody else was faster: a payment, another replica.
            _ => {}
        }
    }
    Ok(is_full && moved)
}
