//! What a service over the ledger can be told, and the ledger that comes of it.

use std::time::Duration;

use clap::Args;

use crate::Place;
use crate::ledger::{Ledger, Writing};
use crate::store::{Offer, StoreError};

/// How long the end of a service waits for the ledger to give its slot for ids back; it is free half a minute later in any case.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What every service over the ledger can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct StoreSettings {
    /// The ledger: a `SQLite` file, made if it is missing, or `postgres://user@host/database`
    #[arg(long, env = "SHOP_STORE", default_value = "ledger.sqlite", value_name = "STORE")]
    pub store: Place,
    /// The sidecar's admin port, host:port, which says whether background work is done here; left out, it is
    #[arg(long, env = "SHOP_ROLE", value_name = "ADDRESS")]
    pub role: Option<String>,
}

/// Opens the ledger at `place`; the name of this process is written beside its slot for ids.
pub async fn open(place: &Place, offers: &[Offer]) -> Result<(Ledger, Writing), StoreError> {
    // The pod's name in Kubernetes.
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "local".to_owned());
    Ledger::open(place, &format!("{host}/{}", std::process::id()), offers).await
}

/// Closes the ledger of a service that has ended.
pub async fn close(ledger: Ledger, writing: Writing) {
    drop(ledger);
    if tokio::time::timeout(END_WITHIN, writing.ended()).await.is_err() {
        tracing::warn!("somebody still uses the ledger; its slot for ids is free when its lease is over");
    }
}
