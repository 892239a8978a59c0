//! Access tokens of the shop: JSON Web Tokens (RFC 7519) in the profile of RFC 9068, strict as RFC 8725 asks: the algorithm is the
//! key's, never the token's; a token names its key; the signature is checked before anything of the claims is looked at.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

/// What `typ` of the header must be (RFC 9068 section 2.1): no other token of the shop is taken for one of these.
pub const TYPE: &str = "at+jwt";
/// How far apart clocks may be, in seconds.
pub const LEEWAY: i64 = 5;
/// Longest token that is looked at.
pub const MAX_TOKEN: usize = 4 * 1024;
/// Shortest secret for HS512: the length of the hash (RFC 7518 section 3.2).
pub const SECRET_BYTES: usize = 64;
/// Bytes of a coordinate of P-256.
const POINT: usize = 32;
/// Characters of a key's id.
const KEY_ID: usize = 16;
/// Most keys of a published set that are used.
const MAX_KEYS: usize = 16;

/// What a token says. All of it is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The user's id.
    pub sub: String,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Its own id.
    pub jti: String,
    /// The session that it belongs to; ends with its refresh tokens.
    pub sid: String,
    /// The user's token version: one that is lower than the user's ends them all.
    pub ver: i64,
    /// What the user may do.
    pub roles: Vec<String>,
}

/// Whose tokens are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`, exactly.
    pub audience: String,
}

/// Why a token is not good; for logs, callers learn only that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Not in the compact form, too long, or without one of the claims.
    #[error("no token of the shop")]
    Malformed,
    /// Another `typ`, or `crit`.
    #[error("a token for something else")]
    Type,
    /// No key has the id that it names.
    #[error("a token signed with an unknown key")]
    UnknownKey,
    /// Another algorithm than its key's, or a wrong signature.
    #[error("a token with a wrong signature")]
    Signature,
    /// Its time is over, or has not come.
    #[error("a token whose time is over or has not come")]
    Time,
    /// Another issuer or audience.
    #[error("a token of another issuer or for another audience")]
    Rules,
}

/// What verifies tokens: public keys, or secrets, by id.
#[derive(Default)]
pub struct Keys(Vec<(Box<str>, Verifier)>);

enum Verifier {
    Es256(ParsedPublicKey),
    Hs512(Box<hmac::Key>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a JWK Set (RFC 7517); keys that are not P-256 with an id are left out. `None`: it is no set.
    pub fn from_jwks(bytes: &[u8]) -> Option<Self> {
        let set: Set = serde_json::from_slice(bytes).ok()?;
        let mut keys = Self::default();
        for jwk in set.keys.into_iter().take(MAX_KEYS) {
            if jwk.kty == "EC" && jwk.crv.as_deref() == Some("P-256") {
                let point = |text: Option<String>| BASE64.decode(text?).ok().filter(|one| one.len() == POINT);
                if let (Some(kid), Some(x), Some(y)) = (jwk.kid, point(jwk.x), point(jwk.y)) {
                    keys.add_es256(&kid, &[&[4], x.as_slice(), y.as_slice()].concat());
                }
            }
        }
        Some(keys)
    }

    /// Adds a public key on P-256, as an uncompressed point (SEC 1 section 2.3.3). `false`: it is none.
    pub fn add_es256(&mut self, kid: &str, point: &[u8]) -> bool {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        self.0.extend(key.ok().map(|key| (kid.into(), Verifier::Es256(key))));
        self.has(kid)
    }

    /// Adds a secret. `false`: it is shorter than [`SECRET_BYTES`].
    pub fn add_hs512(&mut self, kid: &str, secret: &[u8]) -> bool {
        if secret.len() < SECRET_BYTES {
            return false;
        }
        self.0.push((kid.into(), Verifier::Hs512(Box::new(hmac::Key::new(hmac::HMAC_SHA512, secret)))));
        true
    }

    /// Whether there is a key of this id.
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|(own, _)| **own == *kid)
    }

    /// The claims of a good token; `now` in seconds since 1970.
    pub fn verify(&self, token: &str, rules: &Rules, now: i64) -> Result<Claims, Bad> {
        if token.len() > MAX_TOKEN {
            return Err(Bad::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Bad::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Bad::Malformed)?;
        let decoded = |text: &str| BASE64.decode(text).map_err(|_| Bad::Malformed);
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Bad::Malformed)?;
        if header.crit.is_some() || header.typ.as_deref() != Some(TYPE) {
            return Err(Bad::Type);
        }
        let kid = header.kid.ok_or(Bad::UnknownKey)?;
        let (_, key) = self.0.iter().find(|(own, _)| **own == *kid).ok_or(Bad::UnknownKey)?;
        let signature = decoded(signature)?;
        let is_signed = match key {
            Verifier::Es256(key) => {
                header.alg == "ES256" && key.verify_sig(message.as_bytes(), &signature).is_ok()
            }
            Verifier::Hs512(key) => {
                header.alg == "HS512" && hmac::verify(key, message.as_bytes(), &signature).is_ok()
            }
        };
        if !is_signed {
            return Err(Bad::Signature);
        }
        let claims: Claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| Bad::Malformed)?;
        if now >= claims.exp.saturating_add(LEEWAY) || claims.iat > now.saturating_add(LEEWAY) {
            return Err(Bad::Time);
        }
        if claims.iss != rules.issuer || claims.aud != rules.audience {
            return Err(Bad::Rules);
        }
        Ok(claims)
    }
}

/// The id of a key, public, from the SHA-256 of what it is.
pub fn key_id(hash: &[u8]) -> String {
    BASE64.encode(hash).chars().take(KEY_ID).collect()
}

/// The token of an `authorization` header (RFC 6750 section 2.1).
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(http::header::AUTHORIZATION).iter();
    let (first, None) = (all.next()?, all.next()) else { return None };
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}
