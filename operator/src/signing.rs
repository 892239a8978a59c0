//! The operator's Ed25519 key, with which it signs what it sends to sidecars.
//!
//! The seed is in the Secret `shopkeeper-signing` in the operator's namespace, made by the first leader. The public key is in every
//! sidecar's document, so that losing the key costs a write per document, never a restart of a pod.

use aws_lc_rs::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use shop_crds::names::{FIELD_MANAGER, LABEL_MANAGED_BY};

/// Name of the Secret.
pub const SECRET: &str = "shopkeeper-signing";
/// Key in the Secret: 32 random bytes.
const SEED: &str = "seed";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The Secret can be neither read nor made.
    #[error("secret {SECRET}: {0}")]
    Api(#[from] kube::Error),
    /// The Secret holds something else.
    #[error("secret {SECRET} has no 32 bytes under {SEED:?}; delete it, and the operator makes a new one")]
    Malformed,
    /// The system gives no random bytes.
    #[error("no random bytes from the system")]
    Random,
}

/// Signs.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// From its 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, SigningError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SigningError::Malformed)?;
        Ok(Self { pair })
    }

    /// Reads the key, or makes it where there is none. Two operators that make one at the same time end with the same.
    pub async fn load(client: Client, namespace: &str) -> Result<Self, SigningError> {
        let api: Api<Secret> = Api::namespaced(client, namespace);
        if let Some(secret) = api.get_opt(SECRET).await? {
            return Self::of(&secret);
        }
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some([(LABEL_MANAGED_BY.to_owned(), "shopkeeper".to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(SEED.to_owned(), ByteString(random_bytes()?.to_vec()))].into()),
            ..Secret::default()
        };
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, &secret).await {
            Ok(made) => Self::of(&made),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Self::of(&api.get(SECRET).await?),
            Err(error) => Err(error.into()),
        }
    }

    fn of(secret: &Secret) -> Result<Self, SigningError> {
        let seed = secret.data.as_ref().and_then(|data| data.get(SEED)).ok_or(SigningError::Malformed)?;
        Self::from_seed(&seed.0)
    }

    /// The public key: 32 bytes in base64.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.pair.public_key().as_ref())
    }

    /// The signature over exactly these bytes: 64 bytes in base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(bytes).as_ref())
    }
}

/// 32 bytes that nobody can guess.
pub fn random_bytes() -> Result<[u8; 32], SigningError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SigningError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_it_signs_verifies_with_the_public_key_alone() {
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        let key = STANDARD.decode(signer.public_key()).unwrap();
        let signature = STANDARD.decode(signer.sign(b"document")).unwrap();
        assert_eq!(key.len(), 32);
        let key = UnparsedPublicKey::new(&ED25519, key);
        assert!(key.verify(b"document", &signature).is_ok());
        assert!(key.verify(b"another", &signature).is_err());
    }

    #[test]
    fn refuses_a_seed_of_another_length() {
        assert!(Signer::from_seed(&[7; 31]).is_err());
    }
}
