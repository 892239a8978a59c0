//! Where the ledger is kept: `SQLite` in a file, or `PostgreSQL` by URL. Both pass one conformance suite.

mod audit;
pub mod postgres;
mod read;
mod schema;
pub mod sqlite;

use std::future::Future;

pub use audit::{Audit, Fault};
pub use read::Reader;
pub use schema::{KNOWN_SCHEMA, OLDEST_SCHEMA};

use crate::command::{Outcome, Refusal};
use crate::decide::{Decided, Keys, Loaded};
use crate::domain::ids::Lease;
use crate::domain::{Millis, Sku};

/// Why the store failed; each names the step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be opened.
    #[error("cannot open the ledger {place}: {source}; check --store")]
    Open {
        /// The file or server, without a password.
        place: String,
        /// What the database says.
        source: sqlx::Error,
    },
    /// `--store` is neither a file nor a `PostgreSQL` URL.
    #[error("cannot read the store's address: {0}; write postgres://user@host/database, or a file's path")]
    Address(String),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the ledger to schema {step}: {source}")]
    Migrate {
        /// The schema's version.
        step: i64,
        /// What the database says.
        source: sqlx::Error,
    },
    /// The schema is not one that this version can work with.
    #[error(
        "the ledger has schema {found}, which needs a service that knows schema {oldest} or later; this one knows {OLDEST_SCHEMA} to {KNOWN_SCHEMA}: start a newer version"
    )]
    Schema {
        /// The store's schema.
        found: i64,
        /// The oldest schema whose services still work with it.
        oldest: i64,
    },
    /// Rows cannot be read.
    #[error("cannot read from the ledger: {0}")]
    Read(#[source] sqlx::Error),
    /// A batch cannot be written; nothing of it is.
    #[error("cannot write to the ledger: {0}")]
    Write(#[source] sqlx::Error),
    /// A row holds what no version of the service writes.
    #[error("the ledger's row {0} cannot be understood")]
    Row(String),
    /// Somebody else has written between the look and the write; nothing of the batch is written.
    #[error("the ledger's rows were changed by somebody else")]
    Raced,
}

/// One SKU of the catalogue, offered for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub sku: Sku,
    /// The price of one, in minor units.
    pub price: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// How many there are when it is first offered.
    pub first_stock: u32,
}

/// Decides a batch of what was loaded for it; called again when somebody else was faster.
pub type Decide<'a> = &'a mut (dyn FnMut(Loaded) -> Decided + Send);

/// The writing side of a store: one connection, one batch at a time.
pub trait Store: Send + 'static {
    /// Loads `keys`, locks them, decides, and writes everything that was decided in one transaction. It is durable, or nothing is
    /// written.
    fn transact(
        &mut self,
        keys: &Keys,
        decide: Decide<'_>,
    ) -> impl Future<Output = Result<Vec<Result<Outcome, Refusal>>, StoreError>> + Send;

    /// Offers items for sale: the price of known ones is set, new ones come with their first stock.
    fn offer(&mut self, offers: &[Offer]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Leases a slot for ids; `None` when all are in use.
    fn lease(
        &mut self,
        holder: &str,
        now: Millis,
    ) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Renews a lease and writes down the last millisecond that was used. False when the slot is somebody else's.
    fn renew(&mut self, lease: Lease, now: Millis) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives a slot back.
    fn give_back(&mut self, lease: Lease) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A new epoch for background work, higher than all before: for services that no sidecar tells theirs.
    fn next_epoch(&mut self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Whether the schema is still one that this version can work with.
    fn check_schema(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
