//! State machines of traffic: which share of requests goes elsewhere, which endpoint gets one and whether once more, what is too
//! much, when a pod is drained, and what is told of a request.
//!
//! Nothing here does I/O or reads a clock: `now` is an argument, a [`core::time::Duration`] since any fixed moment that the
//! caller chooses once. So every rule is tested by calling it.

pub mod balance;
pub mod breaker;
pub mod drain;
pub mod fault;
pub mod hops;
pub mod http1;
pub mod limit;
pub mod pace;
pub mod retry;
pub mod sampling;
pub mod split;
pub mod spread;
pub mod sticky;
mod tally;
