//! Keys that tokens are signed with, from a JWK Set (RFC 7517): strict about each key, tolerant of keys for something else.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;

/// Largest set that is read.
pub const MAX_SET: usize = 64 * 1024;
/// Most keys of a set that are used; those after them are left out.
pub const MAX_KEYS: usize = 32;
/// Keys that are tried for a token that does not name its own.
const MOST_TRIED: usize = 4;
/// Shortest secret: that of the hash's output (RFC 7518 section 3.2).
pub const SECRET_BYTES: usize = 64;
/// Bytes of the shortest modulus: 2,048 bits.
const MODULUS: usize = 256;
/// Bytes of a coordinate of P-256, and of an Ed25519 key.
const POINT: usize = 32;

/// What a token may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS #1 v1.5 with SHA-256, from 2,048 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// From the word in a token or key.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "ES256" => Self::Es256,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// Which keys a set may hold: nobody may turn a public key into a secret by naming another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RS256, ES256, `EdDSA`.
    Public,
    /// HS512.
    Secret,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// Too long, or no JSON.
    #[error("it is no JWK Set of at most 64 KiB")]
    Malformed,
    /// A secret that can be guessed.
    #[error("key {0:?} is shorter than 64 bytes; HS512 needs as many random ones")]
    Short(String),
    /// Nothing that can be used.
    #[error("it holds no key for {0}")]
    Empty(&'static str),
}

/// Keys, and by what they are told apart from those before.
#[derive(Debug)]
pub struct KeySet {
    /// Of the bytes that it was read from.
    pub fingerprint: [u8; 32],
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl std::fmt::Debug for Material {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("..")
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl KeySet {
    /// Reads a set; keys of another family or use, and those that cannot be read, are left out.
    pub fn read(bytes: &[u8], family: Family) -> Result<Self, BadKeys> {
        if bytes.len() > MAX_SET {
            return Err(BadKeys::Malformed);
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|_| BadKeys::Malformed)?;
        let mut keys = Vec::new();
        for value in set.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            keys.extend(jwk.key(family)?);
            if keys.len() == MAX_KEYS {
                break;
            }
        }
        if keys.is_empty() {
            return Err(BadKeys::Empty(match family {
                Family::Public => "RS256, ES256 or EdDSA",
                Family::Secret => "HS512",
            }));
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Ok(Self { fingerprint, keys })
    }

    /// Whether there is a key for this algorithm.
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithm == algorithm)
    }

    /// Whether one of the keys signed the message. `None`: there is no key of this id and algorithm.
    pub(super) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let fits = |key: &&Key| {
            key.algorithm == algorithm
                && (id.is_none() || key.id.as_deref().is_none_or(|own| Some(own) == id))
        };
        let mut fitting = self.keys.iter().filter(fits).take(MOST_TRIED).peekable();
        fitting.peek()?;
        Some(fitting.any(|key| match &key.material {
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }))
    }
}

impl Jwk {
    fn key(self, family: Family) -> Result<Option<Key>, BadKeys> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        let made = match (family, self.kty.as_str(), self.crv.as_deref()) {
            (Family::Public, "RSA", _) => self.rsa().map(|key| (Algorithm::Rs256, Material::Public(key))),
            (Family::Public, "EC", Some("P-256")) => {
                self.p256().map(|key| (Algorithm::Es256, Material::Public(key)))
            }
            (Family::Public, "OKP", Some("Ed25519")) => {
                self.ed25519().map(|key| (Algorithm::EdDsa, Material::Public(key)))
            }
            (Family::Secret, "oct", _) => {
                self.secret()?.map(|key| (Algorithm::Hs512, Material::Secret(Box::new(key))))
            }
            _ => None,
        };
        let fits =
            |algorithm| self.alg.as_deref().is_none_or(|word| Algorithm::from_word(word) == Some(algorithm));
        Ok(made
            .filter(|(algorithm, _)| for_signatures && fits(*algorithm))
            .map(|(algorithm, material)| Key { id: self.kid.map(Into::into), algorithm, material }))
    }

    fn rsa(&self) -> Option<ParsedPublicKey> {
        let (n, e) = (bytes(self.n.as_ref())?, bytes(self.e.as_ref())?);
        if n.len() < MODULUS {
            return None;
        }
        RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
    }

    fn p256(&self) -> Option<ParsedPublicKey> {
        let (x, y) = (bytes(self.x.as_ref())?, bytes(self.y.as_ref())?);
        if x.len() != POINT || y.len() != POINT {
            return None;
        }
        // An uncompressed point (SEC 1 section 2.3.3).
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], x.as_slice(), y.as_slice()].concat()).ok()
    }

    fn ed25519(&self) -> Option<ParsedPublicKey> {
        let x = bytes(self.x.as_ref()).filter(|x| x.len() == POINT)?;
        ParsedPublicKey::new(&ED25519, x).ok()
    }

    fn secret(&self) -> Result<Option<hmac::Key>, BadKeys> {
        let Some(secret) = bytes(self.k.as_ref()) else { return Ok(None) };
        if secret.len() < SECRET_BYTES {
            return Err(BadKeys::Short(self.kid.clone().unwrap_or_default()));
        }
        Ok(Some(hmac::Key::new(hmac::HMAC_SHA512, &secret)))
    }
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    BASE64.decode(text?).ok()
}
