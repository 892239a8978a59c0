//! Limits on what comes in: how often somebody may ask, and how much is done at once.
//!
//! [`rate`] says of one key (an address, a user, a route) whether it may; [`table`] remembers many keys in bounded memory;
//! [`gate`] lets so many requests through at once, and keeps a bounded queue of others.

pub mod gate;
pub mod rate;
pub mod table;
