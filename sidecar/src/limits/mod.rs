//! What is let in: how often, how large, how long, how much at once.
//!
//! Everything is resolved when a document is accepted. What is not limited costs a branch; what counts on over documents
//! (requests under way, waiters) is in [`Shared`].

mod concurrency;
mod deadline;
pub mod keys;
pub mod peers;
mod rate;
mod route;
mod timeouts;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body::Body as _;
use shop_contract::{PriorityClass, reasons};
use shop_flow::limit::gate::{Class, Why};
use tokio::sync::mpsc;

pub use concurrency::Permit;
use concurrency::Places;
use deadline::Deadline;
use keys::Keys;
use peers::{Suspension, Teller};
pub use rate::Screened;
use rate::{Rates, Told};
pub(crate) use route::Route;
pub use timeouts::Timeouts;

use crate::clock::Clock;
use crate::handover::MacKeys;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Spoken;
use crate::upstream::Body;

/// What the limiter's own secret is derived for.
const LIMITER: &str = "shop-limiter";
/// How long who found the queue full should at least stay away.
const RETRY_AT_LEAST: Duration = Duration::from_secs(1);

/// What counts on from one document to the next.
#[derive(Debug)]
pub struct Shared {
    places: Arc<Places>,
    keys: Arc<Keys>,
    pub(crate) timeouts: Timeouts,
    telemetry: Arc<Telemetry>,
    teller: Teller,
    /// Until somebody tells the peers.
    suspensions: Mutex<Option<mpsc::Receiver<Suspension>>>,
}

impl Shared {
    /// Nothing under way.
    pub fn new(telemetry: &Arc<Telemetry>) -> Self {
        let (teller, suspensions) = mpsc::channel(peers::WAITING);
        Self {
            teller,
            suspensions: Mutex::new(Some(suspensions)),
            places: Arc::new(Places::new(Arc::clone(telemetry))),
            keys: Arc::new(Keys::new(Arc::clone(telemetry))),
            timeouts: Timeouts::default(),
            telemetry: Arc::clone(telemetry),
        }
    }

    /// What other pods are to be told; once.
    pub(crate) fn suspensions(&self) -> Option<mpsc::Receiver<Suspension>> {
        self.suspensions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Limits of a document.
#[derive(Debug)]
pub struct Limits {
    places: Option<Arc<Places>>,
    timeout: Option<Duration>,
    max_body: Option<u64>,
    priority: Vec<(Route, Class)>,
    /// `None`: nobody asks too often.
    rates: Option<Rates>,
}

/// Why a request is not let in, and what its sender is told.
#[derive(Debug)]
pub struct Refusal {
    /// Status of the answer.
    pub status: StatusCode,
    /// One of [`reasons`].
    pub reason: &'static str,
    retry_after: Option<Duration>,
    rate: Option<Told>,
}

/// That a request may come, and on which terms.
#[derive(Clone, Debug)]
pub struct Admission {
    deadline: Deadline,
    told: Option<Told>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its address.
    pub client: IpAddr,
    /// The user, if it is verified.
    pub user: Option<&'a str>,
    /// Another revision has let it in.
    pub was_handed_over: bool,
    /// What it speaks.
    pub spoken: Spoken,
    /// When its head came.
    pub began: Duration,
}

impl Limits {
    /// Of a document; `None`: nothing is limited.
    /// `pods` share what is limited.
    pub fn new(
        limits: Option<&shop_contract::Limits>,
        secrets: &MacKeys,
        pods: u32,
        shared: &Shared,
    ) -> Self {
        let none = shop_contract::Limits::default();
        let limits = limits.unwrap_or(&none);
        shared.timeouts.set(limits.timeouts.unwrap_or_default());
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
            rates: Rates::new(limits, &secrets.derive(LIMITER), pods, shared),
        }
    }

    /// Checks where a request comes from. It is done before tokens are verified, so that whoever sends bad ones does not have
    /// them verified as often as he likes.
    pub fn screen(&self, request: &Request<Body>, asked: Asked<'_>) -> Result<Screened, Refusal> {
        match &self.rates {
            Some(rates) if !asked.was_handed_over => rates.check_address(request, &asked),
            _ => Ok(Screened::default()),
        }
    }

    /// Checks what can be told from a request's head, and from who sent it.
    pub fn check(
        &self,
        request: &mut Request<Body>,
        asked: Asked<'_>,
        screened: Screened,
    ) -> Result<Admission, Refusal> {
        let told = match &self.rates {
            Some(rates) if !asked.was_handed_over => rates.check(request, &asked, screened)?,
            _ => None,
        };
        // A stream has as many messages as it wants; each is bounded by the app.
        if let Some(max) = self.max_body.filter(|_| asked.spoken != Spoken::Grpc) {
            if request.body().size_hint().lower() > max {
                return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reasons::BODY_TOO_LARGE));
            }
            request.body_mut().bound(max);
        }
        Ok(Admission { deadline: Deadline::of(request.headers(), asked, self.timeout), told })
    }

    /// Whether it matters here which address a connection comes from.
    pub fn looks_at_addresses(&self) -> bool {
        self.rates.is_some()
    }

    /// Checks a connection that is not HTTP: only its address is known.
    pub fn check_connection(&self, client: IpAddr, began: Duration) -> Result<(), Refusal> {
        let asked = Asked { client, user: None, was_handed_over: false, spoken: Spoken::Tcp, began };
        self.screen(&Request::new(Body::Empty), asked).map(|_| ())
    }

    /// Waits for a place. `None`: places are not limited.
    pub async fn enter(
        &self,
        request: &Request<Body>,
        admission: &Admission,
    ) -> Result<Option<Permit>, Refusal> {
        let Some(places) = &self.places else { return Ok(None) };
        if let Some(permit) = places.try_enter() {
            return Ok(Some(permit));
        }
        let class = self.class(request);
        // Waiting is rare, and what it needs is not carried along by every request.
        match Box::pin(places.wait(class, admission.deadline.at())).await {
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

    /// Suspends whom other pods have suspended.
    pub(crate) fn suspend(&self, suspensions: &[Suspension]) {
        if let Some(rates) = &self.rates {
            suspensions.iter().filter_map(Suspension::left).for_each(|(key, left)| rates.suspend(key, left));
        }
    }

    fn class(&self, request: &Request<Body>) -> Class {
        let fits = |(route, _): &&(Route, Class)| route.fits(request.method(), request.uri().path());
        self.priority.iter().find(fits).map_or(Class::Normal, |(_, class)| *class)
    }
}

impl Admission {
    /// Tells the next hop how long the request may still take.
    pub fn pass_on(&self, fields: &mut HeaderMap, clock: Clock) {
        self.deadline.pass_on(fields, clock);
    }

    /// Waits for an answer, as long as there is time.
    pub async fn wait<T>(
        &self,
        clock: Clock,
        answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Refusal> {
        self.deadline.wait(clock, answer).await
    }

    /// Puts what the caller should know into the answer's fields.
    pub fn tell(&self, fields: &mut HeaderMap) {
        if let Some(told) = &self.told {
            told.tell(fields);
        }
    }
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, retry_after: None, rate: None }
    }

    /// Puts what the sender should know into the answer's fields.
    pub fn tell(&self, fields: &mut HeaderMap) {
        if let Some(wait) = self.retry_after {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(told) = &self.rate {
            told.tell(fields);
        }
    }
}

/// Rounded up: who comes earlier would be refused again.
pub(crate) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
