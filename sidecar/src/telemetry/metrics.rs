//! The metrics of [`super::table`], as handles: a request never looks one up by its labels.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};
use shop_contract::{Document, Per, reasons};
use shop_flow::sampling::Why;

use super::dependencies::{DependencyMetrics, Families};
use super::series::{self, Exemplars, Family, MOST_COUNTERS, MOST_HISTOGRAMS, Timed};
use super::table::{self, Metric};

/// Upper bounds of the duration's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The same of connections, which may last for days.
const CONNECTION_BUCKETS: [f64; 8] = [0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];

/// Classes of status, by its first digit.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// A WebSocket or another upgrade.
    WebSocket,
    /// Bytes, of a service whose protocol is tcp.
    Tcp,
}

impl Spoken {
    const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Grpc, Self::WebSocket, Self::Tcp];

    /// The word for it in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
            Self::Tcp => "tcp",
        }
    }
}

/// Why there is no copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCopied {
    /// Too many copies at once.
    Busy,
    /// The body is too long, or was not read to its end.
    Body,
    /// No pod of the other revision answered in time.
    Unanswered,
}

impl NotCopied {
    const ALL: [Self; 3] = [Self::Busy, Self::Body, Self::Unanswered];

    /// The word for it in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Body => "body",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSeen {
    /// It was verified before.
    Known,
    /// It is good.
    Verified,
    /// It is not.
    Refused,
}

impl TokenSeen {
    const ALL: [Self; 3] = [Self::Known, Self::Verified, Self::Refused];

    /// The word for it in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Verified => "verified",
            Self::Refused => "refused",
        }
    }
}

/// What a fault does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It waits.
    Delay,
    /// The sidecar answers.
    Abort,
    /// Nobody answers.
    Drop,
}

impl FaultKind {
    const ALL: [Self; 3] = [Self::Delay, Self::Abort, Self::Drop];

    /// The word for it in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Abort => "abort",
            Self::Drop => "drop",
        }
    }
}

/// All metrics of a sidecar.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<IntCounterVec>,
    duration: Family<HistogramVec>,
    route_requests: Family<IntCounterVec>,
    route_duration: Family<HistogramVec>,
    spans: Vec<IntCounter>,
    /// See [`table::SPANS_DROPPED`]: those that found no room.
    pub spans_full: IntCounter,
    spans_unsent: IntCounter,
    exemplars: Mutex<Vec<Arc<Exemplars>>>,
    self_answered: Vec<(&'static str, IntCounter)>,
    config_refused: IntCounterVec,
    tokens: Vec<IntCounter>,
    faults: Vec<IntCounter>,
    jwks_fetches: [IntCounter; 2],
    jwks_stale: IntGauge,
    handshakes: [IntCounter; 3],
    /// See [`table::CERTIFICATE_NOT_AFTER`].
    pub certificate_not_after: IntGauge,
    /// See [`table::CERTIFICATES`].
    pub certificates_accepted: IntCounter,
    /// See [`table::CERTIFICATES`].
    pub certificates_refused: IntCounter,
    dependencies: Families,
    /// See [`table::IN_FLIGHT`].
    pub in_flight: IntGauge,
    /// See [`table::CONNECTIONS`].
    pub connections: IntGauge,
    /// See [`table::UPGRADED`].
    pub upgraded: IntGauge,
    /// See [`table::SERVED`].
    pub served: IntCounter,
    /// See [`table::ERRORS`].
    pub errors: IntCounter,
    /// See [`table::HANDED_OVER`].
    pub handed_over: IntCounter,
    /// See [`table::TAKEN_OVER`].
    pub taken_over: IntCounter,
    /// See [`table::HAND_OFF_FAILURES`].
    pub hand_off_failures: IntCounter,
    /// See [`table::HAND_OVER_LOST`].
    pub hand_over_lost: IntCounter,
    /// See [`table::MIRRORED`].
    pub mirrored: IntCounter,
    not_mirrored: Vec<IntCounter>,
    /// See [`table::MIRROR_TAKEN`].
    pub mirror_taken: IntCounter,
    rate_limited: Vec<IntCounter>,
    /// See [`table::SUSPENSIONS`].
    pub suspensions: IntCounter,
    /// See [`table::SUSPENSIONS_HEARD`].
    pub suspensions_heard: IntCounter,
    /// See [`table::SUSPENSIONS_UNTOLD`].
    pub suspensions_untold: IntCounter,
    /// See [`table::LIMITER_KEYS`].
    pub limiter_keys: IntGauge,
    /// See [`table::LIMITER_FORGOTTEN`].
    pub limiter_forgotten: IntCounter,
    /// See [`table::WAITING`].
    pub waiting: IntGauge,
    /// See [`table::QUEUE_WAIT`].
    pub queue_wait: Histogram,
    /// See [`table::TCP_BYTES`]: those of clients.
    pub tcp_received: IntCounter,
    /// See [`table::TCP_BYTES`]: those of apps.
    pub tcp_sent: IntCounter,
    /// See [`table::TCP_DURATION`].
    pub tcp_duration: Histogram,
    /// See [`table::GENERATION`].
    pub generation: IntGauge,
    /// See [`table::LOG_DROPPED`].
    pub log_dropped: IntCounter,
    /// See [`table::DRAINING`].
    pub draining: IntGauge,
}

/// Handles with the labels of one revision in one role, resolved when a document is accepted.
#[derive(Debug)]
pub struct RevisionMetrics {
    requests: Vec<IntCounter>,
    /// See [`table::DURATION`].
    pub duration: Timed,
}

impl RevisionMetrics {
    /// Counts a request that has ended.
    pub fn count(&self, status: u16, spoken: Spoken) {
        if let Some(counter) = self.requests.get(class(status) * Spoken::ALL.len() + spoken as usize) {
            counter.inc();
        }
    }
}

/// Handles of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    classes: [IntCounter; CLASSES.len()],
    /// See [`table::ROUTE_DURATION`].
    pub duration: Timed,
}

impl RouteMetrics {
    /// Counts a request that has ended.
    pub fn count(&self, status: u16) {
        if let Some(counter) = self.classes.get(class(status)) {
            counter.inc();
        }
    }
}

/// The place of a status in [`CLASSES`].
fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, CLASSES.len()) - 1
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reasons = counters(&registry, table::SELF_ANSWERED)?;
        let tokens = counters(&registry, table::TOKENS)?;
        let faults = counters(&registry, table::FAULTS)?;
        let fetches = counters(&registry, table::JWKS_FETCHES)?;
        let handshakes = counters(&registry, table::HANDSHAKES)?;
        let certificates = counters(&registry, table::CERTIFICATES)?;
        let not_mirrored = counters(&registry, table::NOT_MIRRORED)?;
        let overflowed = counters(&registry, table::OVERFLOWED)?;
        let overflowed = |metric: Metric| overflowed.with_label_values(&[metric.name]);
        let counting = |metric| -> Result<_, prometheus::Error> {
            Ok(Family::new(counters(&registry, metric)?, MOST_COUNTERS, overflowed(metric)))
        };
        let timing = |metric| -> Result<_, prometheus::Error> {
            Ok(Family::new(histograms(&registry, metric)?, MOST_HISTOGRAMS, overflowed(metric)))
        };
        let spans = counters(&registry, table::SPANS)?;
        let spans_dropped = counters(&registry, table::SPANS_DROPPED)?;
        let rate_limited = counters(&registry, table::RATE_LIMITED)?;
        let tcp_bytes = counters(&registry, table::TCP_BYTES)?;
        Ok(Self {
            dependencies: Families::new(&registry)?,
            requests: counting(table::REQUESTS)?,
            duration: timing(table::DURATION)?,
            route_requests: counting(table::ROUTE_REQUESTS)?,
            route_duration: timing(table::ROUTE_DURATION)?,
            self_answered: reasons::ALL
                .iter()
                .map(|reason| (*reason, reasons.with_label_values(&[reason])))
                .collect(),
            config_refused: counters(&registry, table::CONFIG_REFUSED)?,
            tokens: TokenSeen::ALL.iter().map(|seen| tokens.with_label_values(&[seen.as_str()])).collect(),
            faults: FaultKind::ALL.iter().map(|kind| faults.with_label_values(&[kind.as_str()])).collect(),
            jwks_fetches: ["failed", "done"].map(|outcome| fetches.with_label_values(&[outcome])),
            jwks_stale: gauge(&registry, table::JWKS_STALE)?,
            handshakes: ["failed", "full", "resumed"].map(|outcome| handshakes.with_label_values(&[outcome])),
            certificate_not_after: gauge(&registry, table::CERTIFICATE_NOT_AFTER)?,
            certificates_accepted: certificates.with_label_values(&["accepted"]),
            certificates_refused: certificates.with_label_values(&["refused"]),
            spans: Why::ALL.iter().map(|why| spans.with_label_values(&[why.as_str()])).collect(),
            spans_full: spans_dropped.with_label_values(&["full"]),
            spans_unsent: spans_dropped.with_label_values(&["unsent"]),
            exemplars: Mutex::default(),
            in_flight: gauge(&registry, table::IN_FLIGHT)?,
            connections: gauge(&registry, table::CONNECTIONS)?,
            upgraded: gauge(&registry, table::UPGRADED)?,
            served: counter(&registry, table::SERVED)?,
            errors: counter(&registry, table::ERRORS)?,
            handed_over: counter(&registry, table::HANDED_OVER)?,
            taken_over: counter(&registry, table::TAKEN_OVER)?,
            hand_off_failures: counter(&registry, table::HAND_OFF_FAILURES)?,
            hand_over_lost: counter(&registry, table::HAND_OVER_LOST)?,
            mirrored: counter(&registry, table::MIRRORED)?,
            not_mirrored: NotCopied::ALL
                .iter()
                .map(|cause| not_mirrored.with_label_values(&[cause.as_str()]))
                .collect(),
            mirror_taken: counter(&registry, table::MIRROR_TAKEN)?,
            rate_limited: Per::ALL
                .iter()
                .map(|per| rate_limited.with_label_values(&[per.as_str()]))
                .collect(),
            suspensions: counter(&registry, table::SUSPENSIONS)?,
            suspensions_heard: counter(&registry, table::SUSPENSIONS_HEARD)?,
            suspensions_untold: counter(&registry, table::SUSPENSIONS_UNTOLD)?,
            limiter_keys: gauge(&registry, table::LIMITER_KEYS)?,
            limiter_forgotten: counter(&registry, table::LIMITER_FORGOTTEN)?,
            waiting: gauge(&registry, table::WAITING)?,
            queue_wait: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::from(options(table::QUEUE_WAIT)).buckets(BUCKETS.to_vec()),
                )?,
            )?,
            tcp_received: tcp_bytes.with_label_values(&["received"]),
            tcp_sent: tcp_bytes.with_label_values(&["sent"]),
            tcp_duration: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::from(options(table::TCP_DURATION)).buckets(CONNECTION_BUCKETS.to_vec()),
                )?,
            )?,
            generation: gauge(&registry, table::GENERATION)?,
            log_dropped: counter(&registry, table::LOG_DROPPED)?,
            draining: gauge(&registry, table::DRAINING)?,
            registry,
        })
    }

    /// Handles with a document's labels.
    pub fn resolve(&self, document: &Document) -> RevisionMetrics {
        let revision = document.identity.revision.to_string();
        let labels = [revision.as_str(), document.colour.as_str(), document.role.as_str()];
        let [revision, colour, role] = labels;
        let requests = CLASSES.iter().flat_map(|class| {
            Spoken::ALL.map(|spoken| {
                let labels = [revision, colour, role, class, spoken.as_str()];
                self.requests.vec.with_label_values(&self.requests.fit(labels))
            })
        });
        let duration = self.timed(table::DURATION, &self.duration, labels);
        RevisionMetrics { requests: requests.collect(), duration }
    }

    /// Handles of a route; `other` is one too.
    pub fn resolve_route(&self, route: &str) -> RouteMetrics {
        let requests = &self.route_requests;
        let classes = CLASSES.map(|class| requests.vec.with_label_values(&requests.fit([route, class])));
        let duration = self.timed(table::ROUTE_DURATION, &self.route_duration, [route]);
        RouteMetrics { classes, duration }
    }

    /// A histogram whose exemplars are shown.
    fn timed<const N: usize>(
        &self,
        metric: Metric,
        family: &Family<HistogramVec>,
        values: [&str; N],
    ) -> Timed {
        let values = family.fit(values);
        let labels: Vec<_> = metric.labels.iter().copied().zip(values).collect();
        let timed = Timed::new(family.vec.with_label_values(&values), metric.name, &labels, &BUCKETS);
        let mut shown = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a label set the newest handle is the one in use.
        shown.retain(|known| !known.same_series(timed.exemplars()));
        shown.push(Arc::clone(timed.exemplars()));
        timed
    }

    /// Counts a span that is kept.
    pub fn span_kept(&self, why: Why) {
        if let Some(counter) = self.spans.get(why as usize) {
            counter.inc();
        }
    }

    /// Counts spans that the collector did not take.
    pub fn spans_lost(&self, spans: usize) {
        self.spans_unsent.inc_by(spans as u64);
    }

    /// All of them as `OpenMetrics`, which has exemplars.
    pub fn render_open(&self) -> String {
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        series::open_metrics(&String::from_utf8_lossy(&self.render()), &exemplars)
    }

    /// Handles of a dependency.
    pub fn dependency(&self, name: &str) -> DependencyMetrics {
        self.dependencies.of(name)
    }

    /// Counts an answer of the sidecar itself; `reason` is one of [`reasons::ALL`].
    pub fn answered_by_itself(&self, reason: &str) {
        if let Some((_, counter)) = self.self_answered.iter().find(|(known, _)| *known == reason) {
            counter.inc();
        }
    }

    /// Counts a request that came too often.
    pub fn rate_limited(&self, per: Per) {
        if let Some(counter) = self.rate_limited.get(per as usize) {
            counter.inc();
        }
    }

    /// Counts a copy of a request that was not made or not answered.
    pub fn not_copied(&self, cause: NotCopied) {
        if let Some(counter) = self.not_mirrored.get(cause as usize) {
            counter.inc();
        }
    }

    /// Counts what a fault did to a request.
    pub fn fault(&self, kind: FaultKind) {
        if let Some(counter) = self.faults.get(kind as usize) {
            counter.inc();
        }
    }

    /// Counts a token.
    pub fn token(&self, seen: TokenSeen) {
        if let Some(counter) = self.tokens.get(seen as usize) {
            counter.inc();
        }
    }

    /// Counts a fetch of keys.
    pub fn jwt_fetched(&self, done: bool) {
        if let Some(counter) = self.jwks_fetches.get(usize::from(done)) {
            counter.inc();
        }
        self.jwks_stale.set(i64::from(!done));
    }

    /// Counts a caller's handshake: whether it went on with a session from before; `None`: it failed.
    pub fn handshake(&self, is_resumed: Option<bool>) {
        if let Some(counter) =
            self.handshakes.get(is_resumed.map_or(0, |is_resumed| 1 + usize::from(is_resumed)))
        {
            counter.inc();
        }
    }

    /// Counts a refused document or list of endpoints; `cause` is from a closed list.
    pub fn refused(&self, cause: &'static str) {
        self.config_refused.with_label_values(&[cause]).inc();
    }

    /// All of them in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(8 * 1024);
        // Writing to memory fails only for a family without samples, which `gather` leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

fn options(metric: Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

pub(super) fn counters(registry: &Registry, metric: Metric) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(options(metric), metric.labels)?)
}

pub(super) fn gauges(registry: &Registry, metric: Metric) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(options(metric), metric.labels)?)
}

pub(super) fn histograms(registry: &Registry, metric: Metric) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::from(options(metric)).buckets(BUCKETS.to_vec());
    register(registry, HistogramVec::new(options, metric.labels)?)
}

fn counter(registry: &Registry, metric: Metric) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::with_opts(options(metric))?)
}

fn gauge(registry: &Registry, metric: Metric) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::with_opts(options(metric))?)
}
