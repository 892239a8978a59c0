//! Which requests go elsewhere, exact by counting.
//!
//! A random choice with weight 5 % sends 0 or 4 of the first 40 requests; a canary's figures and a switch to 100 % must not
//! depend on luck. Each request adds the share to a sum, and is taken when the sum crosses a whole number (error diffusion,
//! as in Bresenham's line), so any run of requests differs from its exact share by less than one request. The sum goes on when
//! the share changes: no change makes the first request after it more or less likely to be taken.
//!
//! Every pod counts for itself, so over n pods the share is exact within n requests. The sums begin at different places
//! ([`Sum::for_pod`]): with 0.1 % and 10 pods the first request that is taken comes after about 1,000 requests to all of
//! them together, and not as ten at once after 10,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sticky::hash;

/// The whole, in parts.
pub const WHOLE: u32 = 10_000;

/// What the requests of a pod add up to, in parts. It lives as long as the pod, whatever shares come and go.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Sum {
    /// Begins where the pod's name says: pods that were made together begin at places that are spread over a whole request.
    /// `purpose` tells sums of one pod apart.
    pub fn for_pod(name: &str, purpose: u64) -> Self {
        Self(AtomicU64::new(hash(purpose, name.as_bytes()) % u64::from(WHOLE)))
    }

    /// Adds one request's share; says whether a whole number was crossed.
    fn add(&self, share: u32) -> bool {
        // Wraps around after 2^64 parts; that moves the sum once by a part of a request.
        let before = self.0.fetch_add(share.into(), Ordering::Relaxed);
        before % u64::from(WHOLE) + u64::from(share) >= WHOLE.into()
    }
}

/// Says which requests are in a share.
#[derive(Debug)]
pub struct Split {
    share: u32,
    sum: Arc<Sum>,
}

impl Split {
    /// A share in parts per 10,000; more than that counts as all. `sum` is the pod's.
    pub fn new(share: u32, sum: Arc<Sum>) -> Self {
        Self { share: share.min(WHOLE), sum }
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
            share => self.sum.add(share),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(share: u32) -> Split {
        Split::new(share, Arc::default())
    }

    fn taken(split: &Split, requests: u64) -> u64 {
        (0..requests).filter(|_| split.next()).count() as u64
    }

    #[test]
    fn a_quarter_is_every_fourth() {
        let split = split(2_500);
        let taken: Vec<bool> = (0..8).map(|_| split.next()).collect();
        assert_eq!(taken, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn nothing_and_everything() {
        let (none, all) = (split(0), split(20_000));
        assert!((0..1_000).all(|_| !none.next() && all.next()));
        assert_eq!(all.share(), WHOLE);
    }

    /// A thousandth over ten pods: without different beginnings, no request of the first 10,000 is taken, then ten at once.
    #[test]
    fn pods_do_not_take_their_first_requests_together() {
        let pods: Vec<Split> = (0..10)
            .map(|pod| Split::new(10, Arc::new(Sum::for_pod(&format!("order-r7-5d9c7b6f4-x{pod}k2p"), 0))))
            .collect();
        let mut by_round = Vec::new();
        for _round in 0..10 {
            by_round.push(pods.iter().map(|pod| taken(pod, 100)).sum::<u64>());
        }
        assert_eq!(by_round.iter().sum::<u64>(), 10);
        assert!(by_round.iter().all(|taken| *taken <= 4), "{by_round:?}");
        assert!(by_round.iter().take(5).sum::<u64>() >= 2, "{by_round:?}");
    }

    proptest! {
        #[test]
        fn any_run_is_within_one_request_of_its_share(
            share in 0_u32..=WHOLE, pod in "[a-z0-9]{5}", before in 0_u64..20_000, run in 1_u64..5_000
        ) {
            let split = Split::new(share, Arc::new(Sum::for_pod(&pod, 0)));
            taken(&split, before);
            let taken = taken(&split, run);
            let parts = run * u64::from(share);
            let whole = u64::from(WHOLE);
            prop_assert!(taken * whole < parts + whole, "{taken} of {run} at {share}");
            prop_assert!(parts < taken * whole + whole, "{taken} of {run} at {share}");
        }

        #[test]
        fn a_full_cycle_is_exact(share in 0_u32..=WHOLE, pod in "[a-z0-9]{5}") {
            let split = Split::new(share, Arc::new(Sum::for_pod(&pod, 0)));
            prop_assert_eq!(taken(&split, u64::from(WHOLE)), u64::from(share));
        }

        /// However often the share changes, the whole differs from what was asked by less than one request.
        #[test]
        fn changes_of_the_share_do_not_skew(
            steps in prop::collection::vec((0_u32..=WHOLE, 0_u64..50), 1..200), pod in "[a-z0-9]{5}"
        ) {
            let sum = Arc::new(Sum::for_pod(&pod, 0));
            let (mut all, mut parts) = (0, 0);
            for (share, requests) in steps {
                all += taken(&Split::new(share, Arc::clone(&sum)), requests);
                parts += requests * u64::from(share);
            }
            let whole = u64::from(WHOLE);
            prop_assert!(all * whole < parts + whole && parts < all * whole + whole, "{all} for {parts} parts");
        }

        /// Over all pods the share is exact within as many requests as there are pods, however unequal their traffic is.
        #[test]
        fn many_pods_are_exact_within_their_number(
            share in 1_u32..=100, pods in prop::collection::vec(("[a-z0-9]{5}", 0_u64..3_000), 1..12)
        ) {
            let (mut all, mut parts, number) = (0, 0, pods.len() as u64);
            for (pod, requests) in pods {
                all += taken(&Split::new(share, Arc::new(Sum::for_pod(&pod, 0))), requests);
                parts += requests * u64::from(share);
            }
            let whole = u64::from(WHOLE);
            prop_assert!(all * whole < parts + number * whole && parts < (all + number) * whole);
        }
    }
}
