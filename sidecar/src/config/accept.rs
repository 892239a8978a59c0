//! Which documents and endpoint lists are accepted; pure.
//!
//! Every one is for one revision of one `ShopService`, and newer than what is in use: a late write of an old leader, or a
//! delayed mount, must not undo what a newer leader has decided.

use shop_contract::{Document, Endpoints, Identity, InvalidDocument, Push};

use super::Snapshot;

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No signature by an accepted key.
    #[error(
        "the signature is not by a key that the document in use accepts; write the new key into the ConfigMap first"
    )]
    Signature,
    /// Nothing to check a signature with.
    #[error("no document is in use yet, so no key is accepted; mount the ConfigMap first")]
    NoDocument,
    /// Not what this sidecar reads.
    #[error("cannot be read: {0}")]
    Malformed(String),
    /// A value that makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidDocument),
    /// For somebody else.
    #[error("is for {found}, but this pod is {own}")]
    Identity {
        /// This pod.
        own: String,
        /// Whom it is for.
        found: String,
    },
    /// By a leader that was replaced.
    #[error("leader epoch {found} is lower than {accepted}, which is in use; another operator leads")]
    Epoch {
        /// In use.
        accepted: i64,
        /// Of what was refused.
        found: i64,
    },
    /// Not newer.
    #[error("generation {found} is not newer than {accepted}, which is in use")]
    Generation {
        /// In use.
        accepted: i64,
        /// Of what was refused.
        found: i64,
    },
    /// Not newer.
    #[error("endpoint sequence {found} is not newer than {accepted}, which is in use")]
    Sequence {
        /// In use.
        accepted: i64,
        /// Of what was refused.
        found: i64,
    },
    /// A key that no signature can be checked with.
    #[error("pushKeys.{0} is not an Ed25519 public key; write its 32 bytes in base64")]
    PublicKey(&'static str),
    /// A MAC key that cannot be used.
    #[error("{0}")]
    MacKey(String),
    /// Keys for tokens that cannot be used.
    #[error("{0}")]
    TokenKeys(String),
}

impl Refusal {
    /// Label of the metric; one of a closed list.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::NoDocument => "no-document",
            Self::Malformed(_) => "malformed",
            Self::Invalid(_) => "invalid",
            Self::Identity { .. } => "identity",
            Self::Epoch { .. } => "epoch",
            Self::Generation { .. } => "generation",
            Self::Sequence { .. } => "sequence",
            Self::PublicKey(_) => "public-key",
            Self::MacKey(_) => "mac-key",
            Self::TokenKeys(_) => "token-keys",
        }
    }

    /// Whether it can never be accepted, as opposed to not fitting what is in use.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Signature | Self::Malformed(_) | Self::Invalid(_) | Self::PublicKey(_))
    }
}

/// What to do with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in use already, or an older one than that is mounted.
    Unchanged,
    /// Put it in use.
    Accept(Box<Document>),
}

/// Reads a document.
pub fn parse_document(bytes: &[u8]) -> Result<Document, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::Malformed(error.to_string()))
}

/// Checks a document as far as that goes without knowing whom it is for.
pub fn check(document: &Document) -> Result<(), Refusal> {
    document.validate()?;
    super::signature::check_keys(&document.push_keys)
}

/// Reads a push.
pub fn parse_push(bytes: &[u8]) -> Result<Push, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::Malformed(error.to_string()))
}

/// Whether something is for this pod.
pub fn identity(own: &Identity, found: &Identity) -> Result<(), Refusal> {
    let text = |of: &Identity| {
        format!("{}/{} revision {} (uid {})", of.namespace, of.service, of.revision, of.service_uid)
    };
    if own == found { Ok(()) } else { Err(Refusal::Identity { own: text(own), found: text(found) }) }
}

/// Decides on a document that lies in a mounted folder. The mount lags behind pushes, so an older generation there is
/// nothing to complain of.
pub fn mounted(current: Option<&Snapshot>, own: &Identity, document: Document) -> Result<Verdict, Refusal> {
    checked(own, &document)?;
    let Some(current) = current else { return Ok(Verdict::Accept(Box::new(document))) };
    epoch(&current.document, document.leader_epoch)?;
    Ok(if is_newer(&current.document, &document) {
        Verdict::Accept(Box::new(document))
    } else {
        Verdict::Unchanged
    })
}

/// Decides on a document that was pushed.
pub fn pushed(current: &Snapshot, own: &Identity, document: Document) -> Result<Verdict, Refusal> {
    checked(own, &document)?;
    epoch(&current.document, document.leader_epoch)?;
    if document == current.document {
        return Ok(Verdict::Unchanged);
    }
    if is_newer(&current.document, &document) {
        return Ok(Verdict::Accept(Box::new(document)));
    }
    Err(Refusal::Generation { accepted: current.document.generation, found: document.generation })
}

/// Decides on a list of endpoints: whether it is to be put in use.
pub fn endpoints(
    current: Option<&Endpoints>,
    document: &Document,
    own: &Identity,
    found: &Endpoints,
) -> Result<bool, Refusal> {
    found.validate()?;
    identity(own, &found.identity)?;
    epoch(document, found.leader_epoch)?;
    let Some(current) = current else { return Ok(true) };
    if found == current {
        return Ok(false);
    }
    if (found.leader_epoch, found.sequence) > (current.leader_epoch, current.sequence) {
        return Ok(true);
    }
    if found.leader_epoch < current.leader_epoch {
        return Err(Refusal::Epoch { accepted: current.leader_epoch, found: found.leader_epoch });
    }
    Err(Refusal::Sequence { accepted: current.sequence, found: found.sequence })
}

fn checked(own: &Identity, document: &Document) -> Result<(), Refusal> {
    document.validate()?;
    identity(own, &document.identity)
}

fn epoch(current: &Document, found: i64) -> Result<(), Refusal> {
    if found < current.leader_epoch {
        return Err(Refusal::Epoch { accepted: current.leader_epoch, found });
    }
    Ok(())
}

fn is_newer(current: &Document, found: &Document) -> bool {
    (found.leader_epoch, found.generation) > (current.leader_epoch, current.generation)
}
