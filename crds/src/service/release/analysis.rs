//! `spec.release.analysis`: whether a new revision is good enough, judged by what it does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Percent, Span};

/// Whether a new revision is good enough, judged by what it does. It fails: as `onFailure` says. It cannot be told: as `onNoData`
/// says. A revision that returns inside of `rollbackWindow`, and the first one of a service, is not analysed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Analysis {
    /// Answers that are not the server's failure, as the sidecars count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// The time within which 99 of 100 requests are answered, as the sidecars measure it.
    #[serde(default, rename = "latencyP99", skip_serializing_if = "Option::is_none")]
    #[schemars(rename = "latencyP99")]
    pub latency_p99: Option<LatencyP99>,
    /// Requests without which nothing passes by the sidecars' counters; with more, smaller differences are told; default 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 1_000_000))]
    pub min_requests: Option<i32>,
    /// The shortest time that is looked at before it passes; default 60s. A loss of a pod begins it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// The longest time for it; what is not told by then is inconclusive; default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What follows when it could not be told: `hold` waits for a decision, `pass` goes on, `abort` goes back. Without it: hold
    /// before the promotion, pass with an event after it; when questions could not be asked, hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_data: Option<OnNoData>,
    /// Measures and tells, and changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Also runs all through the steps of a canary: a failure there counts at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Questions to others: all must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub checks: Vec<Check>,
    /// When it runs beside canary steps of kind `analysis`: `verifying`, before the promotion, where `checks` are asked,
    /// and copies of requests are counted if `canary.mirror` is set; `watching`, when users are with the new revision. Default: watching.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub when: Vec<When>,
}

/// When an analysis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// The new revision is ready, and not promoted yet.
    Verifying,
    /// Users are with the new revision; the old one is warm.
    Watching,
}

/// What follows when an analysis could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnNoData {
    /// The release waits for a decision.
    Hold,
    /// The release goes on.
    Pass,
    /// Users go back to the old revision.
    Abort,
}

/// Bounds of the share of requests that succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct SuccessRate {
    /// At least this share, as in 99.5%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Percent>,
    /// At most so many points of a percentage below the old revision, as in 1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_drop: Option<Percent>,
}

/// Bounds of the time within which 99 of 100 requests are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct LatencyP99 {
    /// At most this, as in 300ms; rounded up to a bound of the sidecars' histogram, up to 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// At most so much more than the old revision takes, as in 50%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_increase: Option<Percent>,
}

/// A question to somebody else: exactly one of `prometheus`, `webhook` and `job`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Check {
    /// Its name in status and events.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// A query that gives one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// A request that must be answered with 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A container that must exit with 0; it is run again while `failures` allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CheckJob>,
    /// How often it is asked; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Failed measurements that are tolerated; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub failures: Option<i32>,
}

/// A query that gives one number. None is inconclusive, several are an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prometheus {
    /// Address of the Prometheus, as in `http://prometheus.monitoring:9090`.
    #[schemars(length(min = 8, max = 1024))]
    pub address: String,
    /// PromQL. `$(service)`, `$(namespace)` and `$(revision)` are filled in.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// The least number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The greatest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
}

/// A POST with the release as JSON: `{namespace, service, revision, image, phase}`. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename_all = "camelCase")]
pub struct Webhook {
    /// Where it goes.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// The value of the answer that counts, as in `$.checks[0].ratio`. Without it a status of 2xx passes and 4xx fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub json_path: Option<String>,
    /// The least number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The greatest number that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// The only text that passes, as in `ok` or `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub equals: Option<String>,
}

/// A container that must exit with 0. Its pod has no token; `SHOP_NAMESPACE`, `SHOP_SERVICE` and `SHOP_REVISION` are set, and
/// `SHOP_PREVIEW_URL` leads to the new revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckJob {
    /// The image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub args: Vec<String>,
    /// Longest time that it may take; default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A number, as JSON has it: never infinite, and always something.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Number(pub f64);

// JSON has no NaN, the one number that does not equal itself.
impl Eq for Number {}

/// Defaults of `spec.release.analysis`.
pub mod defaults {
    use crate::Span;

    /// `minRequests`.
    pub const MIN_REQUESTS: i32 = 200;
    /// `duration`.
    pub const DURATION: Span = Span::secs(60);
    /// `timeout`.
    pub const TIMEOUT: Span = Span::secs(600);
    /// `checks[].interval`.
    pub const INTERVAL: Span = Span::secs(10);
    /// `checks[].job.timeout`.
    pub const JOB_TIMEOUT: Span = Span::secs(300);
}

impl Analysis {
    /// `minRequests` or its default.
    pub fn min_requests(&self) -> u64 {
        u64::try_from(self.min_requests.unwrap_or(defaults::MIN_REQUESTS)).unwrap_or(1)
    }

    /// `duration` or its default.
    pub fn duration(&self) -> Span {
        self.duration.unwrap_or(defaults::DURATION)
    }

    /// `timeout` or its default.
    pub fn timeout(&self) -> Span {
        self.timeout.unwrap_or(defaults::TIMEOUT)
    }

    /// Whether it runs then.
    pub fn runs(&self, when: When) -> bool {
        if self.when.is_empty() { when == When::Watching } else { self.when.contains(&when) }
    }

    /// Whether it looks at the sidecars' counters.
    pub fn counts(&self) -> bool {
        let success = self.success_rate.as_ref().is_some_and(|rate| rate.min.or(rate.max_drop).is_some());
        let latency = self.latency_p99.as_ref();
        success || latency.is_some_and(|latency| latency.max.is_some() || latency.max_increase.is_some())
    }
}

impl Check {
    /// `interval` or its default.
    pub fn interval(&self) -> Span {
        self.interval.unwrap_or(defaults::INTERVAL)
    }
}

impl CheckJob {
    /// `timeout` or its default.
    pub fn timeout(&self) -> Span {
        self.timeout.unwrap_or(defaults::JOB_TIMEOUT)
    }
}
