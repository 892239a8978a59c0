//! Who may send requests: tokens that are verified, and what of them the app is told.

use serde::{Deserialize, Serialize};

use crate::document::{InvalidDocument, range, text};
use crate::traffic::token;

/// Most claims that become headers.
pub const MAX_CLAIM_HEADERS: usize = 16;
/// Most places that need no token.
pub const MAX_OPEN: usize = 64;
/// Most services that may call.
pub const MAX_CALLERS: usize = 64;
/// Longest URL, path and name of a claim.
const MAX_URL: usize = 2_048;
const MAX_PATH: usize = 1_024;
const MAX_CLAIM: usize = 128;
/// Longest name of a header or method.
const MAX_NAME: usize = 64;
/// Most methods of one place.
const MAX_METHODS: usize = 16;

/// The header that tells the app who the user is: the claim `sub`.
pub const USER_HEADER: &str = "x-user-id";

/// Headers that say how a message is framed, routed or authenticated, and those that are the sidecar's to set: no claim may
/// become one of these.
pub const RESERVED_HEADERS: [&str; 25] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "grpc-timeout",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
/// Beginnings of the names of such headers.
pub const RESERVED_PREFIXES: [&str; 3] = ["x-shop-", "x-forwarded-", "sec-websocket-"];

/// Who may send requests.
#[derive(Default, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Tokens; absent: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// TLS between sidecars; absent: everybody is let in, as with [`MtlsMode::Off`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
}

/// TLS between sidecars, in which both sides show a certificate. Certificate, key and roots lie in the mounted Secret under
/// [`files`](crate::files) and change there without a new document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mtls {
    /// Whether plain connections are let in too.
    pub mode: MtlsMode,
    /// Who this service is: `spiffe://cluster.local/ns/shop/svc/order`.
    pub id: String,
    /// Who may call, by id, beside the service's own pods; empty: whoever has a certificate, and everybody where plain
    /// connections are let in. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<String>,
}

/// Whether plain connections are let in too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MtlsMode {
    /// TLS is for calls of its own, and for callers that want it: nobody is asked for a certificate, or held to `callers`.
    Off,
    /// Both TLS and plain connections; a list of callers holds for both, so that plain ones are refused where there is one.
    Permissive,
    /// TLS alone.
    Strict,
}

/// Which JSON Web Tokens (RFC 7519) are good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// What the claim `iss` must be, exactly.
    pub issuer: String,
    /// What the claim `aud` must be, or have among its values.
    pub audience: String,
    /// What tokens are signed with.
    pub keys: JwtKeys,
    /// Claims that the app is told beside the user; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ClaimHeader>,
    /// Places that need no token; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Open>,
}

/// What tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JwtKeys {
    /// RS256, ES256 or `EdDSA`, by the JWK Set (RFC 7517) at this URL: `{"jwks": "http://user/.well-known/jwks.json"}`.
    Jwks(String),
    /// HS512, by the JWK Set in the mounted Secret under this name: `{"secret": "jwt-4f1c"}`. Another content has another name.
    Secret(String),
}

/// A claim, and the header that the app finds it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimHeader {
    /// Name of the claim.
    pub claim: String,
    /// Name of the header, in lower case.
    pub header: String,
}

/// A place that needs no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Open {
    /// The path and everything below it: `/products` is `/products` and `/products/7`, not `/products-old`.
    pub path: String,
    /// Methods; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

impl Auth {
    pub(crate) fn validate(&self) -> Result<(), InvalidDocument> {
        if let Some(jwt) = &self.jwt {
            jwt.validate()?;
        }
        self.mtls.as_ref().map_or(Ok(()), Mtls::validate)
    }
}

impl Mtls {
    fn validate(&self) -> Result<(), InvalidDocument> {
        spiffe_id("auth.mtls.id", &self.id)?;
        range("auth.mtls.callers", "at most 64", self.callers.len(), 0..=MAX_CALLERS)?;
        self.callers.iter().try_for_each(|id| spiffe_id("auth.mtls.callers", id))
    }
}

/// A SPIFFE id with a path, as the standard has it (SPIFFE-ID section 2): at most 2048 bytes.
pub(crate) fn spiffe_id(field: &'static str, id: &str) -> Result<(), InvalidDocument> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let rest = id.strip_prefix("spiffe://").filter(|rest| rest.bytes().all(plain) && id.len() <= MAX_URL);
    let parts = rest.map(|rest| rest.split('/').collect::<Vec<_>>()).unwrap_or_default();
    if parts.len() < 2 || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err(InvalidDocument::SpiffeId(field, id.to_owned()));
    }
    Ok(())
}

impl Jwt {
    fn validate(&self) -> Result<(), InvalidDocument> {
        text("auth.jwt.issuer", &self.issuer)?;
        text("auth.jwt.audience", &self.audience)?;
        match &self.keys {
            JwtKeys::Jwks(url) => {
                let begins = url.starts_with("http://") || url.starts_with("https://");
                if !begins || url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(InvalidDocument::Jwks);
                }
            }
            JwtKeys::Secret(name) => text("auth.jwt.keys.secret", name)?,
        }
        range("auth.jwt.headers", "at most 16", self.headers.len(), 0..=MAX_CLAIM_HEADERS)?;
        self.headers.iter().try_for_each(ClaimHeader::validate)?;
        range("auth.jwt.except", "at most 64", self.except.len(), 0..=MAX_OPEN)?;
        self.except.iter().try_for_each(Open::validate)
    }
}

impl ClaimHeader {
    fn validate(&self) -> Result<(), InvalidDocument> {
        range("auth.jwt.headers.claim", "1 to 128 bytes", self.claim.len(), 1..=MAX_CLAIM)?;
        token("auth.jwt.headers.header", &self.header, MAX_NAME)?;
        let name = self.header.as_str();
        let is_reserved = RESERVED_HEADERS.contains(&name)
            || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if is_reserved || name.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            return Err(InvalidDocument::ClaimHeader(name.to_owned()));
        }
        Ok(())
    }
}

impl Open {
    fn validate(&self) -> Result<(), InvalidDocument> {
        let path = &self.path;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\%;".contains(&byte);
        let has_odd_segment =
            || path.trim_end_matches('/').split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
        if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(plain) || has_odd_segment() {
            return Err(InvalidDocument::OpenPath(path.clone()));
        }
        range("auth.jwt.except.methods", "at most 16", self.methods.len(), 0..=MAX_METHODS)?;
        self.methods.iter().try_for_each(|method| token("auth.jwt.except.methods", method, MAX_NAME))
    }
}
