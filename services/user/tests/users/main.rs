//! The users over their routes: requests in, answers out, with a clock that the test moves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod accounts;
mod client;
mod keys;
mod login;
mod mini_program;
mod secrets;
mod sessions;
