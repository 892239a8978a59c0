//! What operator and sidecars exchange: the configuration document, the pushed endpoints, the acknowledgement and the
//! statistics. Both sides use these types, so that neither can send what the other does not know.
//!
//! Nothing here does I/O or signs anything: `operator` signs and sends, `sidecar` verifies and serves.

mod document;
mod names;
mod push;
mod stats;

pub use document::{
    App, Colour, Document, Endpoints, HandOff, HandoverKeys, Identity, InvalidDocument, Protocol, PublicKeys,
    Readiness, Role, SCHEMA,
};
pub use names::{env, headers, paths, ports, reasons};
pub use push::{Acknowledgement, Push, SIGNATURE_HEADER, document_hash};
pub use stats::Stats;

#[cfg(test)]
mod tests;
