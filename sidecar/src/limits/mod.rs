//! What is let in: how large, how long, how much at once.
//!
//! Everything is resolved when a document is accepted. What is not limited costs a branch; what counts on over documents
//! (requests under way, waiters) is in [`Shared`].

mod concurrency;
mod deadline;
mod route;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body::Body as _;
use shop_contract::{PriorityClass, reasons};
use shop_flow::limit::gate::{Class, Why};

pub use concurrency::Permit;
use concurrency::Places;
pub use deadline::Deadline;
use route::Route;

use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Spoken;
use crate::upstream::Body;

/// How long who found the queue full should at least stay away.
const RETRY_AT_LEAST: Duration = Duration::from_secs(1);

/// What counts on from one document to the next.
#[derive(Debug)]
pub struct Shared {
    places: Arc<Places>,
}

impl Shared {
    /// Nothing under way.
    pub fn new(telemetry: &Arc<Telemetry>) -> Self {
        Self { places: Arc::new(Places::new(Arc::clone(telemetry))) }
    }
}

/// Limits of a document.
#[derive(Debug)]
pub struct Limits {
    places: Option<Arc<Places>>,
    timeout: Option<Duration>,
    max_body: Option<u64>,
    priority: Vec<(Route, Class)>,
}

/// Why a request is not let in, and what its sender is told.
#[derive(Debug)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// One of [`reasons`].
    pub reason: &'static str,
    retry_after: Option<Duration>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What it speaks.
    pub spoken: Spoken,
    /// When its head came.
    pub began: Duration,
}

impl Limits {
    /// Of a document; `None`: nothing is limited.
    pub fn new(limits: Option<&shop_contract::Limits>, shared: &Shared) -> Self {
        let none = shop_contract::Limits::default();
        let limits = limits.unwrap_or(&none);
        let places = limits.concurrency.map(|concurrency| {
            shared.places.resize(concurrency.max as usize, concurrency.queue as usize);
            Arc::clone(&shared.places)
        });
        let class = |class| match class {
            PriorityClass::High => Class::High,
            PriorityClass::Normal => Class::Normal,
            PriorityClass::Low => Class::Low,
        };
        Self {
            places,
            timeout: limits.request_timeout_ms.map(Duration::from_millis),
            max_body: limits.max_body_bytes,
            priority: limits
                .priority
                .iter()
                .map(|rule| (Route::new(&rule.matches), class(rule.class)))
                .collect(),
        }
    }

    /// Checks what can be told from a request's head; says until when it must be answered.
    pub fn check(&self, request: &mut Request<Body>, asked: Asked) -> Result<Deadline, Refusal> {
        // A stream has as many messages as it wants; each is bounded by the app.
        if let Some(max) = self.max_body.filter(|_| asked.spoken != Spoken::Grpc) {
            if request.body().size_hint().lower() > max {
                return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reasons::BODY_TOO_LARGE));
            }
            request.body_mut().bound(max);
        }
        Ok(Deadline::of(request.headers(), asked, self.timeout))
    }

    /// Waits for a place. `None`: places are not limited.
    pub async fn enter(
        &self,
        request: &Request<Body>,
        deadline: Deadline,
    ) -> Result<Option<Permit>, Refusal> {
        let Some(places) = &self.places else { return Ok(None) };
        if let Some(permit) = places.try_enter() {
            return Ok(Some(permit));
        }
        let class = self.class(request);
        // Waiting is rare, and what it needs is not carried along by every request.
        match Box::pin(places.wait(class, deadline.at())).await {
            Ok(permit) => Ok(Some(permit)),
            Err(Why::QueueFull) => Err(Refusal {
                retry_after: Some(places.retry_after().max(RETRY_AT_LEAST)),
                ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reasons::QUEUE_FULL)
            }),
            Err(Why::WouldMissDeadline) => Err(Refusal {
                retry_after: Some(RETRY_AT_LEAST),
                ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reasons::WOULD_MISS_DEADLINE)
            }),
        }
    }

    fn class(&self, request: &Request<Body>) -> Class {
        let fits = |(route, _): &&(Route, Class)| route.fits(request.method(), request.uri().path());
        self.priority.iter().find(fits).map_or(Class::Normal, |(_, class)| *class)
    }
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, retry_after: None }
    }

    /// Puts what the sender should know into the answer's fields.
    pub fn tell(&self, fields: &mut HeaderMap) {
        if let Some(wait) = self.retry_after {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
    }
}

/// Rounded up: who comes earlier would be refused again.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
