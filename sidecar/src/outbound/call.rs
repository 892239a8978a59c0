//! A call with all its tries: which pod, how long, and whether once more.
//!
//! What provably did not leave moves on to another pod, whatever it is. What may have been processed is sent once more only if
//! that does no harm (RFC 9110 section 9.2.2, or the app says so by `Idempotency-Key`), and if the budget has a retry left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use shop_contract::{headers, reasons};
use shop_flow::{retry, sticky};

use super::dependency::Dependency;
use super::endpoints::Endpoint;
use super::fault;
use super::flight::Refusal;
use crate::telemetry::Telemetry;
use crate::upstream::{Answered, Body, Failure, Outbound, Replay, ReplayHandle, Unanswered, Wire};

const DEADLINE: HeaderName = HeaderName::from_static(headers::DEADLINE);
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Pods that are tried for a request that did not leave, beside its retries.
const UNSENT: u32 = 3;
/// Words of another sidecar that say that its app never saw the request.
const UNPROCESSED: [&str; 4] =
    [reasons::APP_UNREACHABLE, reasons::DRAINING, reasons::TOO_MANY_CONNECTIONS, reasons::QUEUE_FULL];

/// A call under way.
pub(super) struct Call<'a> {
    pub(super) dependency: &'a Dependency,
    pub(super) telemetry: &'a Telemetry,
    pub(super) wire: Wire,
    /// When an answer is worth nothing any more, on the sidecar's clock.
    pub(super) deadline: Duration,
    /// Whether that is less than the dependency's own timeout.
    pub(super) is_inherited: bool,
}

/// What comes after a try.
enum Next {
    Done(Result<Box<Answered>, Refusal>),
    Again(Box<Outbound>, Duration),
}

/// What becomes of a try.
pub(super) enum Tried {
    Answered(Box<Answered>),
    /// It did not leave.
    Unsent(Box<Outbound>),
    /// It may have been processed, or not.
    Lost(Failure),
    /// No answer in the time that a try has.
    Slow,
}

impl Call<'_> {
    /// Sends a request until it is answered, or nothing more can be done.
    pub(super) async fn run(&self, outbound: Outbound) -> Result<Answered, Refusal> {
        let (mut outbound, mut state) = State::begin(outbound, self.dependency.rules.retries);
        let key = self.key(&outbound);
        self.first_endpoints().await?;
        loop {
            let endpoint = self.endpoint(key, &state.tried).ok_or(UNREACHABLE)?;
            self.pass_deadline_on(&mut outbound);
            let tried = self.attempt(&endpoint, outbound).await;
            state.tried.push(endpoint.upstream.address());
            let (next, pause) = match self.judge(tried, &mut state) {
                Next::Done(done) => return done.map(|answered| *answered),
                Next::Again(next, pause) => (next, pause),
            };
            outbound = *next;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// What follows from a try.
    fn judge(&self, tried: Tried, state: &mut State) -> Next {
        match tried {
            Tried::Answered(answered) => {
                let again = self.pause_after(&answered, state).and_then(|pause| {
                    let next = state.once_more(self, pause).ok()?;
                    Some(Next::Again(Box::new(next), pause))
                });
                again.unwrap_or(Next::Done(Ok(answered)))
            }
            Tried::Unsent(outbound) => {
                self.dependency.shared.endpoints.ask();
                state.unsent += 1;
                if state.unsent >= UNSENT + state.retries {
                    return Next::Done(Err(UNREACHABLE));
                }
                // The first steps to another pod cost nothing; when none can be reached, it takes a moment.
                let pause = match state.unsent.checked_sub(UNSENT) {
                    None => Duration::ZERO,
                    Some(steps) => retry::pause(steps, rand::random()),
                };
                if self.fits(pause) { Next::Again(outbound, pause) } else { Next::Done(Err(TOO_LATE)) }
            }
            Tried::Lost(failure) if is_callers(failure) => Next::Done(Err(of(failure))),
            Tried::Lost(failure) => {
                self.repeat(state, retry::pause(state.retried, rand::random()), of(failure))
            }
            Tried::Slow => self.repeat(state, Duration::ZERO, TOO_LATE),
        }
    }

    /// Sends what may have been processed once more, if that does no harm.
    fn repeat(&self, state: &mut State, pause: Duration, refusal: Refusal) -> Next {
        if !state.is_safe {
            return Next::Done(Err(refusal));
        }
        match state.once_more(self, pause) {
            Ok(next) => Next::Again(Box::new(next), pause),
            Err(why) => Next::Done(Err(why.unwrap_or(refusal))),
        }
    }

    /// Waits for the first addresses, if nobody has asked for them yet.
    async fn first_endpoints(&self) -> Result<(), Refusal> {
        let until = self.telemetry.clock.instant(self.deadline);
        tokio::time::timeout_at(until, self.dependency.shared.endpoints.first()).await.map_err(|_| TOO_LATE)
    }

    fn endpoint(&self, key: u64, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let now = self.telemetry.clock.now();
        self.dependency.shared.endpoints.choose(self.dependency.rules.balance, || key, tried, now)
    }

    /// What decides with consistent hashing: the header, or the path.
    fn key(&self, outbound: &Outbound) -> u64 {
        if self.dependency.rules.balance != shop_contract::Balance::ConsistentHash {
            return 0;
        }
        let named = self.dependency.rules.hash_header.as_ref();
        let value = named.and_then(|name| outbound.request.headers().get(name.as_str()));
        value.map_or_else(
            || sticky::hash(0, outbound.request.uri().path().as_bytes()),
            |value| sticky::hash(0, value.as_bytes()),
        )
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.telemetry.clock.now())
    }

    fn fits(&self, pause: Duration) -> bool {
        pause < self.left()
    }

    /// Tells the other side how long an answer is worth something. A stream of gRPC gets the time only if it had one.
    fn pass_deadline_on(&self, outbound: &mut Outbound) {
        let fields = outbound.request.headers_mut();
        if !self.dependency.is_of_shop() || fields.contains_key(header::UPGRADE) {
            fields.remove(DEADLINE);
            return;
        }
        let left = u64::try_from(self.left().as_millis()).unwrap_or(u64::MAX);
        fields.insert(DEADLINE, left.into());
        if fields.contains_key(GRPC_TIMEOUT)
            && let Ok(value) = HeaderValue::try_from(format!("{}m", left.min(99_999_999)))
        {
            fields.insert(GRPC_TIMEOUT, value);
        }
    }

    /// One try at one pod.
    async fn attempt(&self, endpoint: &Arc<Endpoint>, outbound: Outbound) -> Tried {
        let clock = &self.telemetry.clock;
        let began = clock.now();
        let per_try = self.dependency.rules.try_timeout_ms.map(Duration::from_millis);
        let until = per_try.map_or(self.deadline, |longest| self.deadline.min(began + longest));
        if let Some(faults) = &self.dependency.faults
            && let Some(instead) = fault::step(faults, self.telemetry, endpoint, &outbound, until).await
        {
            return instead;
        }
        let sent = tokio::select! {
            sent = endpoint.upstream.send(outbound, self.wire) => sent,
            () = endpoint.dies(clock) => Err(Unanswered { failure: Failure::Reset, unsent: None }),
            () = tokio::time::sleep_until(clock.instant(until)) => {
                if until < self.deadline || !self.is_inherited {
                    endpoint.upstream.failed(clock.now());
                }
                return Tried::Slow;
            }
        };
        match sent {
            Ok(answered) => {
                if self.is_unprocessed(&answered) {
                    endpoint.upstream.failed(clock.now());
                } else {
                    endpoint.answered(clock.now().saturating_sub(began));
                }
                Tried::Answered(Box::new(answered))
            }
            Err(Unanswered { failure, .. }) if is_callers(failure) => Tried::Lost(failure),
            Err(Unanswered { failure, unsent }) => {
                endpoint.upstream.failed(clock.now());
                unsent.map_or(Tried::Lost(failure), Tried::Unsent)
            }
        }
    }

    /// Whether another sidecar answered in place of an app that never saw the request.
    fn is_unprocessed(&self, answered: &Answered) -> bool {
        let reason = answered.response.headers().get(headers::REASON).and_then(|reason| reason.to_str().ok());
        self.dependency.is_of_shop() && reason.is_some_and(|reason| UNPROCESSED.contains(&reason))
    }

    /// How long to wait before a request that was answered like this is sent once more; `None`: that is the answer.
    fn pause_after(&self, answered: &Answered, state: &State) -> Option<Duration> {
        let response = &answered.response;
        let gateway = matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        if !(gateway && state.is_safe || self.is_unprocessed(answered)) {
            return None;
        }
        let pause = retry::pause(state.retried, rand::random());
        let asked = response.headers().get(header::RETRY_AFTER);
        match asked.and_then(|value| retry::retry_after(value.as_bytes())) {
            Some(asked) if asked > retry::LONGEST_RETRY_AFTER => None,
            Some(asked) => Some(asked.max(pause)),
            None => Some(pause),
        }
    }
}

/// What is known of the tries before.
struct State {
    is_safe: bool,
    retries: u32,
    retried: u32,
    /// Tries that did not leave.
    unsent: u32,
    tried: Vec<SocketAddr>,
    again: Option<Again>,
}

impl State {
    fn begin(outbound: Outbound, retries: u32) -> (Outbound, Self) {
        // What becomes another protocol cannot be begun again.
        let retries = if outbound.request.headers().contains_key(header::UPGRADE) { 0 } else { retries };
        let is_safe = is_safe(&outbound);
        let (outbound, again) = Again::keep(outbound, retries);
        (outbound, Self { is_safe, retries, retried: 0, unsent: 0, tried: Vec::new(), again })
    }

    /// The request for another try, after this pause. If there is none, why, when that is not what went wrong before.
    fn once_more(&mut self, call: &Call<'_>, pause: Duration) -> Result<Outbound, Option<Refusal>> {
        if self.retried >= self.retries {
            return Err(None);
        }
        if !call.fits(pause) {
            return Err(Some(TOO_LATE));
        }
        let again = self.again.take().and_then(Again::once_more);
        let (outbound, again) = again.ok_or(None)?;
        if !call.dependency.may_retry(call.telemetry.clock.now()) {
            return Err(Some(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reasons::RETRY_BUDGET)));
        }
        self.again = again;
        self.retried += 1;
        Ok(outbound)
    }
}

const TOO_LATE: Refusal =
    Refusal { status: StatusCode::GATEWAY_TIMEOUT, reason: reasons::DEADLINE, retry_after: None };
pub(super) const UNREACHABLE: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    reason: reasons::DEPENDENCY_UNREACHABLE,
    retry_after: None,
};

/// Whether it is the app's own affair, and no pod's.
fn is_callers(failure: Failure) -> bool {
    matches!(failure, Failure::Caller | Failure::Slow | Failure::TooLarge)
}

/// What the app is told of a failure.
pub(super) fn of(failure: Failure) -> Refusal {
    match failure {
        Failure::Connect => UNREACHABLE,
        Failure::Reset => Refusal::new(StatusCode::BAD_GATEWAY, reasons::DEPENDENCY_RESET),
        Failure::Bad => Refusal::new(StatusCode::BAD_GATEWAY, reasons::BAD_ANSWER),
        Failure::Caller => Refusal::new(StatusCode::BAD_REQUEST, reasons::BAD_REQUEST),
        Failure::Slow => Refusal::new(StatusCode::REQUEST_TIMEOUT, reasons::BODY_TOO_SLOW),
        Failure::TooLarge => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reasons::BODY_TOO_LARGE),
    }
}

/// Whether sending it twice does no harm.
fn is_safe(outbound: &Outbound) -> bool {
    let idempotent = matches!(
        *outbound.request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    idempotent || outbound.request.headers().contains_key(IDEMPOTENCY_KEY)
}

/// What is needed to send a request once more.
struct Again {
    head: http::request::Parts,
    host: HeaderValue,
    interim: Option<crate::http1::Interim>,
    body: Option<ReplayHandle>,
}

impl Again {
    /// Keeps a request, if it may be sent once more.
    fn keep(outbound: Outbound, retries: u32) -> (Outbound, Option<Self>) {
        if retries == 0 {
            return (outbound, None);
        }
        let Outbound { request, host, interim } = outbound;
        let (head, body) = request.into_parts();
        let (body, handle) = match body {
            Body::Stream(body) => {
                let replay = Replay::new(body);
                let handle = replay.handle();
                (Body::Replay(replay), Some(handle))
            }
            other => (other, None),
        };
        let again = Self { head: head.clone(), host: host.clone(), interim: interim.clone(), body: handle };
        (Outbound { request: Request::from_parts(head, body), host, interim }, Some(again))
    }

    /// The request, and what is needed for another time; `None` if more was read of its body than is kept.
    fn once_more(self) -> Option<(Outbound, Option<Self>)> {
        let Self { head, host, interim, body } = self;
        let (body, handle) = match body {
            Some(handle) => {
                let replay = handle.again()?;
                let handle = replay.handle();
                (Body::Replay(replay), Some(handle))
            }
            None => (Body::Empty, None),
        };
        let again = Self { head: head.clone(), host: host.clone(), interim: interim.clone(), body: handle };
        Some((Outbound { request: Request::from_parts(head, body), host, interim }, Some(again)))
    }
}
