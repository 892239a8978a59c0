//! Tokens that were verified already, so that a user's second request costs a hash and a look.
//!
//! Bounded without a list of ages: there are two halves, and when the younger is full the older is thrown away. What is used
//! is in the younger one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;

use super::user::Verified;

/// Tokens that are remembered.
pub(super) const MAX_TOKENS: usize = 10_000;
/// Parts that are locked by themselves.
const PARTS: usize = 16;
/// Tokens in one half of one part.
const HALF: usize = MAX_TOKENS / PARTS / 2;

/// A token's hash.
pub(super) type Print = [u8; 32];

/// The hash that a token is remembered by.
pub(super) fn print(token: &[u8]) -> Print {
    let mut print = [0; 32];
    print.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    print
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) verified: Arc<Verified>,
    /// Seconds since 1970.
    pub(super) until: i64,
    /// The keys that it was verified with.
    pub(super) keys: [u8; 32],
}

/// Verified tokens.
#[derive(Debug, Default)]
pub(super) struct Cache {
    parts: [Mutex<Halves>; PARTS],
}

type Map = HashMap<Print, Known, BuildHasherDefault<First>>;

#[derive(Debug, Default)]
struct Halves {
    young: Map,
    old: Map,
}

impl Cache {
    /// What is known of a token, if it was verified with these keys and is still good.
    pub(super) fn get(&self, print: &Print, keys: &[u8; 32], now: i64) -> Option<Arc<Verified>> {
        let mut halves = self.part(print)?.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |known: &Known| now < known.until && known.keys == *keys;
        if let Some(known) = halves.young.get(print) {
            return is_good(known).then(|| Arc::clone(&known.verified));
        }
        let known = halves.old.remove(print).filter(is_good)?;
        let verified = Arc::clone(&known.verified);
        halves.put(*print, known);
        Some(verified)
    }

    /// Remembers a token.
    pub(super) fn put(&self, print: Print, known: Known) {
        if let Some(part) = self.part(&print) {
            part.lock().unwrap_or_else(PoisonError::into_inner).put(print, known);
        }
    }

    fn part(&self, print: &Print) -> Option<&Mutex<Halves>> {
        self.parts.get(usize::from(*print.last()?) % PARTS)
    }
}

impl Halves {
    fn put(&mut self, print: Print, known: Known) {
        if self.young.len() >= HALF && !self.young.contains_key(&print) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(print, known);
    }
}

/// The keys are hashes already: their first bytes are enough.
#[derive(Debug, Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(until: i64) -> Known {
        Known { verified: Arc::default(), until, keys: [1; 32] }
    }

    #[test]
    fn a_token_is_good_until_its_time_and_with_its_keys() {
        let (cache, token) = (Cache::default(), print(b"token"));
        assert!(cache.get(&token, &[1; 32], 0).is_none());
        cache.put(token, known(100));
        assert!(cache.get(&token, &[1; 32], 99).is_some());
        assert!(cache.get(&token, &[1; 32], 100).is_none());
        assert!(cache.get(&token, &[2; 32], 0).is_none());
        assert!(cache.get(&print(b"other"), &[1; 32], 0).is_none());
    }

    #[test]
    fn it_stays_small_and_keeps_what_is_used() {
        let (cache, used) = (Cache::default(), print(b"used"));
        cache.put(used, known(100));
        for token in 0..100_000_u32 {
            cache.put(print(&token.to_le_bytes()), known(100));
            assert!(cache.get(&used, &[1; 32], 0).is_some(), "after {token}");
        }
        let sizes = cache.parts.iter().map(|part| {
            let halves = part.lock().expect("not poisoned");
            halves.young.len() + halves.old.len()
        });
        assert!(sizes.sum::<usize>() <= MAX_TOKENS);
    }
}
