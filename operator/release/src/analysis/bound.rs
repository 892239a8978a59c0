//! What a count of failures says about their true share, at any time one cares to look.
//!
//! The sidecars' counters are looked at every second, and the release goes on or turns round the moment they say enough. A test made
//! for one look would be wrong far more often than it says. Here everything is *always valid*: for a true share `q`, the
//! mixture martingale of Robbins (Statistical methods related to the law of the iterated logarithm, Ann. Math. Statist. 41, 1970)
//!
//! `M(q) = B(k + a, n - k + b) / (B(a, b) * q^k * (1 - q)^(n - k))`
//!
//! for `k` failures of `n` has expectation 1 whatever `n`, and by Ville's inequality ever reaches `1 / level` with a probability of
//! at most `level`. Shares with `M(q) >= 1 / level` are ruled out: those that are left are a confidence sequence (Howard, Ramdas,
//! McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences, Ann. Statist. 49, 2021). The prior `a`, `b`
//! is chosen before anything is counted, so that it costs sharpness where it is wrong, and never the promise.
//!
//! Assumed is that requests fail independently of each other with a share that stays the same; failures that come in bursts count
//! for more than they are.

/// Shape of the prior: half a failure beforehand.
const A: f64 = 0.5;
/// Least share for which the prior is made: below it the prior for 1 % is as good.
const SMALLEST: f64 = 0.01;

/// `k` failures of `n`, judged with a prior for shares about `near`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evidence {
    failures: f64,
    others: f64,
    b: f64,
}

impl Evidence {
    /// Of so many requests so many failed; `near` is the share that matters.
    pub(crate) fn new(requests: u64, failures: u64, near: f64) -> Self {
        let failures = failures.min(requests);
        let b = (A / near.max(SMALLEST)).max(A);
        Self { failures: failures as f64, others: (requests - failures) as f64, b }
    }

    /// Whether it is shown that the true share is above `share`: wrong with a probability of at most `level`, over all looks.
    pub(crate) fn is_above(self, share: f64, level: f64) -> bool {
        self.observed() > share && self.log_martingale(share) >= -level.ln()
    }

    /// Whether it is shown that the true share is below `share`: wrong with a probability of at most `level`, over all looks.
    pub(crate) fn is_below(self, share: f64, level: f64) -> bool {
        self.observed() < share && self.log_martingale(share) >= -level.ln()
    }

    /// Lowest and highest share that are not ruled out.
    pub(crate) fn interval(self, level: f64) -> (f64, f64) {
        let middle = self.observed();
        let edge = |mut inside: f64, mut outside: f64| {
            // The martingale rises from the observed share to both sides: halving finds where it reaches the level.
            for _ in 0..50 {
                let between = f64::midpoint(inside, outside);
                if self.log_martingale(between) >= -level.ln() { outside = between } else { inside = between }
            }
            outside
        };
        (
            if middle > 0.0 { edge(middle, 0.0) } else { 0.0 },
            if middle < 1.0 { edge(middle, 1.0) } else { 1.0 },
        )
    }

    /// The share that was seen.
    pub(crate) fn observed(self) -> f64 {
        let all = self.failures + self.others;
        if all > 0.0 { self.failures / all } else { 0.5 }
    }

    fn log_martingale(self, share: f64) -> f64 {
        let power = |count: f64, base: f64| if count > 0.0 { count * base.ln() } else { 0.0 };
        log_beta(self.failures + A, self.others + self.b)
            - log_beta(A, self.b)
            - power(self.failures, share)
            - power(self.others, 1.0 - share)
    }
}

/// The share of failures that is kept from passing where `allowed` is: twice as many; or, where that could not be told with so few
/// requests, as many as `least` requests without a single failure rule out.
pub(crate) fn caught(allowed: f64, least: u64, level: f64) -> f64 {
    let twice = (2.0 * allowed).min(f64::midpoint(1.0, allowed));
    let (_, clean) = Evidence::new(least, 0, allowed).interval(level);
    // A hair above, so that exactly so many requests are enough.
    twice.max(clean * 1.000_001).min(1.0)
}

/// Shares of failures by comparison with an old revision, of which `requests` and `failures` are known, where `allowance` more are
/// allowed: above the first it fails, below the second it passes. The true share of the old one lies between what they were made from
/// with a probability of `1 - level`, so that each promise of a test against them is kept with `level` more.
pub(crate) fn compared(requests: u64, failures: u64, allowance: f64, least: u64, level: f64) -> (f64, f64) {
    let (low, high) = Evidence::new(requests, failures, SMALLEST).interval(level);
    ((high + allowance).min(1.0), caught((low + allowance).min(1.0), least, level))
}

fn log_beta(a: f64, b: f64) -> f64 {
    log_gamma(a) + log_gamma(b) - log_gamma(a + b)
}

/// Stirling's series, from where it is exact to 12 digits.
fn log_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests;
