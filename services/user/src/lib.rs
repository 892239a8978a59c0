//! The users of the shop: accounts, passwords, sessions and the tokens that all other services verify.
//!
//! [`domain`] is pure, [`store`] keeps users, sessions and keys, [`routes`] answers over HTTP; [`passwords`], [`keys`] and
//! [`attempts`] are what costs CPU, signs, and slows down guessing.

pub mod attempts;
pub mod domain;
pub mod keys;
pub mod mini_program;
pub mod passwords;
pub mod routes;
pub mod store;

mod settings;
mod start;

pub use settings::Settings;
pub use start::{StartError, app, run};
