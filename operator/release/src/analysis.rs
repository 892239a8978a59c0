//! Whether a candidate is good enough, by what it does: decided from what sidecars have counted and what others answer.
//!
//! An analysis belongs to a stage of the release and is kept in `status.release.analysis`. It begins when the stage does, is measured
//! at each plan, and ends with one of four outcomes, which the release heeds live by `dryRun`, `onNoData` and `onFailure`:
//!
//! | outcome | when | before the promotion | after it |
//! | --- | --- | --- | --- |
//! | passed | every bound and check passed | goes on | goes on |
//! | failed | one is shown to be broken | `onFailure` | `onFailure` |
//! | inconclusive | `timeout` came before that | `onNoData`, or hold | `onNoData`, or goes on with an event |
//! | error | at `timeout` a question had no answer | `onNoData`, or hold | `onNoData`, or hold |
//!
//! Nothing here waits, and nothing delays an abort: an analysis is looked at only while the release goes forward.

mod bound;
mod checks;
mod run;
mod tally;
mod traffic;

pub(crate) use checks::writes;
pub use run::counting;
pub(crate) use run::{accept, advance, again, failure, holds, lets_go, waits};
pub use tally::{Counters, Ledger, Reading, Tally};
