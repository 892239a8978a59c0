//! Shopkeeper's API: the kinds of `shopkeeper.dev/v1alpha1` as Rust types, and every name that more than one part relies on.
//!
//! The YAML in `crds/yaml` is generated from these types; a test compares it. There is no client here.

#![allow(
    clippy::doc_markdown,
    reason = "comments on the types are what `kubectl explain` shows, where backticks around every kind would stand"
)]
#![allow(clippy::duplicated_attributes, reason = "the columns of a kind are alike in type")]

pub mod amount;
pub mod decision;
pub mod definition;
pub mod fault;
pub mod names;
pub mod percent;
pub mod policy;
pub mod reason;
pub mod service;
pub mod span;
pub mod status;

pub use amount::Amount;
pub use decision::{DecisionOutcome, ReleaseDecision, ReleaseDecisionSpec, ReleaseDecisionStatus, Verb};
pub use definition::definitions;
pub use fault::{FaultPolicy, FaultPolicySpec, FaultPolicyStatus};
pub use percent::Percent;
pub use policy::{ShopPolicy, ShopPolicySpec, ShopPolicyStatus};
pub use reason::Reason;
pub use service::{ShopService, ShopServiceSpec};
pub use span::Span;
pub use status::ShopServiceStatus;

/// Group of every kind.
pub const GROUP: &str = "shopkeeper.dev";
/// Version of every kind.
pub const VERSION: &str = "v1alpha1";
