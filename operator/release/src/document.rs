//! What a revision's sidecars are told, without what the operator adds when it renders it: identity, keys, leader epoch.

use serde::{Deserialize, Serialize};
use shop_crds::{service::Protocol, status::Colour};

/// What a revision is in a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Will become active.
    Candidate,
    /// The users' Service selects it.
    Active,
    /// Was active, or was a candidate that is given up; kept warm or draining.
    Retiring,
}

impl Role {
    /// The word for it: the annotation's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }

    /// From the annotation's value.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Candidate, Self::Active, Self::Retiring].into_iter().find(|role| role.as_str() == word)
    }
}

/// Content of a sidecar document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarDocument {
    /// The revision.
    pub revision: i64,
    /// What it is in the release.
    pub role: Role,
    /// Its colour.
    pub colour: Colour,
    /// Fencing token of background work.
    pub role_epoch: i64,
    /// Port of the app.
    pub port: u16,
    /// What the app speaks.
    pub protocol: Protocol,
    /// Path of the readiness probe; `None`: a TCP connection.
    pub readiness_path: Option<String>,
    /// Timeout of the readiness probe, in milliseconds.
    pub readiness_timeout_ms: u64,
    /// Connections beyond which the sidecar answers 503.
    pub max_connections: u32,
    /// Longest drain, in milliseconds.
    pub drain_max_ms: u64,
    /// Where requests are handed over to; `None` outside of a release.
    pub hand_off: Option<HandOff>,
}

/// That requests are handed over to another revision: all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// The revision that answers them.
    pub to_revision: i64,
    /// In parts per 10,000.
    pub share: u32,
    /// The Service (its port 80) that leads there when no pushed address answers.
    pub fallback: crate::write::ServiceKind,
    /// Whether a request that was not sent may be answered here after all.
    pub may_serve_locally: bool,
}
