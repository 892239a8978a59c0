//! Which requests are handed over to another revision, and which are copied to it.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, at_least_one, range, text};

/// The whole of a share, in parts.
pub const WHOLE: u32 = 10_000;
/// Most matches of one hand-off.
pub const MAX_MATCHES: usize = 16;
/// Most methods of one mirror.
pub const MAX_METHODS: usize = 16;
/// Longest name of a header or cookie.
pub(crate) const MAX_NAME: usize = 128;
/// Longest value of a header or cookie that is matched.
const MAX_VALUE: usize = 253;
/// Longest method.
pub(crate) const MAX_METHOD: usize = 32;

/// Whom to hand requests to, and how many of them.
///
/// A request that any of `match` fits is handed over whatever the share; of the others, those of the share are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandOff {
    /// The revision that answers them.
    pub to_revision: i64,
    /// Share in parts per 10,000: 10,000 hands over every request.
    pub share: u32,
    /// `host:port` of a Service that leads to the revision, used when no pushed address answers.
    pub fallback: String,
    /// Whether a request that cannot be handed over and was not sent may be answered here: true before the switch.
    pub may_serve_locally: bool,
    /// Requests that are handed over at any share, also at 0; at most 16.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// Who stays on one side: the share is of these, by hash; absent: of requests, by counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

impl HandOff {
    /// Of requests by count, without matches.
    pub fn new(to_revision: i64, share: u32, fallback: String, may_serve_locally: bool) -> Self {
        Self { to_revision, share, fallback, may_serve_locally, matches: Vec::new(), sticky: None }
    }
}

/// What a request must have; with both, both. `{"header": {"name": "user-tier", "value": "premium"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// A header field with exactly this value; of several with the name, any. The name's case does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Pair>,
    /// A cookie with exactly this value; of several with the name, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Pair>,
}

/// Name and value of a header or cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pair {
    /// 1 to 128 characters of a token (RFC 9110 section 5.6.2).
    pub name: String,
    /// 1 to 253 visible ASCII characters; of a header, spaces within it too.
    pub value: String,
}

/// What requests of one user have in common. A request without it is counted.
///
/// A user is in the share when the hash is below it, so that raising the share never sends one back, and pods agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sticky {
    /// The value of this header: `{"header": "x-user-id"}`.
    Header(String),
    /// The value of this cookie: `{"cookie": "session"}`.
    Cookie(String),
    /// The caller's address: `"client"`.
    Client,
    /// The verified user: `"user"`.
    User,
}

/// Copies of requests that another revision gets too; its answers are thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// The revision that gets them.
    pub to_revision: i64,
    /// Share in parts per 10,000 of the requests with one of these methods.
    pub share: u32,
    /// `host:port` of a Service that leads to the revision, used while no addresses of it have been pushed.
    pub fallback: String,
    /// Methods that are copied; GET and HEAD unless said. List only methods whose requests have no side effect.
    #[serde(default = "safe_methods")]
    pub methods: Vec<String>,
}

/// Methods without side effects that are worth a copy (RFC 9110 section 9.2.1).
pub fn safe_methods() -> Vec<String> {
    vec!["GET".into(), "HEAD".into()]
}

impl HandOff {
    pub(crate) fn validate(&self, own: i64) -> Result<(), InvalidDocument> {
        if self.to_revision == own {
            return Err(InvalidDocument::HandOffToSelf);
        }
        at_least_one("handOff.toRevision", self.to_revision)?;
        text("handOff.fallback", &self.fallback)?;
        range("handOff.share", "0 to 10000", self.share as usize, 0..=WHOLE as usize)?;
        range("handOff.match", "at most 16 matches", self.matches.len(), 0..=MAX_MATCHES)?;
        self.matches.iter().try_for_each(Match::validate)?;
        match &self.sticky {
            Some(Sticky::Header(name)) => token("handOff.sticky.header", name, MAX_NAME),
            Some(Sticky::Cookie(name)) => token("handOff.sticky.cookie", name, MAX_NAME),
            Some(Sticky::Client | Sticky::User) | None => Ok(()),
        }
    }
}

impl Match {
    fn validate(&self) -> Result<(), InvalidDocument> {
        if self.header.is_none() && self.cookie.is_none() {
            return Err(InvalidDocument::EmptyMatch);
        }
        if let Some(header) = &self.header {
            token("handOff.match.header.name", &header.name, MAX_NAME)?;
            let inner = |byte: u8| (b' '..=b'~').contains(&byte);
            value("handOff.match.header.value", &header.value, inner)?;
        }
        if let Some(cookie) = &self.cookie {
            token("handOff.match.cookie.name", &cookie.name, MAX_NAME)?;
            // cookie-octet of RFC 6265 section 4.1.1.
            let octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
            value("handOff.match.cookie.value", &cookie.value, octet)?;
        }
        Ok(())
    }
}

impl Mirror {
    pub(crate) fn validate(&self, own: i64) -> Result<(), InvalidDocument> {
        if self.to_revision == own {
            return Err(InvalidDocument::MirrorToSelf);
        }
        at_least_one("mirror.toRevision", self.to_revision)?;
        text("mirror.fallback", &self.fallback)?;
        range("mirror.share", "0 to 10000", self.share as usize, 0..=WHOLE as usize)?;
        range("mirror.methods", "1 to 16 methods", self.methods.len(), 1..=MAX_METHODS)?;
        self.methods.iter().try_for_each(|method| token("mirror.methods", method, MAX_METHOD))
    }
}

/// A token of RFC 9110 section 5.6.2: names of headers, cookies and methods.
pub(crate) fn token(field: &'static str, word: &str, longest: usize) -> Result<(), InvalidDocument> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if (1..=longest).contains(&word.len()) && word.bytes().all(is_token) {
        Ok(())
    } else {
        Err(InvalidDocument::Token(field, longest))
    }
}

pub(crate) fn value(
    field: &'static str,
    value: &str,
    allowed: impl Fn(u8) -> bool,
) -> Result<(), InvalidDocument> {
    let fits = (1..=MAX_VALUE).contains(&value.len()) && value.trim() == value;
    if fits && value.bytes().all(allowed) { Ok(()) } else { Err(InvalidDocument::Value(field)) }
}
