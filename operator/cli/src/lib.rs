//! `kubectl shop`: decide about releases, see what they wait for, and wait for them in a pipeline.
//!
//! [`verdict`] judges a status and [`render`] writes pages, both without I/O; [`client`] is the edge to the API server, and
//! [`command`] puts them together, one module per group of verbs.

pub mod adopt;
pub mod arguments;
pub mod calls;
pub mod client;
pub mod command;
pub mod completion;
pub mod diff;
pub mod doctor;
pub mod exit;
pub mod mtls;
pub mod plan;
pub mod render;
pub mod report;
pub mod verdict;

pub use arguments::Arguments;
pub use client::Cluster;
pub use command::{Pace, Terminal, run};
pub use exit::Exit;
