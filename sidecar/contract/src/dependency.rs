//! What the app calls, and how its sidecar does that for it.

use serde::{Deserialize, Serialize};

use crate::auth::spiffe_id;
use crate::document::{InvalidDocument, at_least_one, range, text};

/// Most dependencies of one service.
pub const MAX_DEPENDENCIES: usize = 32;
/// Most tries of a request after the first one.
pub const MAX_RETRIES: u32 = 10;
/// Longest static answer.
pub const MAX_ANSWER: usize = 8 * 1024;
/// Most path prefixes whose last good answers are kept.
pub const MAX_PATHS: usize = 16;
/// Longest time in milliseconds: an hour.
const MAX_MS: u64 = 3_600_000;

/// One service that the app calls through its sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// Its name: of a ShopService in the same namespace, or any for another `host`.
    pub name: String,
    /// Outside of the cluster, or no ShopService: this host, `host` or `host:port`. Absent: the pods of the ShopService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How it is spoken to; absent: plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DependencyTls>,
    /// What is spoken to it.
    #[serde(default, skip_serializing_if = "is_http")]
    pub protocol: DependencyProtocol,
    /// Opened on 127.0.0.1 for this dependency alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    /// How long all tries together may take until an answer begins, in milliseconds.
    pub timeout_ms: u64,
    /// How long one try may take; absent: as long as all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub try_timeout_ms: Option<u64>,
    /// Tries after the first one, of requests that may be repeated.
    pub retries: u32,
    /// Which pod gets a request.
    pub balance: Balance,
    /// With `consistentHash`: the header whose value decides; absent: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_header: Option<String>,
    /// When it is left alone for a while; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Requests under way beyond which more are refused; absent: none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// What a GET is answered when there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// What is spoken to a dependency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DependencyProtocol {
    /// HTTP/1.1, and HTTP/2 without TLS.
    #[default]
    Http,
    /// Bytes; its port on 127.0.0.1 is the only way to it.
    Tcp,
}

// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_http(protocol: &DependencyProtocol) -> bool {
    *protocol == DependencyProtocol::Http
}

/// TLS to a dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DependencyTls {
    /// Its sidecars, both sides with certificates; theirs must be of this SPIFFE id: `{"sidecar": "spiffe://…/svc/inventory"}`.
    Sidecar(String),
    /// A host outside, by the roots that the public trusts; its certificate must be for this name: `{"host": "pay.example.com"}`.
    Host(String),
}

/// Which pod gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Balance {
    /// The one with fewer requests under way, of two random ones.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// More often those that answer quickly.
    Weighted,
    /// The same for equal keys.
    ConsistentHash,
}

/// When a dependency is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Fewer requests than this in `windowMs` say nothing.
    pub requests: u32,
    /// Failures in percent at which it opens.
    pub error_percent: u32,
    /// How far back requests count.
    pub window_ms: u64,
    /// How long everything is refused.
    pub open_ms: u64,
    /// Requests that are tried after it, all of which must go well.
    pub trials: u32,
}

/// What a GET is answered when there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// Always this.
    #[serde(rename_all = "camelCase")]
    Answer {
        /// Its status.
        status: u16,
        /// Its `content-type`.
        content_type: String,
        /// Its body.
        body: String,
    },
    /// The last answer with status 200 to the same path.
    #[serde(rename_all = "camelCase")]
    LastGood {
        /// Paths that begin with one of these.
        paths: Vec<String>,
        /// How old it may be.
        max_age_ms: u64,
    },
}

/// Checks all dependencies of a document. `app`: the port of the app.
pub(crate) fn validate(all: &[Dependency], app: u16) -> Result<(), InvalidDocument> {
    range("dependsOn", "at most 32", all.len(), 0..=MAX_DEPENDENCIES)?;
    for (index, one) in all.iter().enumerate() {
        one.validate()?;
        let before = all.get(..index).unwrap_or_default();
        let port_is_taken = one
            .local_port
            .is_some_and(|port| port == app || before.iter().any(|other| other.local_port == Some(port)));
        if port_is_taken || before.iter().any(|other| other.name == one.name) {
            return Err(InvalidDocument::Twice(one.name.clone()));
        }
    }
    Ok(())
}

impl Dependency {
    /// One of a ShopService, as it is without further wishes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            host: None,
            tls: None,
            protocol: DependencyProtocol::default(),
            local_port: None,
            timeout_ms: 15_000,
            try_timeout_ms: None,
            retries: 2,
            balance: Balance::default(),
            hash_header: None,
            circuit_breaker: None,
            max_in_flight: None,
            fallback: None,
        }
    }

    fn validate(&self) -> Result<(), InvalidDocument> {
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&self.name.len()) || !self.name.bytes().all(name) {
            return Err(InvalidDocument::Name("dependsOn.name"));
        }
        if let Some(host) = &self.host {
            text("dependsOn.host", host)?;
        }
        if self.protocol == DependencyProtocol::Tcp && self.local_port.is_none() {
            return Err(InvalidDocument::WithoutPort(self.name.clone()));
        }
        match &self.tls {
            Some(DependencyTls::Sidecar(id)) => spiffe_id("dependsOn.tls.sidecar", id)?,
            Some(DependencyTls::Host(name)) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
                if self.host.is_none() || name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
                    return Err(InvalidDocument::TlsHost(self.name.clone()));
                }
            }
            None => {}
        }
        for millis in [Some(self.timeout_ms), self.try_timeout_ms].into_iter().flatten() {
            millis_in("dependsOn.timeoutMs", millis)?;
        }
        range("dependsOn.retries", "at most 10", self.retries as usize, 0..=MAX_RETRIES as usize)?;
        if let Some(header) = &self.hash_header {
            text("dependsOn.hashHeader", header)?;
        }
        if let Some(most) = self.max_in_flight {
            at_least_one("dependsOn.maxInFlight", most.into())?;
        }
        if let Some(breaker) = &self.circuit_breaker {
            at_least_one("dependsOn.circuitBreaker.requests", breaker.requests.into())?;
            at_least_one("dependsOn.circuitBreaker.trials", breaker.trials.into())?;
            let percent = breaker.error_percent as usize;
            range("dependsOn.circuitBreaker.errorPercent", "1 to 100", percent, 1..=100)?;
            millis_in("dependsOn.circuitBreaker.windowMs", breaker.window_ms)?;
            millis_in("dependsOn.circuitBreaker.openMs", breaker.open_ms)?;
        }
        match &self.fallback {
            Some(Fallback::Answer { status, content_type, body }) => {
                range("dependsOn.fallback.answer.status", "200 to 599", usize::from(*status), 200..=599)?;
                text("dependsOn.fallback.answer.contentType", content_type)?;
                range("dependsOn.fallback.answer.body", "at most 8192 bytes", body.len(), 0..=MAX_ANSWER)
            }
            Some(Fallback::LastGood { paths, max_age_ms }) => {
                range("dependsOn.fallback.lastGood.paths", "1 to 16", paths.len(), 1..=MAX_PATHS)?;
                paths.iter().try_for_each(|path| text("dependsOn.fallback.lastGood.paths", path))?;
                at_least_one(
                    "dependsOn.fallback.lastGood.maxAgeMs",
                    i64::try_from(*max_age_ms).unwrap_or(i64::MAX),
                )
            }
            None => Ok(()),
        }
    }
}

fn millis_in(field: &'static str, found: u64) -> Result<(), InvalidDocument> {
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    range(field, "1 to 3600000", found, 1..=usize::try_from(MAX_MS).unwrap_or(usize::MAX))
}

/// The variable that tells the app where a dependency is: `SHOP_INVENTORY_URL`.
pub fn url_variable(name: &str) -> String {
    format!("SHOP_{}_URL", name.to_uppercase().replace('-', "_"))
}
