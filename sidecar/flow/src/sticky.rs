//! Who stays on one side of a split: by a hash that is the same in every pod, after every restart and in every version.
//!
//! A user is in the share when `hash mod 10,000` is below it. So raising the share only adds users, and pods need not agree on
//! anything. The hash is FNV-1a with 64 bits, its bits mixed by the end of `MurmurHash3`, because the low bits of
//! FNV alone repeat. It is not secret: who can choose a key can choose a side.

use crate::split::WHOLE;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hash of a key. Another `seed` sorts the keys anew: with the candidate's revision as seed, not the same users are first in
/// every release.
pub fn hash(seed: u64, key: &[u8]) -> u64 {
    let seed = seed.to_le_bytes();
    let mixed = seed
        .iter()
        .chain(key)
        .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    finish(mixed)
}

/// Whether a key with this hash is in a share of parts per 10,000.
pub fn is_in(hash: u64, share: u32) -> bool {
    hash % u64::from(WHOLE) < u64::from(share)
}

/// Spreads every bit over all others (`fmix64` of `MurmurHash3`).
fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sidecars of different versions share users: these numbers never change.
    #[test]
    fn the_hash_is_the_one_of_every_version() {
        assert_eq!(hash(0, b""), 8_922_497_616_986_557_598);
        assert_eq!(hash(8, b"user-1"), 4_095_845_131_420_592_847);
        assert_ne!(hash(8, b"user-1"), hash(9, b"user-1"));
    }

    /// Keys as they are in use: numbers, addresses, random ids.
    #[test]
    fn the_share_of_many_keys_is_what_was_asked() {
        type Key = fn(u32) -> String;
        let kinds: [Key; 4] = [
            |n| n.to_string(),
            |n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
            |n| format!("user-{n:08}@shop.example"),
            |n| format!("{:016x}", u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        ];
        for (kind, key) in kinds.into_iter().enumerate() {
            for (seed, share) in [(2, 10_u32), (3, 100), (8, 500), (8, 2_500), (1_000, 5_000), (9, 9_900)] {
                let keys = 100_000_u32;
                let taken = (0..keys).filter(|n| is_in(hash(seed, key(*n).as_bytes()), share)).count();
                let expected = f64::from(keys) * f64::from(share) / f64::from(WHOLE);
                let deviation = (expected * (1.0 - f64::from(share) / f64::from(WHOLE))).sqrt();
                let off = (taken as f64 - expected).abs();
                assert!(off < 4.5 * deviation, "kind {kind}, {share}: {taken} instead of {expected}");
            }
        }
    }

    proptest! {
        #[test]
        fn raising_the_share_never_sends_one_back(seed: u64, key: Vec<u8>, share in 0_u32..=WHOLE, more in 0_u32..=WHOLE) {
            let hash = hash(seed, &key);
            prop_assert!(!is_in(hash, share) || is_in(hash, share.max(more)));
            prop_assert!(!is_in(hash, 0) && is_in(hash, WHOLE));
        }
    }
}
