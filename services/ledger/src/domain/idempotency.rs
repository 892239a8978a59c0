//! Requests that are sent twice: the same key with the same request gets the first answer again, byte for byte.
//!
//! As draft-ietf-httpapi-idempotency-key-header and Stripe have it, but for one thing: what is first still running is not refused
//! with 409. Both are in one batch or in two that follow each other, so that the second one waits for the first one's commit.
//! What is refused (a wrong body, sold out) writes nothing and does not burn its key.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Millis;

/// The longest `Idempotency-Key`.
pub const MAX_KEY: usize = 255;
/// How long an answer is kept.
pub const KEPT: Millis = 24 * 60 * 60 * 1000;

/// Who sent which key where, hashed: users may use each other's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key that `user` sent with `route` (its method and template).
    pub fn new(user: &str, route: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [user, route, key] {
            // With its length each part stays apart from the next.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(short)
    }
}

/// What was asked for: the SHA-256 of the body as it is understood, so that spaces and the order of fields do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a canonical body.
    pub fn of(canonical: &[u8]) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// To which request.
    pub fingerprint: Fingerprint,
    /// What it made.
    pub target: i64,
    /// With which status.
    pub status: u16,
    /// When.
    pub at: Millis,
    /// The body.
    pub answer: Bytes,
}

/// What a key says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing: it is done.
    New,
    /// It was done: the same answer again.
    Replay(&'a Known),
    /// It stands for another request.
    Reused,
}

/// Judges a request by what is known of its key.
pub fn judge(known: Option<&Known>, fingerprint: Fingerprint, now: Millis) -> Verdict<'_> {
    match known {
        None => Verdict::New,
        Some(known) if now.saturating_sub(known.at) > KEPT => Verdict::New,
        Some(known) if known.fingerprint == fingerprint => Verdict::Replay(known),
        Some(_) => Verdict::Reused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_user_and_route() {
        let key = Key::new("ann", "POST /orders", "k1");
        assert_eq!(key, Key::new("ann", "POST /orders", "k1"));
        for other in [("bob", "POST /orders", "k1"), ("ann", "POST /x", "k1"), ("ann", "POST /orders", "k2")]
        {
            assert_ne!(key, Key::new(other.0, other.1, other.2));
        }
        assert_ne!(Key::new("a", "bc", "d"), Key::new("ab", "c", "d"));
    }

    #[test]
    fn the_same_request_is_replayed_for_a_day_and_another_one_refused() {
        let first = Fingerprint::of(b"{}");
        let answer = Bytes::from_static(b"{\"id\":\"7\"}");
        let known = Known { fingerprint: first, target: 7, status: 201, at: 1000, answer };
        assert_eq!(judge(None, first, 1000), Verdict::New);
        assert_eq!(judge(Some(&known), first, 1000 + KEPT), Verdict::Replay(&known));
        assert_eq!(judge(Some(&known), Fingerprint::of(b"[]"), 1000 + KEPT), Verdict::Reused);
        assert_eq!(judge(Some(&known), Fingerprint::of(b"[]"), 1001 + KEPT), Verdict::New);
    }
}
