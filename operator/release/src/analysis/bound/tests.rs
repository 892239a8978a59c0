use super::*;

const LEVEL: f64 = 0.05;

/// Numbers from a seed: the same each time.
struct Dice(u64);

impl Dice {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Share of many runs in which `says` held at any of the looks, one every ten requests.
fn ever(share: f64, requests: u64, says: impl Fn(u64, u64) -> bool) -> f64 {
    const RUNS: u64 = 1_000;
    let mut dice = Dice(0x5eed_0000_0000_0001);
    let mut count = 0_u64;
    for _ in 0..RUNS {
        let mut failures = 0;
        for request in 1..=requests {
            failures += u64::from(dice.uniform() < share);
            if request % 10 == 0 && says(request, failures) {
                count += 1;
                break;
            }
        }
    }
    count as f64 / RUNS as f64
}

#[test]
fn a_revision_as_good_as_asked_for_seldom_fails() {
    for allowed in [0.001, 0.005, 0.01, 0.1] {
        let wrong =
            ever(allowed, 5_000, |n, k| n >= 20 && Evidence::new(n, k, allowed).is_above(allowed, LEVEL));
        assert!(wrong <= LEVEL, "{allowed}: {wrong}");
    }
}

#[test]
fn a_revision_that_shall_be_caught_seldom_passes() {
    for (allowed, least) in [(0.0, 200), (0.005, 200), (0.01, 200), (0.01, 2_000), (0.1, 200)] {
        let caught = caught(allowed, least, LEVEL);
        let wrong =
            ever(caught, 5_000, |n, k| n >= least && Evidence::new(n, k, allowed).is_below(caught, LEVEL));
        assert!(wrong <= LEVEL, "{allowed}, {least}: {wrong}");
    }
}

#[test]
fn what_is_clearly_good_or_bad_is_decided() {
    let (allowed, least) = (0.005, 200);
    let caught = caught(allowed, least, LEVEL);
    let pass = |n, k| n >= least && Evidence::new(n, k, allowed).is_below(caught, LEVEL);
    assert!(pass(200, 0), "as few as asked for, without a failure");
    assert!(!pass(199, 0) && !pass(200, 3));
    assert!(ever(allowed / 10.0, 1_000, pass) > 0.95);
    assert!(ever(allowed, 10_000, pass) > 0.95);
    let fail = |n, k| n >= 20 && Evidence::new(n, k, allowed).is_above(allowed, LEVEL);
    assert!(fail(20, 20) && fail(20, 5) && !fail(20, 1) && !fail(200, 1));
    assert!(ever(0.05, 500, fail) > 0.95);
    assert!(ever(2.0 * allowed, 10_000, fail) > 0.95);
}

#[test]
fn the_truth_stays_inside_of_the_interval() {
    for share in [0.002, 0.02, 0.3] {
        let wrong = ever(share, 1_000, |n, k| {
            let (low, high) = Evidence::new(n, k, 0.01).interval(LEVEL);
            share < low || share > high
        });
        assert!(wrong <= LEVEL, "{share}: {wrong}");
    }
    let (low, high) = Evidence::new(100_000, 1_000, 0.01).interval(LEVEL);
    assert!(low > 0.0085 && low < 0.01 && high > 0.01 && high < 0.0115, "{low} {high}");
    assert_eq!(Evidence::new(0, 0, 0.01).interval(LEVEL), (0.0, 1.0));
}

#[test]
fn factorials_are_right() {
    let mut product = 0.0_f64;
    for n in 1..40_u32 {
        assert!((log_gamma(f64::from(n)) - product).abs() < 1e-9, "{n}");
        product += f64::from(n).ln();
    }
    assert!((log_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-9);
}

/// Two revisions that answer requests in turn: the share of runs in which `says` held at any look.
fn ever_of_two(old: f64, new: f64, requests: u64, says: impl Fn(u64, u64, u64) -> bool) -> f64 {
    const RUNS: u64 = 400;
    let mut dice = Dice(0x5eed_0000_0000_0003);
    let mut count = 0_u64;
    for _ in 0..RUNS {
        let (mut left, mut right) = (0, 0);
        for request in 1..=requests {
            left += u64::from(dice.uniform() < old);
            right += u64::from(dice.uniform() < new);
            if request % 50 == 0 && says(request, left, right) {
                count += 1;
                break;
            }
        }
    }
    count as f64 / RUNS as f64
}

#[test]
fn a_comparison_keeps_both_promises() {
    let (level, least) = (LEVEL / 2.0, 200);
    for (old, allowance) in [(0.001, 0.01), (0.02, 0.01), (0.1, 0.0)] {
        let fails = |n, left, right| {
            let (bound, _) = compared(n, left, allowance, least, level);
            Evidence::new(n, right, bound).is_above(bound, level)
        };
        let wrong = ever_of_two(old, old + allowance, 2_000, fails);
        assert!(wrong <= LEVEL, "fails {old} {allowance}: {wrong}");
        let worse = caught(old + allowance, least, level);
        let passes = |n: u64, left, right| {
            let (fails, bound) = compared(n, left, allowance, least, level);
            n >= least && Evidence::new(n, right, fails).is_below(bound, level)
        };
        let wrong = ever_of_two(old, worse, 2_000, passes);
        assert!(wrong <= LEVEL, "passes {old} {allowance}: {wrong}");
        assert!(ever_of_two(old, old, 5_000, passes) > 0.9, "as good as before: {old} {allowance}");
    }
    let fails = |n, left, right| {
        let (bound, _) = compared(n, left, 0.01, least, level);
        Evidence::new(n, right, bound).is_above(bound, level)
    };
    assert!(ever_of_two(0.001, 0.05, 2_000, fails) > 0.95, "much worse");
}
