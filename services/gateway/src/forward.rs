//! Sending a request on: to which connection, with which fields, and what becomes of it when the service is away.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use shop_common::{Code, Problem};
use shop_flow::breaker::{Breaker, Outcome, Rules, Ticket};

use crate::client::Http;
use crate::domain::{BACKENDS, Backend, Place, carries_on};
use crate::last_good::{LONGEST, LastGood};
use crate::settings::Urls;
use crate::tunnel;

/// Longest body that is sent on.
const MAX_BODY: usize = 1024 * 1024;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What callers are told to wait when a service is away.
const LATER: Duration = Duration::from_secs(1);

/// The services behind.
pub(crate) struct Backends {
    http: Http,
    each: Vec<Known>,
    last_good: LastGood,
    begun: Instant,
}

struct Known {
    backend: &'static Backend,
    url: String,
    breaker: Mutex<Breaker>,
    rules: Rules,
}

/// A request that the breaker let through; if it is dropped, nobody knows how it ended.
struct Tried<'a> {
    known: &'a Known,
    ticket: Ticket,
    begun: Instant,
    outcome: Outcome,
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        let mut breaker = self.known.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.ended(&self.known.rules, &self.ticket, self.outcome, self.begun.elapsed());
    }
}

impl Backends {
    pub(crate) fn new(http: Http, urls: &Urls) -> Self {
        let known = |backend: &'static Backend| {
            let url = urls.of(backend.name)?.to_owned();
            Some(Known { backend, url, breaker: Mutex::default(), rules: Rules::default() })
        };
        let each = BACKENDS.iter().filter_map(known).collect();
        Self { http, each, last_good: LastGood::default(), begun: Instant::now() }
    }

    /// Whether there is such a service.
    pub(crate) fn has(&self, backend: &Backend) -> bool {
        self.known(backend).is_some()
    }

    /// The names and URLs of all, each URL once.
    pub(crate) fn urls(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let each = self.each.iter().filter(|known| known.backend.name != "prices");
        each.map(|known| (known.backend.name, known.url.as_str()))
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    fn known(&self, backend: &Backend) -> Option<&Known> {
        self.each.iter().find(|known| known.backend == backend)
    }

    /// The service's answer, or what it last answered, or why there is none.
    pub(crate) async fn forward(
        &self,
        request: Request<Body>,
        place: &Place,
        peer: Option<IpAddr>,
        until: Instant,
    ) -> Result<Response, Problem> {
        let kept_as = request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .filter(|_| place.backend.last_good && place.open && request.method() == Method::GET);
        let answered = self.send(request, place, peer, until).await;
        let Some(path) = kept_as else { return answered };
        match answered {
            Ok(response) if response.status() == StatusCode::OK => Ok(self.keep(&path, response).await),
            Ok(response) if !is_away(response.status()) => Ok(response),
            failed => self.last_good.answer(&path).map_or(failed, Ok),
        }
    }

    async fn send(
        &self,
        request: Request<Body>,
        place: &Place,
        peer: Option<IpAddr>,
        until: Instant,
    ) -> Result<Response, Problem> {
        let known = self.known(place.backend).ok_or_else(|| away(place.backend, LATER))?;
        let mut tried = self.admit(known)?;
        let (onward, upgrade) = onward(request, &known.url, &place.path, peer)?;
        let late = || {
            Problem::new(
                Code::DeadlineExceeded,
                "what was asked for may have been done: look before asking again",
            )
        };
        let answered = tokio::time::timeout_at(until.into(), self.http.request(onward)).await;
        let response = match answered {
            Err(_) => {
                tried.outcome = Outcome::Bad;
                return Err(late());
            }
            Ok(Err(error)) => {
                tried.outcome = Outcome::Bad;
                tracing::debug!(service = place.backend.name, %error, "no answer");
                return Err(away(place.backend, LATER));
            }
            Ok(Ok(response)) => response,
        };
        tried.outcome = if response.status().is_server_error() { Outcome::Bad } else { Outcome::Good };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(tunnel::join(upgrade, response));
        }
        let (mut parts, body) = response.into_parts();
        remove_hop_fields(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    fn admit<'a>(&self, known: &'a Known) -> Result<Tried<'a>, Problem> {
        let mut breaker = known.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket =
            breaker.admit(&known.rules, self.begun.elapsed()).map_err(|again| away(known.backend, again))?;
        Ok(Tried { known, ticket, begun: self.begun, outcome: Outcome::Unknown })
    }

    /// Keeps a short answer for when the service is away.
    async fn keep(&self, path: &str, response: Response) -> Response {
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        if !self.last_good.wants(path) || length.is_none_or(|length| length > LONGEST) {
            return response;
        }
        let (parts, body) = response.into_parts();
        match Limited::new(body, LONGEST).collect().await {
            Ok(whole) => {
                let body = whole.to_bytes();
                self.last_good.keep(path, parts.headers.get(header::CONTENT_TYPE), &body);
                Response::from_parts(parts, Body::from(body))
            }
            // The length said otherwise, or the service went away in the middle.
            Err(_) => Response::from_parts(parts, Body::empty()),
        }
    }
}

/// Whether an answer says that the service is away, rather than what was asked for.
fn is_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
        || status == StatusCode::INTERNAL_SERVER_ERROR
}

fn away(backend: &Backend, again: Duration) -> Problem {
    Problem::new(Code::UpstreamUnavailable, format!("{} is not there: come again", backend.name))
        .retry_after(again)
}

/// The request as the service gets it, and what becomes of the connection if it changes its protocol.
fn onward(
    mut request: Request<Body>,
    url: &str,
    path: &str,
    peer: Option<IpAddr>,
) -> Result<(Request<Body>, Option<hyper::upgrade::OnUpgrade>), Problem> {
    let upgrade = tunnel::asked_for(&mut request);
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map_or(String::new(), |query| format!("?{query}"));
    let wrong = |_| Problem::new(Code::InvalidRequest, "the path or query cannot be sent on");
    parts.uri = format!("{url}{path}{query}").parse::<Uri>().map_err(wrong)?;
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    remove_hop_fields(&mut parts.headers);
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::EXPECT);
    if upgrade.is_some() {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(peer) = peer {
        // What a client says of itself is not passed on: only who is connected here.
        let value = HeaderValue::from_str(&peer.to_string());
        value.ok().map(|value| parts.headers.insert(FORWARDED_FOR, value));
    }
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(Problem::new(Code::BodyTooLarge, "send at most 1 MiB"));
    }
    let body =
        if http_body::Body::is_end_stream(&body) { body } else { Body::new(Limited::new(body, MAX_BODY)) };
    Ok((Request::from_parts(parts, body), upgrade))
}

fn remove_hop_fields(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let gone: Vec<HeaderName> = headers.keys().filter(|name| !carries_on(name, &listed)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}
