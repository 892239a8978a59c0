//! The document that tells a sidecar what it is and what to do with requests.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::auth::Auth;
use crate::dependency::{self, Dependency};
use crate::fault::{Fault, MAX_FAULTS};
use crate::limits::Limits;
use crate::network::{Network, NotANetwork};
use crate::telemetry::Telemetry;
use crate::traffic::{HandOff, Mirror};

/// Version of the document's shape. A sidecar refuses one that is newer than its own.
pub const SCHEMA: i32 = 1;

/// Most ranges of trusted hops.
pub const MAX_TRUSTED_HOPS: usize = 32;
/// Longest list of hand-off addresses that is accepted.
const MAX_ADDRESSES: usize = 2_000;

/// What a sidecar is told: one document per revision, with a rising `generation`.
///
/// It holds nothing secret: keys are named by id, and lie in the Secret that is mounted beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// [`SCHEMA`] of the writer.
    pub schema: i32,
    /// Whom the document is for.
    pub identity: Identity,
    /// Epoch of the operator's leader that wrote it. Lower than the last accepted one: refused.
    pub leader_epoch: i64,
    /// Rises with every change of this revision's document.
    pub generation: i64,
    /// What the revision is in the release.
    pub role: Role,
    /// Label of metrics and logs.
    pub colour: Colour,
    /// Per service, rises at each promotion or abort: the fencing token for background work.
    pub role_epoch: i64,
    /// Where and how the app listens.
    pub app: App,
    /// Connections beyond this many are answered 503.
    pub max_connections: u32,
    /// Ranges of addresses of proxies in front that are believed when they say whom a request came from, each a [`Network`]; at
    /// most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_hops: Vec<String>,
    /// Longest drain of inbound traffic, in milliseconds.
    pub drain_max_ms: u64,
    /// Share of requests that another revision answers; absent outside of a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<HandOff>,
    /// Which requests another revision gets a copy of; absent unless asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Who may send requests; absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What the app calls through its sidecar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What is let in; absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What is told of requests; absent: as the sidecar has it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// Faults that are asked for, each with its end; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Keys that may sign a push.
    pub push_keys: PublicKeys,
    /// Ids of the keys for the hand-over header's MAC.
    pub handover_keys: HandoverKeys,
}

/// Namespace, service and revision a document or a push is for. A sidecar refuses any other than its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Namespace of the ShopService.
    pub namespace: String,
    /// Name of the ShopService.
    pub service: String,
    /// Uid of the ShopService: a service made anew under the same name is another one.
    pub service_uid: String,
    /// The revision.
    pub revision: i64,
}

/// What a revision is in a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Will become active.
    Candidate,
    /// The users' Service selects it.
    Active,
    /// Was active; kept warm or draining.
    Retiring,
}

impl Role {
    /// The word for it in labels and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

/// One of the two colours of a blue-green release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Colour {
    /// The first revision's.
    Blue,
    /// The other one.
    Green,
}

impl Colour {
    /// The word for it in labels and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

/// Where the app listens, and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// On 127.0.0.1.
    pub port: u16,
    /// What the sidecar speaks to it.
    pub protocol: Protocol,
    /// How the sidecar asks the app whether it is ready.
    pub readiness: Readiness,
}

/// How the sidecar asks the app whether it is ready, each time the kubelet asks the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Readiness {
    /// Path of a GET, answered with 200 to 399 when ready; absent: a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Longest wait for the answer, in milliseconds.
    pub timeout_ms: u64,
}

/// What is spoken to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1; HTTP/2 without TLS for `content-type: application/grpc`.
    Http,
    /// HTTP/2 without TLS.
    Grpc,
    /// Bytes, of which the sidecar knows nothing: limits by address, hand-off and drain go by connections.
    Tcp,
}

/// Addresses of the revision that requests are handed to; pushed, never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// Whom the list is for.
    pub identity: Identity,
    /// Epoch of the operator's leader that sent it.
    pub leader_epoch: i64,
    /// Rises with every list that is sent to a revision within one leader epoch.
    pub sequence: i64,
    /// The revision the addresses belong to.
    pub to_revision: i64,
    /// Inbound ports of its ready pods.
    pub addresses: Vec<SocketAddr>,
}

/// Ed25519 public keys, 32 bytes each, in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicKeys {
    /// The key in use.
    pub current: String,
    /// The key that is going to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Ids of MAC keys: file names in the mounted Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandoverKeys {
    /// The key to make MACs with, and to accept.
    pub current: String,
    /// A key to accept as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a document or a list of endpoints is refused whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// Written for a newer sidecar.
    #[error(
        "schema {0} is newer than this sidecar's {SCHEMA}; restart the service's pods with a newer sidecar"
    )]
    Schema(i32),
    /// A number outside of its range.
    #[error("{field} must be {expected}, but is {found}")]
    Range {
        /// The field's name in JSON.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: i64,
    },
    /// A text that must not be empty or too long.
    #[error("{0} must be 1 to 253 characters")]
    Text(&'static str),
    /// Hand-off to the revision itself.
    #[error("handOff.toRevision is the revision itself")]
    HandOffToSelf,
    /// Copies to the revision itself.
    #[error("mirror.toRevision is the revision itself")]
    MirrorToSelf,
    /// No address that spans can be sent to.
    #[error(
        "telemetry.tracing.endpoint must be an address as http://host:port of at most 256 characters, without user and query"
    )]
    Endpoint,
    /// No template of a path.
    #[error(
        "each of telemetry.routes must be a path of at most 256 characters as /orders/{{id}}, but one is {0:?}"
    )]
    Route(String),
    /// A match that every request would fit.
    #[error("each of handOff.match must have a header or a cookie")]
    EmptyMatch,
    /// What is no range of addresses.
    #[error("trustedHops: {0}")]
    TrustedHop(#[from] NotANetwork),
    /// What is no range of addresses.
    #[error("{0}: {1}")]
    Network(&'static str, NotANetwork),
    /// A name or method that no request can have.
    #[error("{0} must be 1 to {1} letters, digits or any of !#$%&'*+-.^_`|~")]
    Token(&'static str, usize),
    /// A name that is not one of DNS.
    #[error("{0} must be 1 to 63 lower-case letters, digits and '-'")]
    Name(&'static str),
    /// Two dependencies with one name or port.
    #[error("dependsOn has the name or the localPort of {0:?} twice, or the localPort is the app's")]
    Twice(String),
    /// Bytes that do not say where they want to go.
    #[error("dependsOn {0:?} is spoken to as bytes, which only a localPort leads to: write one")]
    WithoutPort(String),
    /// A value that no request can have.
    #[error("{0} must be 1 to 253 visible ASCII characters, of a cookie without \" , ; \\")]
    Value(&'static str),
    /// A source of keys that cannot be asked.
    #[error("auth.jwt.keys.jwks must be an http or https URL of at most 2048 visible ASCII characters")]
    Jwks,
    /// A fault that does nothing.
    #[error("fault {0:?} must have a delay, an end, or both")]
    NoFault(String),
    /// TLS to a host without one.
    #[error(
        "dependsOn {0:?}: tls.host is for a dependency with a host, and must be a name or an address, as pay.example.com"
    )]
    TlsHost(String),
    /// What is no SPIFFE id.
    #[error("{0} must be a SPIFFE id as spiffe://cluster.local/ns/shop/svc/order, but is {1:?}")]
    SpiffeId(&'static str, String),
    /// A header that says something else already.
    #[error(
        "auth.jwt.headers must not set {0:?}; write another name, in lower case and without '_', as x-user-tier"
    )]
    ClaimHeader(String),
    /// A path that can be read in two ways.
    #[error(
        "auth.jwt.except.path {0:?} must begin with '/' and have no empty segment, no '.' or '..', and none of ? # \\ % ;"
    )]
    OpenPath(String),
}

impl Document {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), InvalidDocument> {
        if self.schema > SCHEMA {
            return Err(InvalidDocument::Schema(self.schema));
        }
        self.identity.validate()?;
        at_least_one("leaderEpoch", self.leader_epoch)?;
        at_least_one("generation", self.generation)?;
        at_least_one("app.port", self.app.port.into())?;
        at_least_one("maxConnections", self.max_connections.into())?;
        range("trustedHops", "at most 32 ranges", self.trusted_hops.len(), 0..=MAX_TRUSTED_HOPS)?;
        for hop in &self.trusted_hops {
            hop.parse::<Network>()?;
        }
        text("pushKeys.current", &self.push_keys.current)?;
        text("handoverKeys.current", &self.handover_keys.current)?;
        if let Some(hand_off) = &self.hand_off {
            hand_off.validate(self.identity.revision)?;
        }
        if let Some(mirror) = &self.mirror {
            mirror.validate(self.identity.revision)?;
        }
        if let Some(auth) = &self.auth {
            auth.validate()?;
        }
        if let Some(limits) = &self.limits {
            limits.validate()?;
        }
        if let Some(telemetry) = &self.telemetry {
            telemetry.validate()?;
        }
        range("faults", "at most 8", self.faults.len(), 0..=MAX_FAULTS)?;
        self.faults.iter().try_for_each(Fault::validate)?;
        dependency::validate(&self.depends_on, self.app.port)
    }
}

impl Endpoints {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), InvalidDocument> {
        self.identity.validate()?;
        at_least_one("leaderEpoch", self.leader_epoch)?;
        at_least_one("sequence", self.sequence)?;
        range("addresses", "at most 2000", self.addresses.len(), 0..=MAX_ADDRESSES)
    }
}

impl Identity {
    fn validate(&self) -> Result<(), InvalidDocument> {
        text("identity.namespace", &self.namespace)?;
        text("identity.service", &self.service)?;
        text("identity.serviceUid", &self.service_uid)?;
        at_least_one("identity.revision", self.revision)
    }
}

pub(crate) fn at_least_one(field: &'static str, found: i64) -> Result<(), InvalidDocument> {
    if found < 1 { Err(InvalidDocument::Range { field, expected: "at least 1", found }) } else { Ok(()) }
}

pub(crate) fn text(field: &'static str, value: &str) -> Result<(), InvalidDocument> {
    if (1..=253).contains(&value.len()) { Ok(()) } else { Err(InvalidDocument::Text(field)) }
}

pub(crate) fn range(
    field: &'static str,
    expected: &'static str,
    found: usize,
    allowed: RangeInclusive<usize>,
) -> Result<(), InvalidDocument> {
    let found_number = i64::try_from(found).unwrap_or(i64::MAX);
    let error = InvalidDocument::Range { field, expected, found: found_number };
    if allowed.contains(&found) { Ok(()) } else { Err(error) }
}
