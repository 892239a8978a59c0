//! What the ledger knows without a database: every rule here takes data and a time and returns data.

pub mod idempotency;
pub mod ids;
pub mod lines;
pub mod money;
pub mod order;
pub mod state;
pub mod stock;

pub use idempotency::{Fingerprint, Key, Known, Verdict};
pub use lines::{Line, LineError, Lines, Sku};
pub use money::Money;
pub use order::{Order, PricedLine, Recorded};
pub use state::{Effect, Event, Reason, Status};
pub use stock::{Item, Reservation, ReservationState, Stock};

/// Milliseconds since 1970, as every row holds its times.
pub type Millis = i64;
