//! Whether a token is good: pure, with the time as an argument. Strict as RFC 8725 asks: the algorithm is the key's, not the
//! token's; the signature is checked before anything of the claims is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeySet};

/// Longest token that is looked at.
pub const MAX_TOKEN: usize = 8 * 1024;
/// How far apart clocks may be, in seconds.
pub const SKEW: i64 = 60;

/// Claims of a token.
pub type Claims = Map<String, Value>;

/// What a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud`, or one of it.
    pub audience: String,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// No token in the compact form with a header that can be read.
    Malformed,
    /// Longer than [`MAX_TOKEN`].
    TooLong,
    /// Its header has `crit`: something that would have to be understood.
    Critical,
    /// Signed with nothing, or with another algorithm than those of the keys.
    Algorithm,
    /// No key with the id that it names.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// It has no `exp`, or times that are no numbers.
    NoExpiry,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Of another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// Its `sub` cannot be told to the app.
    Subject,
}

impl Bad {
    /// What the caller is told.
    pub fn description(self) -> &'static str {
        match self {
            Self::Malformed => "no signed token in the compact form",
            Self::TooLong => "token longer than 8192 bytes",
            Self::Critical => "token with crit, which is not understood",
            Self::Algorithm => "token signed with an algorithm that is not accepted",
            Self::UnknownKey => "token signed with an unknown key",
            Self::Signature => "token with a wrong signature",
            Self::NoExpiry => "token without exp, or with times that are no numbers",
            Self::Expired => "token expired",
            Self::NotYet => "token not valid yet",
            Self::Issuer => "token of another issuer",
            Self::Audience => "token for another audience",
            Self::Subject => "token with a sub that is no plain text of at most 255 bytes",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// The claims of a good token, and until when it is: in seconds since 1970, the skew included.
pub fn verify(token: &[u8], keys: &KeySet, rules: &Rules, now: i64) -> Result<(Claims, i64), Bad> {
    if token.len() > MAX_TOKEN {
        return Err(Bad::TooLong);
    }
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
        return Err(Bad::Malformed);
    };
    let part = |from: usize, to: usize| token.get(from..to).unwrap_or_default();
    let decoded = |bytes: &[u8]| BASE64.decode(bytes).map_err(|_| Bad::Malformed);
    let header = decoded(part(0, first))?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| Bad::Malformed)?;
    if header.crit.is_some() {
        return Err(Bad::Critical);
    }
    let algorithm = Algorithm::from_word(&header.alg).ok_or(Bad::Algorithm)?;
    let signature = decoded(part(second + 1, token.len()))?;
    match keys.verify(header.kid.as_deref(), algorithm, part(0, second), &signature) {
        Some(true) => {}
        Some(false) => return Err(Bad::Signature),
        None if keys.has(algorithm) => return Err(Bad::UnknownKey),
        None => return Err(Bad::Algorithm),
    }
    let claims: Claims =
        serde_json::from_slice(&decoded(part(first + 1, second))?).map_err(|_| Bad::Malformed)?;
    let until = check(&claims, rules, now)?;
    Ok((claims, until))
}

fn check(claims: &Claims, rules: &Rules, now: i64) -> Result<i64, Bad> {
    let until = time(claims, "exp")?.ok_or(Bad::NoExpiry)?.saturating_add(SKEW);
    if now >= until {
        return Err(Bad::Expired);
    }
    for begin in ["nbf", "iat"] {
        if time(claims, begin)?.is_some_and(|from| from > now.saturating_add(SKEW)) {
            return Err(Bad::NotYet);
        }
    }
    if claims.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(Bad::Issuer);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(one)) => *one == rules.audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(&rules.audience)),
        _ => false,
    };
    if is_for_us { Ok(until) } else { Err(Bad::Audience) }
}

/// A `NumericDate` (RFC 7519 section 2): seconds, whole or not.
fn time(claims: &Claims, name: &str) -> Result<Option<i64>, Bad> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    #[allow(clippy::cast_possible_truncation, reason = "it saturates, and no clock shows such a time")]
    let whole = |seconds: f64| seconds.floor() as i64;
    value.as_i64().or_else(|| value.as_f64().map(whole)).map(Some).ok_or(Bad::NoExpiry)
}
