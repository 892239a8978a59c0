//! The Secret that is mounted beside the sidecars: the MAC key, and keys for tokens, which are copied from the user's Secret
//! as a JWK Set.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shop_crds::names;
use shop_release::{
    ObjectKind, ObjectRef, Precondition, Refusal, SourceKind, SourceState, inputs::token_secret,
};

use super::{Application, ApplyError};
use crate::{
    cache::Kind,
    render::{self, ANNOTATION_TOKEN_KEYS, Rendered, TokenKeys, token_keys_name},
    signing::{self, SigningError},
    sources,
};

/// Shortest key: as long as the hash that it is used with (RFC 7518 section 3.2).
const KEY_BYTES: usize = 64;
/// Most keys: those that a sidecar uses.
const MAX_KEYS: usize = 32;

impl Application<'_> {
    /// The sidecars' Secret, with a new MAC key, and with a certificate where one is wanted.
    pub(super) async fn new_keys(&mut self, certificate: bool) -> Result<Rendered, ApplyError> {
        let key = signing::random_bytes().map_err(|_: SigningError| ApplyError::Random)?;
        // A new id for each key: a sidecar that has not got the key yet must not take an old one for it.
        let id = format!("k{}", render::short_hash(&key));
        let tokens = self.token_keys(None).await?;
        // Who mounts it has found the certificate there from the beginning.
        let certified = if certificate { Some(self.certified(Timestamp::UNIX_EPOCH).await?) } else { None };
        let rendered = render::keys(self.sight.owner, &id, &key, tokens.as_ref(), certified.as_ref());
        self.key_id = Some(id);
        Ok(rendered)
    }

    /// The keys that `spec.auth` names, with this hash of their content if one is given.
    pub(super) async fn token_keys(&mut self, hash: Option<&str>) -> Result<Option<TokenKeys>, ApplyError> {
        let Some(name) = token_secret(&self.sight.subject.spec) else { return Ok(None) };
        let namespace = &self.sight.owner.namespace;
        let source = self.tools.sources.read(SourceKind::Secret, namespace, name).await;
        let source = source.map_err(ApplyError::from_kube)?.unwrap_or_default();
        match sources::measured(&source) {
            SourceState::Found { hash: found, .. } if hash.is_none_or(|hash| hash == found) => {
                let set = jwk_set(&source).map_err(|why| self.refuse_keys(name, &why))?;
                Ok(Some(TokenKeys { hash: found, set }))
            }
            // The watch is about to tell, and the next plan starts from what is there then.
            _ => Err(ApplyError::SourceChanged { name: name.to_owned() }),
        }
    }

    /// Puts them in place of those before.
    pub(super) async fn copy_token_keys(&mut self, hash: &str) -> Result<(), ApplyError> {
        let name = names::sidecar_keys(&self.sight.owner.service);
        let Some(held) = self.sight.owned(Kind::Secret, &name).cloned() else { return Ok(()) };
        let Some(keys) = self.token_keys(Some(hash)).await? else { return Ok(()) };
        let mut data = Map::new();
        if let Some(before) = held.annotations.get(ANNOTATION_TOKEN_KEYS) {
            data.insert(token_keys_name(before), Value::Null);
        }
        data.insert(token_keys_name(&keys.hash), STANDARD.encode(&keys.set).into());
        let precondition = Precondition::version(&held.uid, &held.resource_version);
        let mut annotations = Map::new();
        annotations.insert(ANNOTATION_TOKEN_KEYS.to_owned(), keys.hash.into());
        let metadata = self.fenced(&precondition, annotations, Value::Null);
        let request = self.requests.merge(Kind::Secret, &name, json!({ "metadata": metadata, "data": data }));
        self.send(Kind::Secret, &name, request).await
    }

    // Shown as what the plan waits for, as if the API server had said it.
    fn refuse_keys(&mut self, secret: &str, why: &str) -> ApplyError {
        let name = names::sidecar_keys(&self.sight.owner.service);
        let message = format!("Secret {secret} {why}");
        let object = ObjectRef::new(ObjectKind::Secret, name.clone());
        self.memory.refuse(Refusal { object, at: Timestamp::now(), message: message.clone() });
        ApplyError::Refused { name, message }
    }
}

/// A Secret's entries as a JWK Set of secrets, each under the entry's name.
fn jwk_set(secret: &Value) -> Result<Vec<u8>, String> {
    let entries = secret.get("data").and_then(Value::as_object).filter(|entries| !entries.is_empty());
    let entries = entries.ok_or("is empty: write a key of 64 random bytes under its key id")?;
    if entries.len() > MAX_KEYS {
        return Err(format!("has more than {MAX_KEYS} entries: take old keys away"));
    }
    let mut keys = Vec::new();
    for (id, value) in entries {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        if bytes.len() < KEY_BYTES {
            return Err(format!(
                "has a key of {} bytes under {id:?}: HS512 needs 64 random ones",
                bytes.len()
            ));
        }
        keys.push(json!({ "kty": "oct", "kid": id, "k": URL_SAFE_NO_PAD.encode(bytes) }));
    }
    Ok(json!({ "keys": keys }).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_keys() {
        let long = STANDARD.encode([7; 64]);
        let set = jwk_set(&json!({"data": {"2026-11": long, "old": long}})).unwrap();
        let set: Value = serde_json::from_slice(&set).unwrap();
        assert_eq!(set["keys"][0]["kid"], "2026-11");
        assert_eq!(URL_SAFE_NO_PAD.decode(set["keys"][1]["k"].as_str().unwrap()).unwrap(), [7; 64]);
    }

    #[test]
    fn what_is_no_key_says_what_to_write() {
        for (data, says) in [
            (json!({}), "is empty"),
            (json!({"weak": STANDARD.encode("secret")}), "a key of 6 bytes under \"weak\""),
        ] {
            let why = jwk_set(&json!({ "data": data })).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
