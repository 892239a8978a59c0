//! An answer on its way to the caller, and what is counted when it ends.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use shop_contract::{headers::REASON, reasons};

use super::Proxy;
use crate::auth::Denied;
use crate::config::Snapshot;
use crate::grpc;
use crate::handover::Purpose;
use crate::http1::{BodyError, Incoming};
use crate::limits::Permit;
use crate::outbound::context::Kept;
use crate::telemetry::access_log::{Line, shown_path};
use crate::telemetry::metrics::Spoken;
use crate::telemetry::routes::Route;
use crate::telemetry::trace::Place;
use crate::upstream::Lease;

/// Status of a request whose caller went away before the answer began; it is only counted, never sent.
pub(super) const GONE: u16 = 499;
/// Statuses of gRPC that are the server's fault: `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`.
pub(super) const GRPC_FAILURES: [&[u8]; 5] = [b"2", b"4", b"13", b"14", b"15"];

/// What the sidecar itself answers: why, to gRPC in its own way.
pub(crate) fn refusal(status: StatusCode, reason: &'static str, is_grpc: bool) -> Response<Incoming> {
    let mut response = Response::new(Incoming::Empty);
    response.headers_mut().insert(HeaderName::from_static(REASON), HeaderValue::from_static(reason));
    if is_grpc {
        grpc::tell(response.headers_mut(), status, reason);
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        *response.status_mut() = status;
        *response.body_mut() = Incoming::Own(Some(Bytes::from_static(reason.as_bytes())));
    }
    response
}

/// Which revisions had to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Only this one.
    Own,
    /// Another one handed it to this one.
    TakenOver,
    /// Another one sent a copy of it to this one, and answers itself.
    Copy,
    /// Another one answers.
    HandedOver,
    /// Another one should have answered, and none of its pods did.
    Lost,
}

/// One request from its head to the end of its answer. Counted when it is dropped, however it ends.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) proxy: Arc<Proxy>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) began: Duration,
    /// What the caller speaks.
    pub(super) spoken: Spoken,
    pub(super) method: Method,
    pub(super) path: Option<PathAndQuery>,
    /// By which it is counted, if any is.
    pub(super) route: Option<Arc<Route>>,
    /// Address of the client, when it is known who that is.
    pub(super) client: Option<IpAddr>,
    /// SPIFFE id of the service that sent it, if its certificate or another pod says so.
    pub(super) caller: Option<HeaderValue>,
    /// Its place in its trace.
    pub(super) place: Place,
    /// `x-request-id`.
    pub(super) request_id: Option<HeaderValue>,
    /// Keeps what the app's calls for this request have from it.
    pub(super) kept: Option<Kept>,
    /// Of the answer.
    pub(super) status: u16,
    /// Which revisions had to do with it.
    pub(super) way: Way,
    /// Whether the answer was not what its status says: cut off, or a gRPC call that failed.
    pub(super) failed: bool,
    /// Whether a gRPC call has told its status.
    told: bool,
    pub(super) reason: Option<&'static str>,
    /// The FaultPolicy that had to do with it.
    pub(super) fault: Option<Arc<str>>,
    /// Its place among those that the app works on.
    pub(super) permit: Option<Permit>,
}

impl Flight {
    /// A request's head has come.
    pub(super) fn begin(
        proxy: &Arc<Proxy>,
        snapshot: Option<Arc<Snapshot>>,
        request: &http::Request<Incoming>,
        spoken: Spoken,
    ) -> Self {
        let began = proxy.telemetry.clock.now();
        proxy.begun(began);
        let observing = snapshot.as_ref().map(|snapshot| &snapshot.observing);
        let route = observing.and_then(|observing| observing.route(request.uri().path()));
        let rates = observing.and_then(|observing| observing.rates.as_ref());
        let place = Place::find(request.headers(), rates);
        Self {
            proxy: Arc::clone(proxy),
            snapshot,
            began,
            spoken,
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            route,
            client: None,
            caller: None,
            place,
            request_id: None,
            kept: None,
            status: GONE,
            way: Way::Own,
            failed: false,
            told: false,
            reason: None,
            fault: None,
            permit: None,
        }
    }

    /// When the request's head came.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    /// Another revision handed the request over.
    pub(super) fn taken_over(&mut self, purpose: Purpose) {
        let metrics = &self.proxy.telemetry.metrics;
        self.way = match purpose {
            Purpose::Answer | Purpose::Connection => {
                metrics.taken_over.inc();
                Way::TakenOver
            }
            Purpose::Copy => {
                metrics.mirror_taken.inc();
                Way::Copy
            }
        };
    }

    /// The head of an answer has come.
    pub(super) fn answered<B>(&mut self, response: &mut Response<B>) {
        self.status = response.status().as_u16();
        self.note_grpc_status(response.headers());
        self.mark(response.headers_mut());
    }

    /// The trailers of an answer have come.
    fn ended_with(&mut self, trailers: &mut HeaderMap) {
        self.note_grpc_status(trailers);
        self.mark(trailers);
    }

    /// A gRPC call tells its status in trailers, or in the head when it has no message.
    fn note_grpc_status(&mut self, fields: &HeaderMap) {
        if self.spoken == Spoken::Grpc
            && let Some(status) = fields.get("grpc-status")
        {
            self.told = true;
            self.failed |= GRPC_FAILURES.contains(&status.as_bytes());
        }
    }

    /// The answer was passed on to its end.
    fn complete(&mut self) {
        // A stream that ends without a status is UNKNOWN to its caller.
        self.failed |= self.spoken == Spoken::Grpc && self.status == 200 && !self.told;
    }

    /// Counts it where it belongs.
    fn count(&self, took: Duration, trace: Option<u128>) {
        let metrics = &self.proxy.telemetry.metrics;
        match self.way {
            Way::HandedOver => return metrics.handed_over.inc(),
            // Nobody asked for it, so it is in no number of users' requests.
            Way::Copy => return self.count_in_window(took),
            Way::Lost => metrics.hand_over_lost.inc(),
            Way::Own | Way::TakenOver => self.count_in_window(took),
        }
        metrics.served.inc();
        if self.status >= 500 {
            metrics.errors.inc();
        }
        if let Some(snapshot) = &self.snapshot {
            snapshot.metrics.count(self.status, self.spoken);
            if self.spoken != Spoken::WebSocket {
                snapshot.metrics.duration.observe(took.as_secs_f64(), trace);
            }
            if let Some(route) = self.route.as_ref().and_then(|route| route.metrics.as_ref()) {
                route.count(self.status);
                if self.spoken != Spoken::WebSocket {
                    route.duration.observe(took.as_secs_f64(), trace);
                }
            }
        }
    }

    /// Counts it among the requests that this pod answered. What is no fault or merit of its app is left out: requests
    /// that make no sense, and callers that went away.
    fn count_in_window(&self, took: Duration) {
        let senseless = matches!(
            self.reason,
            Some(
                reasons::BAD_REQUEST
                    | reasons::HEAD_TOO_LARGE
                    | reasons::NOT_SUPPORTED
                    | reasons::BODY_TOO_SLOW
                    | reasons::TOKEN_MISSING
                    | reasons::TOKEN_INVALID
                    | reasons::TOKEN_EXPIRED
                    | reasons::BODY_TOO_LARGE
                    | reasons::RATE_LIMITED
                    | reasons::SUSPENDED
                    | reasons::ADDRESS_DENIED
                    | reasons::TLS_REQUIRED
                    | reasons::CALLER_DENIED
            )
        );
        if senseless || self.status == GONE {
            return;
        }
        let took = (self.spoken != Spoken::WebSocket).then_some(took);
        let telemetry = &self.proxy.telemetry;
        let window = if self.way == Way::Copy { &telemetry.mirrored } else { &telemetry.window };
        window.count(self.failed || self.status >= 500, took);
    }

    /// Answers by the sidecar itself.
    pub(super) fn refuse(mut self, status: StatusCode, reason: &'static str) -> Response<AnswerBody> {
        self.status = status.as_u16();
        self.reason = Some(reason);
        self.proxy.telemetry.metrics.answered_by_itself(reason);
        let mut response = refusal(status, reason, self.spoken == Spoken::Grpc);
        self.mark(response.headers_mut());
        response.map(|inner| AnswerBody { inner, lease: None, flight: Some(self) })
    }
}

impl Flight {
    /// Answers a request that is not passed on because of who sent it.
    pub(super) fn deny(self, denied: Denied) -> Response<AnswerBody> {
        let (status, reason) = denied.answer();
        let mut response = self.refuse(status, reason);
        denied.explain(&mut response);
        response
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let telemetry = &self.proxy.telemetry;
        let now = telemetry.clock.now();
        let took = now.saturating_sub(self.began);
        let metrics = &telemetry.metrics;
        metrics.in_flight.dec();
        let kept = self.traced(took, now);
        self.count(took, kept);
        let Some(snapshot) = &self.snapshot else { return };
        if !telemetry.access_log.wants(snapshot.observing.logged, self.failed || self.status >= 500) {
            return;
        }
        let (trace_id, span_id) = self.place.ids();
        let logged = telemetry.access_log.log(Line {
            at: SystemTime::now(),
            took,
            method: self.method.clone(),
            path: shown_path(self.path.as_ref()),
            route: self.route.as_ref().and_then(|route| route.template.clone()),
            status: self.status,
            protocol: self.spoken.as_str(),
            client: self.client,
            caller: self.caller.take(),
            trace_id,
            span_id,
            request_id: self.request_id.take(),
            service: Arc::clone(&snapshot.service),
            revision: snapshot.document.identity.revision,
            colour: snapshot.document.colour.as_str(),
            handed_over: self.way == Way::HandedOver,
            taken_over: self.way == Way::TakenOver,
            mirrored: self.way == Way::Copy,
            reason: self.reason,
            fault: self.fault.take(),
            passed: None,
        });
        if !logged {
            metrics.log_dropped.inc();
        }
    }
}

/// The body of an answer: passed on as it comes, never collected.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: Incoming,
    lease: Option<Lease>,
    flight: Option<Flight>,
}

impl AnswerBody {
    /// The body of an upstream's answer.
    pub(super) fn stream(body: Incoming, lease: Lease, flight: Flight) -> Self {
        Self { inner: body, lease: Some(lease), flight: Some(flight) }
    }

    /// No body; what is counted goes on elsewhere.
    pub(super) fn none() -> Self {
        Self { inner: Incoming::Empty, lease: None, flight: None }
    }

    fn finish(&mut self) {
        self.lease = None;
        if let Some(mut flight) = self.flight.take() {
            flight.complete();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.inner).poll_frame(context);
        match (&mut polled, &mut this.flight) {
            (Poll::Ready(Some(Err(_))), Some(flight)) => flight.failed = true,
            (Poll::Ready(Some(Ok(frame))), Some(flight)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    flight.ended_with(trailers);
                }
            }
            _ => {}
        }
        if matches!(polled, Poll::Ready(None)) {
            this.finish();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // The end of a body of known length is not asked for.
        if self.is_end_stream() {
            self.finish();
        }
    }
}
