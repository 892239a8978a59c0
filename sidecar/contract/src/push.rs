//! What is sent to a sidecar by POST, how it is signed, and what it answers.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Document, Endpoints};

/// Header of a push: the Ed25519 signature, 64 bytes, in base64.
pub const SIGNATURE_HEADER: &str = "x-shop-signature";

/// Body of `POST /config`. The signature is over its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// One lives at a time, and only while it is read or written.
#[allow(clippy::large_enum_variant)]
#[serde(tag = "kind", content = "body", rename_all = "camelCase")]
pub enum Push {
    /// A new document, the same that the mounted ConfigMap holds.
    Document(Document),
    /// Where hand-off goes.
    Endpoints(Endpoints),
    /// Where the other pods of the same revision are, this one among them: their admin ports. They share what is limited.
    Peers(Endpoints),
    /// Changes nothing: asks what the sidecar has accepted.
    Query(crate::Identity),
}

/// What a sidecar has accepted, answered to every push, refused ones too (then with status 409 or 400 and `refused`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// The revision of the document in use.
    pub revision: i64,
    /// Generation of the document in use.
    pub generation: i64,
    /// [`document_hash`] of the document in use.
    pub hash: String,
    /// Leader epoch of the document in use.
    pub leader_epoch: i64,
    /// Role epoch of the document in use.
    pub role_epoch: i64,
    /// Sequence of the last accepted endpoints; 0: none.
    pub endpoints_seen: i64,
    /// The revision that those endpoints belong to; 0: none.
    pub endpoints_revision: i64,
    /// Sequence of the last accepted peers; 0: none.
    #[serde(default)]
    pub peers_seen: i64,
    /// Why the push was refused, with what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// First 16 hexadecimal digits of the SHA-256 of the document's JSON, fields in the order of the type.
pub fn document_hash(document: &Document) -> String {
    // Only string keys and whole numbers are in it, so that it always has a JSON form.
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    Sha256::digest(&bytes).iter().take(8).fold(String::with_capacity(16), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}");
        hash
    })
}
