//! Who may push: holders of a key that the document in use names.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use shop_contract::PublicKeys;

use super::accept::Refusal;

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// Checks the signature over the exact bytes of a push.
pub(super) fn verify(keys: &PublicKeys, bytes: &[u8], signature: Option<&[u8]>) -> Result<(), Refusal> {
    let signature = signature.and_then(|text| BASE64.decode(text).ok()).ok_or(Refusal::Signature)?;
    let by = |key: &str| {
        let key = BASE64.decode(key).ok()?;
        UnparsedPublicKey::new(&ED25519, key).verify(bytes, &signature).ok()
    };
    by(&keys.current).or_else(|| keys.next.as_deref().and_then(by)).ok_or(Refusal::Signature)
}

/// Checks that a document's keys are keys: accepting one without would lock out every push after it.
pub(super) fn check_keys(keys: &PublicKeys) -> Result<(), Refusal> {
    let is_key = |text: &str| BASE64.decode(text).is_ok_and(|key| key.len() == KEY_BYTES);
    if !is_key(&keys.current) {
        return Err(Refusal::PublicKey("current"));
    }
    if keys.next.as_deref().is_some_and(|next| !is_key(next)) {
        return Err(Refusal::PublicKey("next"));
    }
    Ok(())
}
