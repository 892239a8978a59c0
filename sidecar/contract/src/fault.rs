//! Faults that a FaultPolicy asks for: what happens to which requests, and until when.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, range, text};
use crate::traffic::{MAX_METHOD, MAX_NAME, Pair, WHOLE, token, value};

/// Most faults of a document.
pub const MAX_FAULTS: usize = 8;
/// Most header fields that a request must have.
pub const MAX_FAULT_HEADERS: usize = 4;
/// Longest delay, the random part included: a minute.
pub const MAX_DELAY_MS: u64 = 60_000;
/// Highest status of gRPC.
const MAX_GRPC: usize = 16;

/// A fault. The sidecar ends it by itself at its time, whoever is away then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Name of the FaultPolicy, for logs and spans.
    pub policy: String,
    /// When it is over, in milliseconds since 1970 (UTC).
    pub until_unix_ms: u64,
    /// Share of the requests that fit, in parts per 10,000.
    pub share: u32,
    /// Which requests; absent: all.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<FaultMatch>,
    /// Name of the dependency whose calls it is for; absent: requests that come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// They wait first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Then this happens instead of what would; absent: they go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FaultEnd>,
}

/// What a request must have: all of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultMatch {
    /// The path, and all below it; `{name}` stands for any one segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Header fields with exactly these values; at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Pair>,
}

/// How long requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// At least so long, in milliseconds.
    pub fixed_ms: u64,
    /// And so much more at random.
    #[serde(default)]
    pub jitter_ms: u64,
}

/// What happens instead of an answer by the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FaultEnd {
    /// The sidecar answers.
    #[serde(rename_all = "camelCase")]
    Abort {
        /// This status, 400 to 599.
        status: u16,
        /// gRPC callers get this one, 1 to 16; absent: the one that stands for the other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grpc_status: Option<u8>,
    },
    /// The connection is closed without an answer; of HTTP/2 the stream.
    Drop,
}

impl Fault {
    pub(crate) fn validate(&self) -> Result<(), InvalidDocument> {
        text("faults.policy", &self.policy)?;
        range("faults.share", "1 to 10000", self.share as usize, 1..=WHOLE as usize)?;
        if let Some(dependency) = &self.dependency {
            text("faults.dependency", dependency)?;
        }
        if let Some(Delay { fixed_ms, jitter_ms }) = self.delay {
            let longest = usize::try_from(fixed_ms.saturating_add(jitter_ms)).unwrap_or(usize::MAX);
            let most = usize::try_from(MAX_DELAY_MS).unwrap_or(usize::MAX);
            range("faults.delay", "1 ms to a minute with its jitter", longest, 1..=most)?;
        }
        if let Some(FaultEnd::Abort { status, grpc_status }) = self.end {
            range("faults.end.abort.status", "400 to 599", status.into(), 400..=599)?;
            let grpc = grpc_status.unwrap_or(1);
            range("faults.end.abort.grpcStatus", "1 to 16", grpc.into(), 1..=MAX_GRPC)?;
        }
        if self.delay.is_none() && self.end.is_none() {
            return Err(InvalidDocument::NoFault(self.policy.clone()));
        }
        self.matches.as_ref().map_or(Ok(()), FaultMatch::validate)
    }
}

impl FaultMatch {
    fn validate(&self) -> Result<(), InvalidDocument> {
        if let Some(path) = &self.path {
            text("faults.match.path", path)?;
        }
        if let Some(method) = &self.method {
            token("faults.match.method", method, MAX_METHOD)?;
        }
        range("faults.match.headers", "at most 4 fields", self.headers.len(), 0..=MAX_FAULT_HEADERS)?;
        for header in &self.headers {
            token("faults.match.headers.name", &header.name, MAX_NAME)?;
            value("faults.match.headers.value", &header.value, |byte| (b' '..=b'~').contains(&byte))?;
        }
        Ok(())
    }
}
