//! What access tokens are signed with: keys on P-256 that the store keeps and everybody may verify with (ES256), or a secret that
//! whoever verifies must have (HS512), by setting.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use shop_common::token::{self, Bad, Claims, Keys, LEEWAY, Rules, SECRET_BYTES, TYPE};

use crate::domain::ACCESS_LIFE;
use crate::store::{Store, StoreError, StoredKey};

/// Bytes of a coordinate of P-256.
const POINT: usize = 32;

/// Why there is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret can be guessed.
    #[error(
        "the secret for HS512 has {0} bytes: make one of at least 64 random bytes, as `openssl rand 64` does"
    )]
    Short(usize),
    /// A stored key cannot be read.
    #[error("key {0} in the store cannot be read: remove it from signing_keys, another one will be made")]
    Unreadable(String),
    /// No key could be made.
    #[error("no key could be made: the system has no randomness")]
    Random,
}

/// Where keys come from.
#[derive(Clone)]
pub enum Source {
    /// The store; a key signs for this long, then the next one does.
    Store {
        /// How long.
        life: Duration,
    },
    /// Secrets: the first signs, the others still verify.
    Secrets(Vec<Vec<u8>>),
}

/// The keys as they are now.
struct Ring {
    signer: Signer,
    verifying: Keys,
    jwks: Value,
}

enum Signer {
    Es256(String, EcdsaKeyPair),
    Hs512(String, Box<hmac::Key>),
}

/// The keys of the service; loaded again when a token names one that is unknown, and when it is time to make another one.
pub struct KeyRing {
    source: Source,
    store: Arc<dyn Store>,
    ring: RwLock<Arc<Ring>>,
}

impl KeyRing {
    /// Loads the keys; makes the first one.
    pub async fn start(source: Source, store: Arc<dyn Store>, now_ms: i64) -> Result<Self, KeyError> {
        let ring = load(&source, &*store, now_ms).await?;
        Ok(Self { source, store, ring: RwLock::new(Arc::new(ring)) })
    }

    /// Loads the keys again; if the one that signs is too old, makes another one.
    pub async fn refresh(&self, now_ms: i64) -> Result<(), KeyError> {
        let ring = load(&self.source, &*self.store, now_ms).await?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    /// A signed token.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        self.now().signer.sign(claims)
    }

    /// The claims of a good token.
    pub async fn verify(&self, token: &str, rules: &Rules, now_ms: i64) -> Result<Claims, Bad> {
        let seconds = now_ms / 1_000;
        let verified = self.now().verifying.verify(token, rules, seconds);
        // Another replica may have made a key since.
        if verified == Err(Bad::UnknownKey) && self.refresh(now_ms).await.is_ok() {
            return self.now().verifying.verify(token, rules, seconds);
        }
        verified
    }

    /// The published keys, as a JWK Set (RFC 7517); empty with secrets.
    pub fn jwks(&self) -> Value {
        self.now().jwks.clone()
    }

    fn now(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Signer {
    fn sign(&self, claims: &Claims) -> Option<String> {
        let (algorithm, kid) = match self {
            Self::Es256(kid, _) => ("ES256", kid),
            Self::Hs512(kid, _) => ("HS512", kid),
        };
        let header = json!({"alg": algorithm, "typ": TYPE, "kid": kid});
        let claims = serde_json::to_vec(claims).ok()?;
        let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims));
        let signature = match self {
            Self::Es256(_, pair) => {
                BASE64.encode(pair.sign(&SystemRandom::new(), message.as_bytes()).ok()?.as_ref())
            }
            Self::Hs512(_, key) => BASE64.encode(hmac::sign(key, message.as_bytes())),
        };
        Some(format!("{message}.{signature}"))
    }
}

async fn load(source: &Source, store: &dyn Store, now_ms: i64) -> Result<Ring, KeyError> {
    match source {
        Source::Secrets(secrets) => of_secrets(secrets),
        Source::Store { life } => {
            let since = now_ms - millis(ACCESS_LIFE) - LEEWAY * 1_000;
            let due = now_ms - millis(*life);
            let mut keys = store.keys(since).await?;
            if !keys.iter().any(|key| key.live && key.created_at > due) {
                store.rotate_key(make(now_ms)?, due).await?;
                keys = store.keys(since).await?;
            }
            of_stored(&keys)
        }
    }
}

fn of_secrets(secrets: &[Vec<u8>]) -> Result<Ring, KeyError> {
    let mut verifying = Keys::default();
    let mut signer = None;
    for secret in secrets {
        // Of a hash: the id is public.
        let kid = key_id(secret);
        if !verifying.add_hs512(&kid, secret) {
            return Err(KeyError::Short(secret.len()));
        }
        let key = || Box::new(hmac::Key::new(hmac::HMAC_SHA512, secret));
        signer = signer.or_else(|| Some(Signer::Hs512(kid, key())));
    }
    let signer = signer.ok_or(KeyError::Short(0))?;
    debug_assert!(secrets.iter().all(|secret| secret.len() >= SECRET_BYTES));
    Ok(Ring { signer, verifying, jwks: json!({"keys": []}) })
}

fn of_stored(keys: &[StoredKey]) -> Result<Ring, KeyError> {
    let (mut verifying, mut published, mut signer) = (Keys::default(), Vec::new(), None);
    for key in keys {
        let unreadable = || KeyError::Unreadable(key.kid.clone());
        let pkcs8 = STANDARD.decode(&key.pkcs8).map_err(|_| unreadable())?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| unreadable())?;
        let point = pair.public_key().as_ref().to_vec();
        if !verifying.add_es256(&key.kid, &point) {
            return Err(unreadable());
        }
        published.push(jwk(&key.kid, &point));
        if key.live {
            signer = Some(Signer::Es256(key.kid.clone(), pair));
        }
    }
    let signer = signer.ok_or(KeyError::Random)?;
    Ok(Ring { signer, verifying, jwks: json!({"keys": published}) })
}

fn jwk(kid: &str, point: &[u8]) -> Value {
    let coordinate = |from: usize| BASE64.encode(point.get(from..from + POINT).unwrap_or_default());
    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": coordinate(1), "y": coordinate(1 + POINT)})
}

fn make(now_ms: i64) -> Result<StoredKey, KeyError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Random)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Random)?;
    let kid = key_id(pair.public_key().as_ref());
    Ok(StoredKey { kid, pkcs8: STANDARD.encode(pkcs8.as_ref()), created_at: now_ms, live: true })
}

fn key_id(bytes: &[u8]) -> String {
    token::key_id(digest(&SHA256, bytes).as_ref())
}

/// Of a duration that is far from the bounds of the type.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}
