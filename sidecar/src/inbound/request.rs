//! One request: checked, routed, passed on, and its answer passed back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use shop_contract::headers::{HANDOVER, MIRROR};
use shop_contract::{Protocol, Role, reasons};
use shop_flow::http1::host;

use super::answer::{AnswerBody, Flight, Way};
use super::sender::{self, Peer, Sender};
use super::tunnel::Ends;
use super::{Proxy, fault, headers};
use crate::auth;
use crate::config::Snapshot;
use crate::handover::{self, Behalf, Purpose};
use crate::http1::{Incoming, Interim};
use crate::limits::{Asked, Refusal};
use crate::telemetry::metrics::Spoken;
use crate::telemetry::trace;
use crate::tls::callers::{self, Caller as Service};
use crate::upstream::{Answered, Body, Failure, Outbound, Unanswered, Wire};

const HANDOVER_NAME: HeaderName = HeaderName::from_static(HANDOVER);
const MIRROR_NAME: HeaderName = HeaderName::from_static(MIRROR);

/// How long a request that the other revision must answer waits for one of its addresses.
pub(super) const HAND_OFF_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts at that.
pub(super) const HAND_OFF_PAUSE: Duration = Duration::from_millis(50);

/// An answer on its way to the caller.
pub(super) struct Answer {
    pub(super) response: Response<AnswerBody>,
    /// What follows the answer's head, when that changes the protocol.
    pub(super) tunnel: Option<Box<Ends>>,
    /// It is not sent: the connection ends, of HTTP/2 the stream.
    pub(super) is_dropped: bool,
}

impl From<Response<AnswerBody>> for Answer {
    fn from(response: Response<AnswerBody>) -> Self {
        Self { response, tunnel: None, is_dropped: false }
    }
}

/// Answers what is no request.
pub(super) fn refuse(proxy: &Arc<Proxy>, status: StatusCode, reason: &'static str) -> Response<AnswerBody> {
    let request = Request::new(Incoming::Empty);
    Flight::begin(proxy, proxy.config.current(), &request, Spoken::Http1).refuse(status, reason)
}

/// Answers a request. Interim answers go to `interim` meanwhile.
pub(super) async fn answer(
    proxy: Arc<Proxy>,
    peer: Peer,
    request: Request<Incoming>,
    interim: Option<Interim>,
) -> Answer {
    let snapshot = proxy.config.current();
    let is_http1 = request.version() < Version::HTTP_2;
    // HTTP/2 has no such fields: there they were put in for a WebSocket.
    let upgrade = headers::upgrade(request.headers());
    let spoken = spoken(&request, upgrade.is_some());
    let flight = Flight::begin(&proxy, snapshot.clone(), &request, spoken);
    // A caller that connects again reaches the revision that is active now, without the step over this one.
    let is_retiring = snapshot.as_ref().is_some_and(|snapshot| snapshot.document.role == Role::Retiring);
    let is_answerable = check(&request);
    let mut answer: Answer = match (is_answerable, snapshot) {
        (Err((status, reason)), _) => {
            let mut response = flight.refuse(status, reason);
            if is_http1 {
                // What follows on a doubtful request cannot be trusted to be a request.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response.into()
        }
        (Ok(_), None) => flight.refuse(StatusCode::SERVICE_UNAVAILABLE, reasons::APP_UNREACHABLE).into(),
        (Ok(host), Some(snapshot)) => {
            let caller = Caller { peer, host, upgrade, interim };
            pass_on(&proxy, &snapshot, request, caller, flight).await
        }
    };
    let leave = is_retiring || proxy.drain.is_draining();
    if is_http1 && leave && answer.tunnel.is_none() {
        answer.response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// What is known of the caller's wish beside the request itself.
struct Caller {
    peer: Peer,
    host: HeaderValue,
    upgrade: Option<HeaderValue>,
    interim: Option<Interim>,
}

fn spoken(request: &Request<Incoming>, upgrades: bool) -> Spoken {
    if upgrades {
        Spoken::WebSocket
    } else if headers::is_grpc(request.headers()) {
        Spoken::Grpc
    } else if request.version() < Version::HTTP_2 {
        Spoken::Http1
    } else {
        Spoken::Http2
    }
}

/// Checks a request's head; answers whom the caller asked for. An authority in the request line wins over `Host`
/// (RFC 9112 section 3.2.2).
fn check(request: &Request<Incoming>) -> Result<HeaderValue, (StatusCode, &'static str)> {
    const BAD: (StatusCode, &str) = (StatusCode::BAD_REQUEST, reasons::BAD_REQUEST);
    if *request.method() == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, reasons::NOT_SUPPORTED));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(BAD);
    }
    if let Some(authority) = request.uri().authority() {
        // By HTTP/2 they must be the same (RFC 9113 section 8.3.1).
        let differs =
            |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
        if request.version() == Version::HTTP_2 && host.is_some_and(differs) {
            return Err(BAD);
        }
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| BAD)?;
        return if host::is_valid(host.as_bytes()) { Ok(host) } else { Err(BAD) };
    }
    match host {
        Some(host) if host::is_valid(host.as_bytes()) => Ok(host.clone()),
        // Only HTTP/1.0 does without.
        None if request.version() == Version::HTTP_10 => Ok(HeaderValue::from_static("localhost")),
        _ => Err(BAD),
    }
}

async fn pass_on(
    proxy: &Arc<Proxy>,
    snapshot: &Arc<Snapshot>,
    mut request: Request<Incoming>,
    caller: Caller,
    mut flight: Flight,
) -> Answer {
    if caller.upgrade.is_some() && snapshot.document.app.protocol == Protocol::Grpc {
        return flight.refuse(StatusCode::NOT_IMPLEMENTED, reasons::NOT_SUPPORTED).into();
    }
    if let Err((status, reason)) =
        headers::spend_max_forwards(&request.method().clone(), request.headers_mut())
    {
        return answer_here(flight, status, reason).into();
    }
    let is_http2 = request.version() == Version::HTTP_2;
    let is_grpc = flight.spoken == Spoken::Grpc;
    let (mut outbound, sender) = prepare(snapshot, request, &caller, &mut flight);
    let shown = sender.shown(&caller.peer);
    if let Err(reason) = callers::step(snapshot.callers.as_ref(), shown, outbound.request.headers_mut()) {
        return flight.refuse(StatusCode::FORBIDDEN, reason).into();
    }
    let (gate, from) = (snapshot.auth.as_ref(), sender.from.as_ref());
    let was_handed_over = from.is_some();
    let (spoken, began) = (flight.spoken, flight.began());
    let unknown = Asked { client: sender.client, user: None, was_handed_over, spoken, began };
    let screened = match snapshot.limits.screen(&outbound.request, unknown) {
        Ok(screened) => screened,
        Err(refusal) => return turn_away(flight, &refusal),
    };
    let user = match auth::step(gate, &mut outbound.request, from, &proxy.telemetry).await {
        Ok(user) => user,
        Err(denied) => return flight.deny(denied).into(),
    };
    let behalf = Behalf { client: sender.client, user: user.as_deref(), caller: sender.caller(&caller.peer) };
    let local_wire =
        if is_grpc || snapshot.document.app.protocol == Protocol::Grpc { Wire::Http2 } else { Wire::Http1 };
    let far_wire = if is_http2 && caller.upgrade.is_none() { Wire::Http2 } else { Wire::Http1 };
    let asked = Asked { user: behalf.user_id().map(auth::UserId::as_str), ..unknown };
    let admission = match snapshot.limits.check(&mut outbound.request, asked, screened) {
        Ok(admission) => admission,
        Err(refusal) => return turn_away(flight, &refusal),
    };
    let hand_over = !was_handed_over
        && snapshot.hand_off.as_ref().is_some_and(|route| {
            route.choice.takes(outbound.request.headers(), behalf.client, behalf.user_id())
        });
    if !hand_over {
        match snapshot.limits.enter(&outbound.request, &admission).await {
            Ok(permit) => flight.permit = permit,
            Err(refusal) => return turn_away(flight, &refusal),
        }
    }
    admission.pass_on(outbound.request.headers_mut(), proxy.telemetry.clock);
    if !hand_over && !was_handed_over {
        mirror(proxy, snapshot, &mut outbound, far_wire, behalf, flight.spoken);
    }
    if let Some(faults) = snapshot.faults.as_ref().filter(|_| !hand_over) {
        match fault::step(faults, &outbound.request, &admission, &mut flight).await {
            None => {}
            Some(fault::Instead::Late(refusal)) => return turn_away(flight, &refusal),
            Some(fault::Instead::End(end)) => return fault::end(flight, end),
        }
    }
    remember(proxy, snapshot, &outbound, &mut flight);
    let sent = {
        let sent = pin!(async {
            if hand_over {
                hand_off(proxy, snapshot, outbound, far_wire, local_wire, behalf, &mut flight).await
            } else {
                snapshot.local.send(outbound, local_wire).await
            }
        });
        admission.wait(proxy.telemetry.clock, sent).await
    };
    let sent = match sent {
        Ok(sent) => sent,
        Err(refusal) => return turn_away(flight, &refusal),
    };
    match sent {
        Ok(Answered { mut response, lease, upgraded }) => {
            flight.answered(&mut response);
            if let Some(app) = upgraded {
                // A socket may be idle for hours: how many there are is what `maxConnections` says.
                flight.permit = None;
                let is_websocket =
                    caller.upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
                let tunnel = Some(Box::new(Ends { app, is_websocket, flight, lease }));
                let response = response.map(|_| AnswerBody::none());
                return Answer { tunnel, ..response.into() };
            }
            headers::strip_hop_by_hop(response.headers_mut());
            admission.tell(response.headers_mut());
            let received = response.version();
            headers::add_via(response.headers_mut(), received);
            *response.version_mut() = Version::default();
            response.map(|body| AnswerBody::stream(body, lease, flight)).into()
        }
        Err(Unanswered { failure, .. }) => {
            let (status, reason) = no_answer(failure);
            flight.refuse(status, reason).into()
        }
    }
}

/// Answers in the place of an app that is too far away.
fn answer_here(flight: Flight, status: StatusCode, reason: &'static str) -> Response<AnswerBody> {
    let mut response = flight.refuse(status, reason);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("OPTIONS"));
    }
    response
}

/// What is told to a caller whose request nobody answered.
fn no_answer(failure: Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Connect => (StatusCode::SERVICE_UNAVAILABLE, reasons::APP_UNREACHABLE),
        Failure::Reset => (StatusCode::BAD_GATEWAY, reasons::APP_RESET),
        Failure::Bad => (StatusCode::BAD_GATEWAY, reasons::BAD_ANSWER),
        Failure::Caller => (StatusCode::BAD_REQUEST, reasons::BAD_REQUEST),
        Failure::Slow => (StatusCode::REQUEST_TIMEOUT, reasons::BODY_TOO_SLOW),
        Failure::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, reasons::BODY_TOO_LARGE),
    }
}

/// Keeps what the app's own calls for this request are to have from it, if it makes any.
fn remember(proxy: &Proxy, snapshot: &Snapshot, outbound: &Outbound, flight: &mut Flight) {
    if let Some(dependencies) = &snapshot.dependencies {
        flight.kept = dependencies.traces.keep(outbound.request.headers(), proxy.telemetry.clock.now());
    }
}

/// Answers what is not let in.
fn turn_away(flight: Flight, refusal: &Refusal) -> Answer {
    let mut response = flight.refuse(refusal.status, refusal.reason);
    refusal.tell(response.headers_mut());
    response.into()
}

/// Begins a copy of a request for another revision, if it is one to copy. Calls and upgraded connections are not: nobody
/// can tell what they change.
fn mirror(
    proxy: &Proxy,
    snapshot: &Snapshot,
    outbound: &mut Outbound,
    wire: Wire,
    behalf: Behalf<'_>,
    spoken: Spoken,
) {
    let Some(mirror) = &snapshot.mirror else { return };
    if matches!(spoken, Spoken::Http1 | Spoken::Http2) && mirror.takes(outbound.request.method()) {
        let to = mirror.targets.to_revision;
        let seal = handover::seal(&snapshot.keys, &snapshot.document.identity, to, behalf, Purpose::Copy);
        mirror.copy(outbound, seal, wire, &proxy.telemetry);
    }
}

/// Makes the request one that can be passed on. Says who sent it.
fn prepare(
    snapshot: &Snapshot,
    request: Request<Incoming>,
    caller: &Caller,
    flight: &mut Flight,
) -> (Outbound, Sender) {
    let (mut head, body) = request.into_parts();
    let fields = &mut head.headers;
    let takes_trailers = headers::takes_trailers(fields) || flight.spoken == Spoken::Grpc;
    headers::strip_hop_by_hop(fields);
    if head.version == Version::HTTP_2 {
        headers::join_cookies(fields);
    }
    let sender = sender::identify(snapshot, &caller.peer, &caller.host, fields);
    flight.client = Some(sender.client);
    flight.caller = sender.caller(&caller.peer).map(Service::field);
    if let Some(from) = &sender.from {
        flight.taken_over(from.purpose);
    }
    // Only a copy under a MAC may say that it is one: the app may do less for it.
    if sender.from.as_ref().is_none_or(|from| from.purpose != Purpose::Copy) {
        fields.remove(MIRROR_NAME);
    }
    headers::add_via(fields, head.version);
    flight.request_id = Some(headers::request_id(fields));
    flight.place.pass_on(fields);
    if let Some(protocol) = &caller.upgrade {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, protocol.clone());
    } else if takes_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    head.extensions.clear();
    let request = Request::from_parts(head, Body::from(body));
    let outbound = Outbound { request, host: caller.host.clone(), interim: caller.interim.clone() };
    (outbound, sender)
}

/// Hands a request to the other revision. If none of its addresses takes it: before the switch it is answered here, after
/// it the addresses are tried for a moment more, by the newest document and endpoints.
async fn hand_off(
    proxy: &Proxy,
    snapshot: &Arc<Snapshot>,
    mut outbound: Outbound,
    far_wire: Wire,
    local_wire: Wire,
    behalf: Behalf<'_>,
    flight: &mut Flight,
) -> Result<Answered, Unanswered> {
    let deadline = proxy.telemetry.clock.now() + HAND_OFF_PATIENCE;
    let mut newest = Arc::clone(snapshot);
    // An abort in the meantime takes the route away: then the request is answered here.
    while let Some(route) = &newest.hand_off {
        let (identity, to) = (&newest.document.identity, route.targets.to_revision);
        let seal = handover::seal(&newest.keys, identity, to, behalf, Purpose::Answer);
        outbound.request.headers_mut().insert(HANDOVER_NAME, seal);
        if flight.place.is_on() {
            trace::ask(outbound.request.headers_mut());
        }
        let telemetry = &proxy.telemetry;
        let failures = &telemetry.metrics.hand_off_failures;
        let unanswered = match route.targets.send(outbound, far_wire, telemetry, Some(failures)).await {
            Ok(answered) => {
                flight.way = Way::HandedOver;
                return Ok(answered);
            }
            Err(unanswered) => unanswered,
        };
        let Some(unsent) = unanswered.unsent else {
            if !unanswered.failure.is_callers() {
                flight.way = Way::Lost;
            }
            return Err(unanswered);
        };
        if !route.may_serve_locally && proxy.telemetry.clock.now() >= deadline {
            flight.way = Way::Lost;
            return Err(Unanswered { unsent: None, ..unanswered });
        }
        outbound = *unsent;
        if route.may_serve_locally {
            break;
        }
        tokio::time::sleep(HAND_OFF_PAUSE).await;
        newest = proxy.config.current().unwrap_or(newest);
    }
    outbound.request.headers_mut().remove(HANDOVER_NAME);
    trace::ask_no_more(outbound.request.headers_mut());
    newest.local.send(outbound, local_wire).await
}
