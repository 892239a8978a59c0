//! Which requests go elsewhere, exact by counting.
//!
//! A random choice with weight 5 % sends 0 or 4 of the first 40 requests; a canary's figures and a switch to 100 % must not
//! depend on luck. The n-th request is taken when the n-th multiple of the share crosses a whole number (error diffusion,
//! as in Bresenham's line), so any run of requests differs from its exact share by less than one request.

use std::sync::atomic::{AtomicU64, Ordering};

/// The whole, in parts.
pub const WHOLE: u32 = 10_000;

/// Counts requests and says which of them are in the share.
#[derive(Debug)]
pub struct Split {
    share: u32,
    counted: AtomicU64,
}

impl Split {
    /// A share in parts per 10,000; more than that counts as all.
    pub fn new(share: u32) -> Self {
        Self { share: share.min(WHOLE), counted: AtomicU64::new(0) }
    }

    /// The share in parts per 10,000.
    pub fn share(&self) -> u32 {
        self.share
    }

    /// Counts one request, and says whether it is in the share.
    pub fn next(&self) -> bool {
        match self.share {
            0 => false,
            WHOLE => true,
            share => takes(self.counted.fetch_add(1, Ordering::Relaxed), share),
        }
    }
}

/// Whether request number `n` (from 0) is in a share of parts per 10,000.
fn takes(n: u64, share: u32) -> bool {
    let (whole, share) = (u64::from(WHOLE), u64::from(share));
    // The pattern repeats after `whole` requests, so the remainder loses nothing and nothing can overflow.
    let n = n % whole;
    (n + 1) * share / whole > n * share / whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quarter_is_every_fourth() {
        let split = Split::new(2_500);
        let taken: Vec<bool> = (0..8).map(|_| split.next()).collect();
        assert_eq!(taken, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn nothing_and_everything() {
        let (none, all) = (Split::new(0), Split::new(20_000));
        assert!((0..1_000).all(|_| !none.next() && all.next()));
        assert_eq!(all.share(), WHOLE);
    }

    proptest! {
        #[test]
        fn any_run_is_within_one_request_of_its_share(share in 0_u32..=WHOLE, start in 0_u64..1_000_000, run in 1_u64..5_000) {
            let taken = (start..start + run).filter(|n| takes(*n, share)).count() as u64;
            let parts = run * u64::from(share);
            let whole = u64::from(WHOLE);
            prop_assert!(taken * whole < parts + whole, "{taken} of {run} at {share}");
            prop_assert!(parts < taken * whole + whole, "{taken} of {run} at {share}");
        }

        #[test]
        fn a_full_cycle_is_exact(share in 0_u32..=WHOLE, start in 0_u64..u64::from(WHOLE)) {
            let taken = (start..start + u64::from(WHOLE)).filter(|n| takes(*n, share)).count();
            prop_assert_eq!(taken, share as usize);
        }
    }
}
