//! Signs tokens as an issuer does, and publishes its keys.
#![allow(unreachable_pub, clippy::indexing_slicing, reason = "only tests use it")]

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use shop_contract::{Auth, Jwt, JwtKeys};

pub enum Signer {
    Hs512([u8; 64]),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub fn hs512() -> Self {
        Self::Hs512([9; 64])
    }

    pub fn rs256() -> Self {
        Self::Rs256(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("key")))
    }

    pub fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("key"))
    }

    pub fn eddsa() -> Self {
        Self::EdDsa(Ed25519KeyPair::generate().expect("key"))
    }

    pub fn all() -> [Self; 4] {
        [Self::hs512(), Self::rs256(), Self::es256(), Self::eddsa()]
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs512(_) => "HS512",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        match self {
            Self::Hs512(secret) => json!({"kty": "oct", "kid": kid, "k": text(secret)}),
            Self::Rs256(pair) => {
                // RSAPublicKey of RFC 8017: a sequence of a modulus of 257 bytes, the first 0, and an exponent of 3.
                let der = pair.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[der.len() - 3..]);
                json!({"kty": "RSA", "kid": kid, "use": "sig", "n": text(n), "e": text(e)})
            }
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::EdDsa(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(pair.public_key().as_ref())})
            }
        }
    }

    pub fn set(&self, kid: &str) -> Vec<u8> {
        json!({"keys": [self.jwk(kid)]}).to_string().into_bytes()
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = |value: &Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", text(header), text(claims));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let signature = match self {
            Self::Hs512(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, secret), bytes).as_ref().to_vec()
            }
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).expect("signed");
                signature
            }
            Self::Es256(pair) => pair.sign(&random, bytes).expect("signed").as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", BASE64.encode(signature))
    }

    /// A good token at this time, of a user.
    pub fn token(&self, kid: &str, user: &str, now: i64) -> String {
        let header = json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"});
        self.sign(&header, &claims(user, now))
    }
}

pub fn claims(user: &str, now: i64) -> Value {
    json!({"iss": "https://shop.example", "aud": "shop", "sub": user, "tier": "premium", "iat": now, "exp": now + 300})
}

pub fn auth(keys: JwtKeys) -> Auth {
    Auth {
        jwt: Some(Jwt {
            issuer: "https://shop.example".into(),
            audience: "shop".into(),
            keys,
            headers: Vec::new(),
            except: Vec::new(),
        }),
        mtls: None,
    }
}

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a number")
}
