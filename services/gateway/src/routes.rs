//! A request from its head to the answer's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use shop_common::token::bearer;
use shop_common::{Code, Peer, Problem, Routes};

use crate::documents;
use crate::domain::{Level, Place, ROLES, USER, place, strip};
use crate::forward::Backends;
use crate::limits::Limits;
use crate::trust::{Refused, Trust};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Milliseconds that are left for a request.
const DEADLINE: HeaderName = HeaderName::from_static("x-shop-deadline-ms");
const LONGEST_REQUEST_ID: usize = 64;
/// What callers are told to wait when there is too much to do.
const LATER: Duration = Duration::from_secs(1);

/// What every request may use.
#[derive(Clone)]
pub struct App {
    /// Whose tokens are good; absent: the sidecar knows.
    pub trust: Option<Arc<Trust>>,
    /// Who may ask how often; absent: the sidecar sees to it.
    pub limits: Option<Arc<Limits>>,
    /// The services behind.
    pub(crate) backends: Arc<Backends>,
    /// What is in flight.
    pub(crate) load: Arc<Load>,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// When the gateway began.
    pub(crate) begun: Instant,
    /// The version that the documentation names.
    pub(crate) version: Arc<str>,
}

/// Requests whose answer has not begun.
pub(crate) struct Load {
    in_flight: AtomicUsize,
    most: usize,
}

struct Entered(Arc<Load>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Load {
    pub(crate) fn new(most: usize) -> Self {
        Self { in_flight: AtomicUsize::new(0), most: most.max(1) }
    }

    fn enter(self: &Arc<Self>, level: Level) -> Result<Entered, Problem> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        let entered = Entered(Arc::clone(self));
        if level.takes(before, self.most) {
            return Ok(entered);
        }
        let detail = format!("there is too much to do for what is {}: come again soon", level.as_str());
        Err(Problem::new(Code::Busy, detail).retry_after(LATER))
    }
}

/// Who asks, as services behind are told.
struct Who {
    user: HeaderValue,
    roles: Option<HeaderValue>,
}

/// The routes of the gateway.
pub fn routes(app: App) -> Routes {
    let web = Router::new()
        .route("/api/openapi.json", get(documents::openapi))
        .route("/api/docs", get(documents::page))
        .route("/.well-known/jwks.json", get(published_keys))
        .route("/api/v1/{*rest}", any(handle))
        .with_state(app);
    Routes { web, grpc: Router::new(), ready: None }
}

/// For sidecars and others that verify tokens themselves.
async fn published_keys(State(app): State<App>, request: Request<Body>) -> Response {
    let method = request.method().clone();
    match place(&method, "/api/v1/users/login") {
        Some(user) => {
            let place = Place { path: "/.well-known/jwks.json".to_owned(), open: true, ..user };
            finish(forwarded(&app, request, &place, None).await, None)
        }
        None => Problem::new(Code::RouteNotFound, "there is no user service").into_response(),
    }
}

async fn handle(State(app): State<App>, mut request: Request<Body>) -> Response {
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let answered = answer(&app, request).await;
    finish(answered, Some(id))
}

fn finish(answered: Result<Response, Problem>, id: Option<HeaderValue>) -> Response {
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The steps of a request: where from, where to, who, how often, how much at a time; then it goes on.
async fn answer(app: &App, mut request: Request<Body>) -> Result<Response, Problem> {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    if let Some(limits) = &app.limits {
        limits.address(peer, app.begun.elapsed())?;
    }
    let mut place = place(request.method(), request.uri().path())
        .filter(|place| app.backends.has(place.backend))
        .ok_or_else(|| Problem::new(Code::RouteNotFound, "`GET /api/docs` lists what there is"))?;
    let who = identify(app, request.headers(), &place, peer).await?;
    let user = who.as_ref().and_then(|who| who.user.to_str().ok());
    if let (Some(limits), Some(user)) = (&app.limits, user) {
        limits.user(user, app.begun.elapsed())?;
    }
    if place.me {
        let user = user.filter(|user| user.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        place.path = format!("/users/{}", user.ok_or_else(unauthenticated)?);
    }
    strip(request.headers_mut());
    if let Some(who) = who {
        request.headers_mut().insert(USER, who.user);
        if let Some(roles) = who.roles {
            request.headers_mut().insert(ROLES, roles);
        }
    }
    let _entered = app.load.enter(place.backend.level)?;
    forwarded(app, request, &place, Some(peer)).await
}

/// Who asks. `None`: nobody needs to know.
async fn identify(
    app: &App,
    headers: &HeaderMap,
    place: &Place,
    peer: IpAddr,
) -> Result<Option<Who>, Problem> {
    let Some(trust) = &app.trust else {
        // Only the sidecar of this pod may say who it is.
        if !peer.is_loopback() {
            return Err(Problem::new(Code::NotThroughSidecar, "ask the service, not one of its pods"));
        }
        return match headers.get(USER) {
            Some(user) => Ok(Some(Who { user: user.clone(), roles: headers.get(ROLES).cloned() })),
            None if place.open => Ok(None),
            None => Err(unauthenticated()),
        };
    };
    if place.open {
        return Ok(None);
    }
    let token = bearer(headers).ok_or_else(unauthenticated)?;
    let claims = trust.verify(token).await.map_err(|refused| match refused {
        Refused::NoKeys => {
            Problem::new(Code::UpstreamUnavailable, "the user service has not told its keys yet")
                .retry_after(LATER)
        }
        refused => {
            tracing::debug!(?refused, "refused a token");
            Problem::new(
                Code::Unauthenticated,
                "the token is not good, or not any more: refresh it, or log in",
            )
        }
    })?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| unauthenticated());
    Ok(Some(Who { user: value(&claims.sub)?, roles: Some(value(&claims.roles.join(","))?) }))
}

fn unauthenticated() -> Problem {
    let detail = "log in at `POST /api/v1/users/login`, then send `authorization: Bearer <access_token>`";
    Problem::new(Code::Unauthenticated, detail)
}

/// Sends a request on, with the time that is left for it.
async fn forwarded(
    app: &App,
    mut request: Request<Body>,
    place: &Place,
    peer: Option<IpAddr>,
) -> Result<Response, Problem> {
    let asked = request.headers().get(DEADLINE).and_then(|value| value.to_str().ok()?.parse().ok());
    let left = asked.map_or(app.timeout, |ms| Duration::from_millis(ms).min(app.timeout));
    let until = Instant::now() + left;
    let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    request.headers_mut().insert(DEADLINE, ms.into());
    app.backends.forward(request, place, peer, until).await
}

/// The client's, if it is one; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(|| {
        let mut bytes = [0; 16];
        // Without randomness it is all zeros: an id that tells nothing apart, as there would be none.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let text = format!("{:032x}", u128::from_be_bytes(bytes));
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
    })
}
