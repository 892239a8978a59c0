//! The front of a service: what happens to every request before and after its route. Health, faults, the version header, the
//! choice between gRPC and the web routes, and counting until the last byte of the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use serde_json::json;
use tower::Service;

use crate::faults::{self, Faults};
use crate::logs::trace_ids;
use crate::problem::{Code, Problem, with_fallbacks};
use crate::stop::{Held, Stop};

/// The header that names the version which answered.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-shop-version");

/// gRPC status INTERNAL.
const GRPC_INTERNAL: u8 = 13;
/// gRPC status UNIMPLEMENTED.
const GRPC_UNIMPLEMENTED: u8 = 12;

/// What a service knows about itself while it builds its routes.
#[derive(Clone)]
pub struct Context {
    /// The version that every answer and every message of a stream names.
    pub version: Arc<str>,
    /// The revision, where it is known.
    pub revision: Option<Arc<str>>,
    /// The end of the service: long streams watch it and end themselves.
    pub stop: Stop,
}

/// The routes of a service. Requests of content type `application/grpc` go to `grpc`, all others to `web`.
#[derive(Default)]
pub struct Routes {
    /// HTTP routes, with those that become a WebSocket.
    pub web: Router,
    /// gRPC methods by their path.
    pub grpc: Router,
    /// What else keeps the service from being ready, in words.
    pub ready: Option<Ready>,
}

/// Says why a service is not ready; `None` when it is.
pub type Ready = Arc<dyn Fn() -> Option<Arc<str>> + Send + Sync>;

/// The front of a service. Clones share everything.
#[derive(Clone)]
pub struct Front {
    inner: Arc<Inner>,
}

struct Inner {
    version: HeaderValue,
    faults: Faults,
    stop: Stop,
    own: Router,
    web: Router,
    grpc: Router,
}

/// The version cannot be sent in a header.
#[derive(Debug, thiserror::Error)]
#[error("the version {0:?} cannot be sent in a header: use letters, digits, dots and dashes in SHOP_VERSION")]
pub struct VersionError(pub String);

impl Front {
    /// Puts the front before `routes`.
    pub fn new(context: &Context, faults: Faults, routes: Routes) -> Result<Self, VersionError> {
        let version =
            HeaderValue::from_str(&context.version).map_err(|_| VersionError(context.version.to_string()))?;
        let answer = json!({"version": &*context.version, "revision": context.revision.as_deref()});
        let web = routes.web.route("/version", get(move || std::future::ready(Json(answer.clone()))));
        let inner = Inner {
            version,
            own: with_fallbacks(health(&faults, &context.stop, routes.ready).merge(faults::router(&faults))),
            web: with_fallbacks(web),
            grpc: routes.grpc.fallback(unknown_method),
            stop: context.stop.clone(),
            faults,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let held = self.inner.stop.hold();
        let over_http1 = request.version() < Version::HTTP_2;
        let traceparent = request.headers().get("traceparent").cloned();
        let mut response = self.route(request).await;
        if response.status().is_server_error() {
            log_failure(response.status(), traceparent.as_ref());
        }
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(VERSION_HEADER, self.inner.version.clone());
        if over_http1 && !upgraded && self.inner.stop.has_begun() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Body::new(HeldBody { body, _held: held }))
    }

    async fn route(&self, request: Request<Body>) -> Response {
        if self.is_own(request.uri().path()) {
            return call(&self.inner.own, request).await;
        }
        let grpc = is_grpc(request.headers());
        if self.inner.faults.touch_requests() {
            let fate = self.inner.faults.fate(rand::random());
            if let Some(delay) = fate.delay {
                tokio::time::sleep(delay).await;
            }
            if fate.fails {
                return injected_failure(grpc);
            }
        }
        call(if grpc { &self.inner.grpc } else { &self.inner.web }, request).await
    }

    /// Health and the fault switches: never themselves subject to faults.
    fn is_own(&self, path: &str) -> bool {
        matches!(path, "/healthz" | "/readyz")
            || (self.inner.faults.switchable() && (path == "/faults" || path.starts_with("/faults/")))
    }
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    match router.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Whether a request is gRPC: `application/grpc`, alone or with a format (`+proto`) or a parameter.
fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn health(faults: &Faults, stop: &Stop, ready: Option<Ready>) -> Router {
    let (faults, stop) = (faults.clone(), stop.clone());
    Router::new().route("/healthz", get(async || Json(json!({"status": "ok"})))).route(
        "/readyz",
        get(move || {
            let reason = if faults.not_ready() {
                Some("the fault `not-ready` is on".into())
            } else if stop.has_begun() {
                Some("the service is ending".into())
            } else {
                ready.as_ref().and_then(|ready| ready())
            };
            std::future::ready(match reason {
                Some(reason) => Problem::new(Code::NotReady, reason.to_string()).into_response(),
                None => Json(json!({"status": "ready"})).into_response(),
            })
        }),
    )
}

fn injected_failure(grpc: bool) -> Response {
    let detail = "the fault `error-rate` or `error` is on";
    if grpc {
        grpc_failure(GRPC_INTERNAL, detail)
    } else {
        Problem::new(Code::FaultInjected, detail).into_response()
    }
}

async fn unknown_method() -> Response {
    grpc_failure(GRPC_UNIMPLEMENTED, "no such method")
}

/// An answer of trailers only: status 200 with `grpc-status` in the head (gRPC over HTTP/2). `message` is plain ASCII.
fn grpc_failure(status: u8, message: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(status))),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static(message)),
    ];
    (headers, Body::empty()).into_response()
}

/// At debug only: a failing version under load would otherwise write thousands of lines a second, and the sidecar counts them.
fn log_failure(status: StatusCode, traceparent: Option<&HeaderValue>) {
    let ids = traceparent.and_then(|value| value.to_str().ok()).and_then(trace_ids);
    let (trace_id, span_id) = ids.map_or((None, None), |(trace, span)| (Some(trace), Some(span)));
    tracing::debug!(trace_id, span_id, status = status.as_u16(), "answered with a failure");
}

/// A body that keeps its request counted until its last byte is written or its client is gone.
struct HeldBody {
    body: Body,
    _held: Held,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
