//! What a sidecar tells about its traffic: `GET /stats`.

use serde::{Deserialize, Serialize};

/// Traffic of one pod. Counters start at zero with the sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Of the document in use; 0 before the first.
    pub revision: i64,
    /// Inbound connections that are open, idle ones too.
    pub connections: i64,
    /// Of those, WebSockets and other upgraded ones.
    pub upgraded: i64,
    /// Requests and streams that were begun and have not ended.
    pub in_flight: i64,
    /// Requests answered here, by the app or by the sidecar itself.
    pub served: i64,
    /// Requests that another revision answered.
    pub handed_over: i64,
    /// Requests that another revision handed to this one.
    pub taken_over: i64,
    /// Answers with status 500 and above, of those served here.
    pub errors: i64,
    /// Milliseconds since the last request began; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Whether the pod drains.
    pub draining: bool,
    /// Requests that another revision should have answered, and none of its pods did: in no pod's `window`.
    #[serde(default)]
    pub lost: i64,
    /// Users' requests that ended here, since the sidecar started; absent: by a sidecar that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<RevisionCounters>,
    /// Copies of requests that ended here (see [`crate::Mirror`]), since the sidecar started; not in any other number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<RevisionCounters>,
    /// Calls out by dependency, since the sidecar started; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<DependencyCalls>,
    /// What other services know this pod by; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A pod's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// When the one in use ends, in seconds since 1970; absent: there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<i64>,
    /// Why what lies in the mounted Secret is not in use, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What the app asked of one dependency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DependencyCalls {
    /// Its name.
    pub name: String,
    /// Requests; a request that was repeated counts once.
    pub calls: u64,
    /// Of those, without answer, or with one that is the server's fault.
    pub failures: u64,
}

/// How well one pod answered, since its sidecar started. Only rises: take the difference of two readings.
///
/// Counted are requests that this pod's app answered, or its sidecar in the app's place; also those that another
/// revision handed over. Those handed over to another revision count there. Probes do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionCounters {
    /// Requests that have ended; without those whose caller went away before an answer began.
    pub requests: u64,
    /// Of those, failed: status 500 and above, or a gRPC status that is the server's fault (`UNKNOWN`,
    /// `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`).
    pub failures: u64,
    /// How long they took from head to end of the answer; without upgraded connections.
    pub latency: Histogram,
}

/// Upper bounds of [`RevisionCounters::latency`], in microseconds: 1 ms to 60 s, close together where promises are made.
pub const LATENCY_BOUNDS_US: [u64; 24] = [
    1_000, 2_000, 4_000, 6_000, 10_000, 15_000, 25_000, 40_000, 60_000, 100_000, 150_000, 200_000, 250_000,
    300_000, 400_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
    60_000_000,
];

/// Durations counted in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// Upper bounds, rising, each within its bucket; [`LATENCY_BOUNDS_US`] of the sidecar that counted.
    pub bounds_us: Vec<u64>,
    /// How many fell into each bucket, not added up; the last one, one more than bounds, is beyond all of them.
    pub counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bounds_us: LATENCY_BOUNDS_US.to_vec(), counts: vec![0; LATENCY_BOUNDS_US.len() + 1] }
    }
}

impl Histogram {
    /// Whether it can be calculated with: rising bounds, one count more than bounds. It comes from another program.
    pub fn is_sound(&self) -> bool {
        self.counts.len() == self.bounds_us.len() + 1
            && self.bounds_us.len() <= MAX_BOUNDS
            && self.bounds_us.is_sorted_by(|a, b| a < b)
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }
}

/// Most bounds that are believed.
const MAX_BOUNDS: usize = 64;

impl RevisionCounters {
    /// What has been counted since `earlier` was read; `None` if that is another sidecar's, or one's before its restart.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let latency = self.latency.combine(&earlier.latency, u64::checked_sub)?;
        let requests = self.requests.checked_sub(earlier.requests)?;
        Some(Self { requests, failures: self.failures.checked_sub(earlier.failures)?, latency })
    }

    /// Both together: of two pods; `None` if their bounds differ.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let latency = self.latency.combine(&other.latency, u64::checked_add)?;
        let requests = self.requests.checked_add(other.requests)?;
        Some(Self { requests, failures: self.failures.checked_add(other.failures)?, latency })
    }
}

impl Histogram {
    fn combine(&self, other: &Self, count: fn(u64, u64) -> Option<u64>) -> Option<Self> {
        if !self.is_sound() || !other.is_sound() || self.bounds_us != other.bounds_us {
            return None;
        }
        let counts = self.counts.iter().zip(&other.counts).map(|(a, b)| count(*a, *b));
        Some(Self { bounds_us: self.bounds_us.clone(), counts: counts.collect::<Option<_>>()? })
    }

    /// The duration in microseconds that `parts` of 10,000 took at most, interpolated within its bucket; `None` if nothing was
    /// counted. A duration beyond the last bound is told as that bound.
    pub fn quantile_us(&self, parts: u32) -> Option<u64> {
        let total = u128::from(self.total());
        if total == 0 || !self.is_sound() {
            return None;
        }
        let whole = u128::from(crate::WHOLE);
        // In parts of one request, so that nothing is rounded before the end.
        let wanted = total * u128::from(parts.min(crate::WHOLE));
        let (mut below, mut lower) = (0_u128, 0_u64);
        for (count, bound) in self.counts.iter().zip(&self.bounds_us) {
            let count = u128::from(*count) * whole;
            if count > 0 && below + count >= wanted {
                let width = u128::from(*bound - lower);
                let within = width * (wanted - below) / count;
                return Some(lower + u64::try_from(within).unwrap_or(0));
            }
            below += count;
            lower = *bound;
        }
        self.bounds_us.last().copied()
    }
}
