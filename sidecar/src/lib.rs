//! The proxy beside every container of a shop: it answers probes, splits traffic between revisions and drains pods.
//!
//! A request's way: [`inbound`] (connection, checks) -> [`config`] (the document in use) -> [`upstream`] (this pod's app, or
//! another revision's pods). The app's own calls go out by `outbound`. [`admin`] is the other port; [`drain`] and [`control`] end a pod's traffic in order.

pub mod admin;
pub mod auth;
pub mod choice;
mod clock;
pub mod config;
pub mod control;
pub mod drain;
pub mod faults;
mod grpc;
pub mod handover;
mod http1;
mod http2;
pub mod inbound;
pub mod limits;
mod outbound;
mod patience;
mod relay;
pub mod settings;
mod sidecar;
pub mod standalone;
pub mod telemetry;
mod tls;
pub mod upstream;

pub use clock::Clock;
pub use settings::Settings;
pub use sidecar::{Sidecar, StartError};
