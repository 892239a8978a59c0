//! Tokens of users (RFC 7519), signed as the shop signs them, and the key set to verify them with.

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Who signs.
pub(crate) const ISSUER: &str = "https://shop.example";
/// For whom.
pub(crate) const AUDIENCE: &str = "shop";
const KEY_ID: &str = "bench";
/// In the year 2100.
const EXPIRES: i64 = 4_102_444_800;

/// Signs tokens with ES256.
pub(crate) struct Mint {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Mint {
    pub(crate) fn new() -> Result<Self> {
        let key =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| anyhow!("make a key"))?;
        Ok(Self { key, random: SystemRandom::new() })
    }

    /// Verifies what is signed (RFC 7517).
    pub(crate) fn key_set(&self) -> Value {
        // Uncompressed: a byte that says so, and two numbers of 32.
        let point = self.key.public_key().as_ref();
        let number = |range: std::ops::Range<usize>| BASE64.encode(point.get(range).unwrap_or_default());
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": number(1..33), "y": number(33..65),
        }]})
    }

    /// Tokens of so many users.
    pub(crate) fn tokens(&self, users: usize) -> Result<Vec<String>> {
        (0..users).map(|user| self.token(user)).collect()
    }

    fn token(&self, user: usize) -> Result<String> {
        let head = json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID});
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{user}"), "role": "customer", "iat": 1_700_000_000, "exp": EXPIRES,
        });
        let signed = [head, claims].map(|part| BASE64.encode(part.to_string())).join(".");
        let signature =
            self.key.sign(&self.random, signed.as_bytes()).map_err(|_| anyhow!("sign a token"))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_by_the_key_set() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
        let mint = Mint::new().unwrap();
        let tokens = mint.tokens(2).unwrap();
        assert_ne!(tokens[0], tokens[1]);
        let (signed, signature) = tokens[1].rsplit_once('.').unwrap();
        let set = mint.key_set();
        let number = |name: &str| BASE64.decode(set["keys"][0][name].as_str().unwrap()).unwrap();
        let point = [vec![4], number("x"), number("y")].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(signed.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
    }
}
