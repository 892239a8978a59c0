//! What a revision's sidecars are told, without what the operator adds when it renders it: identity, keys, leader epoch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shop_crds::{
    service::{Protocol, dependency::Dependency, limits::Limits},
    status::Colour,
};

use crate::{faults::Fault, mtls::Mtls, telemetry::Telemetry, write::ServiceKind};

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
    /// Ranges of addresses of proxies that are believed when they say whom a request came from.
    pub trusted_hops: Vec<String>,
    /// Longest drain, in milliseconds.
    pub drain_max_ms: u64,
    /// Where requests are handed over to; `None` outside of a release.
    pub hand_off: Option<HandOff>,
    /// Where copies of requests go; `None` unless asked for.
    pub mirror: Option<Mirror>,
    /// What is let in, with defaults filled in; `None`: everything.
    pub limits: Option<Limits>,
    /// What the app calls, with every rule written out.
    pub depends_on: Vec<Dependency>,
    /// What is told of requests.
    pub telemetry: Telemetry,
    /// Which tokens requests need; `None`: none.
    pub jwt: Option<Jwt>,
    /// TLS between sidecars; `None`: there is none.
    pub mtls: Option<Mtls>,
    /// Dependencies whose sidecars are called by TLS, with the ids that these must show.
    pub peers: BTreeMap<String, String>,
    /// Faults that are injected.
    pub faults: Vec<Fault>,
}

/// Which tokens requests need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// What they are signed with.
    pub keys: JwtKeys,
    /// Claims, and the headers that tell them.
    pub headers: Vec<(String, String)>,
    /// Paths, with methods, that need none.
    pub except: Vec<(String, Vec<String>)>,
}

/// What tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// The keys at this URL.
    Jwks(String),
    /// Those in the sidecars' Secret, copied from a Secret whose content has this hash.
    Secret(String),
}

/// That requests are handed over to another revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// The revision that answers them.
    pub to_revision: i64,
    /// In parts per 10,000.
    pub share: u32,
    /// The Service (its port 80) that leads there when no pushed address answers.
    pub fallback: ServiceKind,
    /// Whether a request that was not sent may be answered here after all.
    pub may_serve_locally: bool,
    /// Requests that are handed over at any share.
    pub matches: Vec<Match>,
    /// What the requests of one user have in common; `None`: the share is of requests.
    pub sticky: Option<Sticky>,
}

impl HandOff {
    /// Of so many requests, whatever they are.
    pub fn of(share: u32, to_revision: i64, fallback: ServiceKind, may_serve_locally: bool) -> Self {
        Self { to_revision, share, fallback, may_serve_locally, matches: Vec::new(), sticky: None }
    }
}

/// What a request must have: name and value of a header, of a cookie, or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// A header field.
    pub header: Option<(String, String)>,
    /// A cookie.
    pub cookie: Option<(String, String)>,
}

/// What the requests of one user have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The caller's address.
    Client,
    /// The verified user.
    User,
}

/// Copies of requests for another revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The revision that gets them.
    pub to_revision: i64,
    /// In parts per 10,000 of the requests with these methods.
    pub share: u32,
    /// The Service (its port 80) that leads there.
    pub fallback: ServiceKind,
    /// Methods that are copied.
    pub methods: Vec<String>,
}
