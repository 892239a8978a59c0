//! The gateway between clients and services, over sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod away;
mod decisions;
mod identity;
mod limits;
mod shop;
