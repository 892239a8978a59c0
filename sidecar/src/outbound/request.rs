//! One request of the app: which dependency it is for, and its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use shop_contract::{Fallback, headers as names, reasons};

use super::answer::{AnswerBody, Keep, refuse};
use super::call::Call;
use super::context;
use super::dependency::{Dependencies, Dependency};
use super::flight::{Flight, Refusal};
use super::last_good::{self, Good};
use super::{Door, through, tunnel};
use crate::config::Snapshot;
use crate::http1::Incoming;
use crate::inbound::headers;
use crate::upstream::{Answered, Body, Outbound, Wire};

const REQUEST_ID: HeaderName = HeaderName::from_static(names::REQUEST_ID);
const RELEASE: HeaderName = HeaderName::from_static(names::RELEASE);
const REASON: HeaderName = HeaderName::from_static(names::REASON);

/// Answers a request that came to the port of this dependency, or to the one of all.
pub(super) async fn answer(
    door: Arc<Door>,
    port: Option<u16>,
    mut request: Request<hyper::body::Incoming>,
) -> Response<AnswerBody> {
    let Some(snapshot) = door.config.current() else {
        return own(&door, Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reasons::DEPENDENCY_UNREACHABLE));
    };
    if *request.method() == Method::CONNECT {
        return through::connect(&door, request).await;
    }
    let Some(host) = host(&request) else {
        return own(&door, Refusal::new(StatusCode::BAD_REQUEST, reasons::BAD_REQUEST));
    };
    let dependencies = snapshot.dependencies.as_ref();
    let found = match port {
        Some(port) => dependencies.and_then(|all| Some((all, all.at_port(port)?))),
        None => dependencies.and_then(|all| Some((all, all.named(host.to_str().ok()?)?))),
    };
    let upgrade = take_upgrade(&mut request);
    let protocol = upgrade.as_ref().map(|(protocol, _)| protocol.clone());
    let on_upgrade = upgrade.map(|(_, on_upgrade)| on_upgrade);
    if let Some((all, dependency)) = found {
        let host = host_for(dependency, host, port.is_some());
        let prepared = prepare(request, host, protocol.as_ref());
        to_dependency(&door, &snapshot, (all, dependency), prepared, on_upgrade).await
    } else {
        through::send(&door, prepare(request, host, protocol.as_ref()), on_upgrade).await
    }
}

/// An answer of the sidecar itself that belongs to no call.
pub(super) fn own(door: &Door, refusal: Refusal) -> Response<AnswerBody> {
    door.telemetry.metrics.answered_by_itself(refusal.reason);
    refuse(refusal, None, false)
}

/// Whom the request is for: an authority in the request line wins over `Host` (RFC 9112 section 3.2.2).
fn host(request: &Request<hyper::body::Incoming>) -> Option<HeaderValue> {
    let authority = request.uri().authority().map(|authority| HeaderValue::try_from(authority.as_str()));
    match authority {
        Some(authority) => authority.ok(),
        None => request.headers().get(header::HOST).cloned(),
    }
    .filter(|host| !host.is_empty())
}

/// The protocol that an HTTP/1 request wants to change to, and where it gets it.
fn take_upgrade(
    request: &mut Request<hyper::body::Incoming>,
) -> Option<(HeaderValue, hyper::upgrade::OnUpgrade)> {
    let is_http1 = request.version() < Version::HTTP_2;
    let protocol = is_http1.then(|| headers::upgrade(request.headers())).flatten()?;
    Some((protocol, hyper::upgrade::on(request)))
}

/// A host outside is called by its own name; so is a service whose port on 127.0.0.1 was used.
fn host_for(dependency: &Dependency, host: HeaderValue, by_port: bool) -> HeaderValue {
    let rules = &dependency.rules;
    let named = match &rules.host {
        Some(outside) => outside,
        None if by_port => &rules.name,
        None => return host,
    };
    HeaderValue::try_from(named.as_str()).unwrap_or(host)
}

/// A request that is ready to be passed on.
pub(super) struct Prepared {
    pub(super) outbound: Outbound,
    pub(super) wire: Wire,
    is_grpc: bool,
}

fn prepare(
    request: Request<hyper::body::Incoming>,
    host: HeaderValue,
    upgrade: Option<&HeaderValue>,
) -> Prepared {
    let (mut head, body) = request.map(Incoming::Call).into_parts();
    let fields = &mut head.headers;
    let is_grpc = headers::is_grpc(fields);
    let takes_trailers = is_grpc || headers::takes_trailers(fields);
    headers::strip_hop_by_hop(fields);
    if head.version == Version::HTTP_2 {
        headers::join_cookies(fields);
    }
    if let Some(protocol) = upgrade {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, protocol.clone());
    } else if takes_trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // hyper has told the app to go on when its body was first asked for.
    fields.remove(header::EXPECT);
    head.extensions.clear();
    let wire = if is_grpc || head.version == Version::HTTP_2 { Wire::Http2 } else { Wire::Http1 };
    let request = Request::from_parts(head, Body::from(body));
    Prepared { outbound: Outbound { request, host, interim: None }, wire, is_grpc }
}

/// What decides about another answer than the dependency's.
struct Asked {
    path: String,
    is_get: bool,
    is_grpc: bool,
    /// Whether the answer may be one that others got.
    may_keep: bool,
}

impl Asked {
    fn of(dependency: &Dependency, outbound: &Outbound, is_grpc: bool) -> Self {
        let request = &outbound.request;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let fallback = dependency.rules.fallback.as_ref();
        Self {
            is_get: matches!(*request.method(), Method::GET | Method::HEAD),
            is_grpc,
            may_keep: last_good::is_for_all(fallback, request.method(), &path, request.headers()),
            path,
        }
    }
}

async fn to_dependency(
    door: &Arc<Door>,
    snapshot: &Snapshot,
    (all, dependency): (&Dependencies, &Arc<Dependency>),
    prepared: Prepared,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Response<AnswerBody> {
    let Prepared { mut outbound, wire, is_grpc } = prepared;
    let telemetry = &door.telemetry;
    let asked = Asked::of(dependency, &outbound, is_grpc);
    let mut flight = match Flight::begin(dependency, telemetry, is_grpc) {
        Ok(flight) => flight,
        Err(refusal) => {
            telemetry.traces.refused(snapshot.observing.rates.as_ref(), outbound.request.headers());
            return instead(door, dependency, &asked, refusal, None);
        }
    };
    let (deadline, is_inherited) = inherit(door, all, dependency, &mut outbound);
    flight.trace(snapshot, &mut outbound);
    let call = Call { dependency, telemetry, wire, deadline, is_inherited };
    let Answered { mut response, lease, upgraded } = match call.run(outbound).await {
        Ok(answered) => answered,
        Err(refusal) => {
            // Whoever has no patience says nothing about the dependency, and neither does a caller that went away.
            let says_nothing = is_inherited && refusal.status == StatusCode::GATEWAY_TIMEOUT;
            if says_nothing || !refusal.status.is_server_error() {
                flight.given_up(refusal.status);
            } else {
                flight.answered(refusal.status, &http::HeaderMap::new());
            }
            flight.refused(refusal.reason);
            return instead(door, dependency, &asked, refusal, Some(flight));
        }
    };
    flight.answered(response.status(), response.headers());
    flight.note_mark(response.headers_mut());
    if let (Some(far), Some(near)) = (upgraded, upgrade) {
        flight.upgraded();
        tokio::spawn(tunnel::run(near, *far, (flight, lease)));
        return response.map(|_| AnswerBody::none());
    }
    headers::strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::default();
    let failed = matches!(response.status().as_u16(), 502..=504);
    if failed && let Some(mut answer) = fallback_answer(door, dependency, &asked) {
        let reason = reasons::DEPENDENCY_FAILED;
        telemetry.metrics.answered_by_itself(reason);
        answer.headers_mut().insert(REASON, HeaderValue::from_static(reason));
        return answer.map(|body| AnswerBody::own(body, Some(flight)));
    }
    let keep = keep(asked, &response, telemetry.clock.now());
    response.map(|body| AnswerBody::stream(body, lease, Some(flight), keep))
}

/// Begins a copy of an answer that may be wanted again.
fn keep(asked: Asked, response: &Response<Incoming>, now: Duration) -> Option<Keep> {
    let length = http_body::Body::size_hint(response.body()).exact();
    let is_good = asked.may_keep && last_good::is_good(response.status(), response.headers(), length);
    is_good.then(|| {
        let good = Good { fields: response.headers().clone(), body: bytes::Bytes::new(), at: now };
        Keep { path: asked.path, good, read: BytesMut::new() }
    })
}

/// Gives a call what the request has that it is made for. Says until when its answer is worth something, and whether that is less
/// than the dependency's own timeout.
fn inherit(
    door: &Door,
    all: &Dependencies,
    dependency: &Dependency,
    outbound: &mut Outbound,
) -> (Duration, bool) {
    let now = door.telemetry.clock.now();
    let fields = outbound.request.headers_mut();
    let own = context::left(fields).map(|left| now + left);
    let longest = now + Duration::from_millis(dependency.rules.timeout_ms);
    let found = all.traces.find(fields);
    let inherited = found.as_ref().and_then(|found| found.deadline);
    if dependency.is_of_shop() {
        if let Some(found) = found {
            for (name, value) in [(REQUEST_ID, found.request_id), (RELEASE, found.pin)] {
                if let Some(value) = value {
                    fields.entry(name).or_insert(value);
                }
            }
        }
        headers::request_id(fields);
    }
    let given = [own, inherited].into_iter().flatten().min().filter(|given| *given < longest);
    (given.unwrap_or(longest), given.is_some())
}

/// What the app gets in place of an answer.
fn instead(
    door: &Door,
    dependency: &Dependency,
    asked: &Asked,
    refusal: Refusal,
    flight: Option<Flight>,
) -> Response<AnswerBody> {
    door.telemetry.metrics.answered_by_itself(refusal.reason);
    tracing::debug!(dependency = dependency.rules.name, reason = refusal.reason, "call not answered");
    match fallback_answer(door, dependency, asked) {
        Some(answer) => {
            let mut answer = answer.map(|body| AnswerBody::own(body, flight));
            answer.headers_mut().insert(REASON, HeaderValue::from_static(refusal.reason));
            answer
        }
        None => refuse(refusal, flight, asked.is_grpc),
    }
}

/// The answer for when there is none, if the dependency has one for this.
fn fallback_answer(door: &Door, dependency: &Dependency, asked: &Asked) -> Option<Response<bytes::Bytes>> {
    match dependency.rules.fallback.as_ref()? {
        Fallback::Answer { status, content_type, body } if asked.is_get => {
            let mut response = Response::new(bytes::Bytes::from(body.clone()));
            *response.status_mut() = StatusCode::from_u16(*status).ok()?;
            let kind = HeaderValue::try_from(content_type.as_str()).ok()?;
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Some(response)
        }
        Fallback::LastGood { max_age_ms, .. } if asked.may_keep => {
            let now = door.telemetry.clock.now();
            let good =
                dependency.shared.last_good.get(&asked.path, Duration::from_millis(*max_age_ms), now)?;
            let mut response = Response::new(good.body);
            *response.headers_mut() = good.fields;
            let age = now.saturating_sub(good.at).as_secs();
            response.headers_mut().insert(header::AGE, age.into());
            Some(response)
        }
        _ => None,
    }
}
