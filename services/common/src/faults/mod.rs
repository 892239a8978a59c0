//! Faults on demand: a version of a service that is bad in one known way. They are part of the shop, not of its tests only:
//! whoever learns how a release protects users needs a release that goes wrong.

mod parse;
mod state;
mod switch;

pub use parse::{Fault, FaultError, FaultList, describe};
pub use state::{Fate, Faults};
pub(crate) use switch::router;
