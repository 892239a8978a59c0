//! Who a request comes from: its token is verified, and the app is told the user.
//!
//! [`decide`] says whether a token is good, [`keys`] what it may be signed with, [`source`] keeps keys that others publish,
//! [`cache`] remembers what was verified, [`user`] tells the app, [`open`] knows the places that need no token.

mod cache;
pub mod decide;
mod fetch;
pub mod keys;
mod open;
pub mod schedule;
mod source;
mod user;

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use shop_contract::{Auth, Jwt, JwtKeys, reasons};

use crate::clock::Clock;
use crate::handover::Handover;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::TokenSeen;
use cache::{Cache, Known};
use decide::{Bad, Rules};
use keys::{Family, KeySet};
use open::Place;
use source::Source;
pub(crate) use source::follow;
use user::Naming;
pub use user::{UserId, Verified};

/// Why a document's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The document names something that cannot be a file name.
    #[error(
        "auth.jwt.keys.secret names {0:?}, which is no name of a key; write letters, digits, '-', '_' or '.'"
    )]
    Name(String),
    /// The Secret does not hold it (yet).
    #[error("the mounted Secret has no {0:?} yet; write it to the Secret first")]
    Missing(String),
    /// What it holds is of no use.
    #[error("{0:?} in the mounted Secret: {1}")]
    Keys(String, keys::BadKeys),
}

/// Why a request is not passed on, and what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has no token.
    Missing,
    /// Its token is not good.
    Bad(Bad),
    /// There are no keys yet.
    NoKeys,
}

/// Asks requests for tokens, as a document says.
#[derive(Debug)]
pub struct Gate {
    jwt: Jwt,
    rules: Rules,
    keys: Keys,
    naming: Naming,
    open: Vec<Place>,
    cache: Cache,
    /// Whether the keys are those of before, because the mounted Secret does not hold the new ones yet.
    is_waiting: bool,
}

#[derive(Debug)]
enum Keys {
    Fixed(Arc<KeySet>),
    Fetched(Arc<Source>),
}

impl Gate {
    /// The gate of a document. What is as it was in the one `before` stays, with what it remembers.
    pub fn new(
        auth: Option<&Auth>,
        folder: &Path,
        before: Option<&Arc<Self>>,
        clock: Clock,
    ) -> Result<Option<Arc<Self>>, AuthError> {
        let Some(jwt) = auth.and_then(|auth| auth.jwt.as_ref()) else { return Ok(None) };
        if let Some(before) = before.filter(|before| before.jwt == *jwt && !before.is_waiting) {
            return Ok(Some(Arc::clone(before)));
        }
        let mut is_waiting = false;
        let keys = match &jwt.keys {
            JwtKeys::Secret(name) => match (read(folder, name), before.map(|before| &before.keys)) {
                (Ok(keys), _) => Keys::Fixed(Arc::new(keys)),
                // The kubelet brings the Secret within a minute or so, and no release waits for that.
                (Err(AuthError::Missing(_)), Some(Keys::Fixed(keys))) => {
                    is_waiting = true;
                    Keys::Fixed(Arc::clone(keys))
                }
                (Err(error), _) => return Err(error),
            },
            JwtKeys::Jwks(url) => {
                let same = before.and_then(|before| before.source()).filter(|source| source.url() == url);
                Keys::Fetched(same.unwrap_or_else(|| Arc::new(Source::new(url, clock))))
            }
        };
        Ok(Some(Arc::new(Self {
            rules: Rules { issuer: jwt.issuer.clone(), audience: jwt.audience.clone() },
            keys,
            naming: Naming::new(&jwt.headers),
            open: jwt.except.iter().map(Place::new).collect(),
            cache: Cache::default(),
            is_waiting,
            jwt: jwt.clone(),
        })))
    }

    /// Whether it goes by keys of before until the mounted Secret holds the new ones.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    fn source(&self) -> Option<Arc<Source>> {
        match &self.keys {
            Keys::Fetched(source) => Some(Arc::clone(source)),
            Keys::Fixed(_) => None,
        }
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        match &self.keys {
            Keys::Fixed(keys) => Some(Arc::clone(keys)),
            Keys::Fetched(source) => source.keys(),
        }
    }

    /// What another revision says of the user of a request that it handed over: it has verified the token.
    pub fn taken_over(&self, headers: &mut HeaderMap, sealed: Option<&str>) -> Option<Arc<Verified>> {
        self.naming.strip(headers);
        let verified = self.naming.open(sealed?)?;
        verified.tell(headers);
        Some(Arc::new(verified))
    }

    /// Verifies the token of a request, and tells the app who the user is. Where no token is needed, one that is not good
    /// counts as none: who wants to sign in anew may still have an old one.
    pub async fn admit(
        &self,
        head: (&Method, &str),
        headers: &mut HeaderMap,
        telemetry: &Telemetry,
        now: i64,
    ) -> Result<Option<Arc<Verified>>, Denied> {
        self.naming.strip(headers);
        let (method, path) = head;
        let token = match bearer(headers) {
            Ok(Some(token)) => token,
            Ok(None) if open::is_open(&self.open, method, path) => return Ok(None),
            Ok(None) => return Err(Denied::Missing),
            Err(bad) => {
                telemetry.metrics.token(TokenSeen::Refused);
                let is_open = open::is_open(&self.open, method, path);
                return if is_open { Ok(None) } else { Err(Denied::Bad(bad)) };
            }
        };
        let found = match self.verify(token, telemetry, now) {
            Err(Denied::NoKeys | Denied::Bad(Bad::UnknownKey)) if self.source().is_some() => {
                Box::pin(self.wait_and_verify(token, telemetry, now)).await
            }
            found => found,
        };
        match found {
            Ok(verified) => {
                verified.tell(headers);
                Ok(Some(verified))
            }
            Err(denied) => {
                telemetry.metrics.token(TokenSeen::Refused);
                if open::is_open(&self.open, method, path) { Ok(None) } else { Err(denied) }
            }
        }
    }

    async fn wait_and_verify(
        &self,
        token: &[u8],
        telemetry: &Telemetry,
        now: i64,
    ) -> Result<Arc<Verified>, Denied> {
        if let Keys::Fetched(source) = &self.keys {
            source.wait().await;
        }
        self.verify(token, telemetry, now)
    }

    fn verify(&self, token: &[u8], telemetry: &Telemetry, now: i64) -> Result<Arc<Verified>, Denied> {
        if token.len() > decide::MAX_TOKEN {
            return Err(Denied::Bad(Bad::TooLong));
        }
        let keys = self.keys().ok_or(Denied::NoKeys)?;
        let print = cache::print(token);
        if let Some(verified) = self.cache.get(&print, &keys.fingerprint, now) {
            telemetry.metrics.token(TokenSeen::Known);
            return Ok(verified);
        }
        let (claims, until) = decide::verify(token, &keys, &self.rules, now).map_err(Denied::Bad)?;
        let verified = Arc::new(self.naming.of(&claims).map_err(Denied::Bad)?);
        telemetry.metrics.token(TokenSeen::Verified);
        let known = Known { verified: Arc::clone(&verified), until, keys: keys.fingerprint };
        self.cache.put(print, known);
        Ok(verified)
    }
}

fn read(folder: &Path, name: &str) -> Result<KeySet, AuthError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with('.') || !name.chars().all(plain) {
        return Err(AuthError::Name(name.to_owned()));
    }
    let bytes = std::fs::read(folder.join(name)).map_err(|_| AuthError::Missing(name.to_owned()))?;
    KeySet::read(&bytes, Family::Secret).map_err(|error| AuthError::Keys(name.to_owned(), error))
}

/// The token of a request (RFC 6750 section 2.1). Two are none: which of them would the app believe?
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Bad> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Bad::Malformed);
    }
    let Some((scheme, token)) = field.as_bytes().split_at_checked(BEARER.len()) else { return Ok(None) };
    // Another scheme is no token at all.
    Ok(scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim_ascii()).filter(|token| !token.is_empty()))
}

const BEARER: &[u8] = b"bearer ";

impl Denied {
    /// Status and reason of the answer.
    pub fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, reasons::TOKEN_MISSING),
            Self::Bad(Bad::Expired) => (StatusCode::UNAUTHORIZED, reasons::TOKEN_EXPIRED),
            Self::Bad(_) => (StatusCode::UNAUTHORIZED, reasons::TOKEN_INVALID),
            Self::NoKeys => (StatusCode::SERVICE_UNAVAILABLE, reasons::TOKEN_KEYS_MISSING),
        }
    }

    /// Says in the answer's fields what to do better (RFC 6750 section 3).
    pub fn explain<B>(self, response: &mut Response<B>) {
        let fields = response.headers_mut();
        let challenge = match self {
            Self::Missing => Ok(HeaderValue::from_static("Bearer")),
            Self::Bad(bad) => HeaderValue::try_from(format!(
                "Bearer error=\"invalid_token\", error_description=\"{}\"",
                bad.description()
            )),
            Self::NoKeys => {
                fields.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                return;
            }
        };
        if let Ok(challenge) = challenge {
            fields.insert(header::WWW_AUTHENTICATE, challenge);
        }
    }
}

/// The step of the request path: who sent the request, or why it is not passed on. A revision that handed it over has verified
/// its token.
pub async fn step<B>(
    gate: Option<&Arc<Gate>>,
    request: &mut Request<B>,
    from: Option<&Handover>,
    telemetry: &Telemetry,
) -> Result<Option<Arc<Verified>>, Denied> {
    let Some(gate) = gate else { return Ok(None) };
    if let Some(from) = from {
        return Ok(gate.taken_over(request.headers_mut(), from.user.as_deref()));
    }
    // Both are cheap to share.
    let (method, uri) = (request.method().clone(), request.uri().clone());
    gate.admit((&method, uri.path()), request.headers_mut(), telemetry, unix_now()).await
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
