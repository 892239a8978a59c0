//! What the gateway decides: pure, without clock, randomness or I/O.

mod identity;
mod level;
mod network;
mod openapi;
mod place;
mod revoked;

pub use identity::{ROLES, USER, carries_on, strip};
pub use level::Level;
pub use network::{BadNetwork, Network};
pub use openapi::merge;
pub use place::{BACKENDS, Backend, Place, place};
pub use revoked::{Revoked, Told};
