//! The sidecar in its own process, between clients and apps of the test. One program: linking it takes longer than its tests.

mod auth;
mod choice;
mod config;
mod counters;
mod drain;
mod faults;
mod frames;
mod half_close;
mod hand_off;
mod limits;
mod mirror;
mod outbound;
mod pass;
mod slow;
mod strict;
mod support;
mod tcp;
mod tls;
mod told;
mod traces;
