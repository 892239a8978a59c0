//! Whether a candidate is good enough, by what it does.
mod tally;
pub use tally::{Counters, Ledger, Reading, Tally};
