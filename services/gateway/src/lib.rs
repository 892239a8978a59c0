//! The shop's front door: one address for all services. Who asks, how often, where to, and what is left out when there is too much
//! to do or a service is away.
//!
//! [`domain`] is pure; [`routes`] has the steps of a request in their order; [`limits`], [`trust`] and `forward` are those steps.

pub mod domain;
pub mod limits;
pub mod routes;
pub mod trust;

mod client;
mod documents;
mod forward;
mod last_good;
mod settings;
mod start;
mod tunnel;

pub use settings::{Duty, Settings, Urls};
pub use start::{StartError, app, run};
