//! The admin port: probes, metrics, statistics, role, the app's preStop hook, and pushes.
//!
//! It is open to the network and trusts no header. Everything but a signed push only reads.

mod readiness;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use shop_contract::{Role, SIGNATURE_HEADER, Stats, paths};
use shop_flow::drain::Outcome;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::{Config, Snapshot};
use crate::drain::DrainControl;
use crate::inbound::Proxy;
use crate::limits::peers;
use crate::outbound::dependency::Dependencies;
use crate::telemetry::Telemetry;
use crate::tls::callers::Callers;

/// Connections at once: the kubelet, a monitoring system, the operator, and the app's long poll for its role.
const CONNECTIONS: usize = 256;
/// How long a head may take, and an idle connection stays open.
const HEAD: Duration = Duration::from_secs(30);
/// How long a push's body may take.
const BODY: Duration = Duration::from_secs(5);
/// Longest push.
const MAX_PUSH: usize = 1024 * 1024;
/// How long a long poll for the role waits.
const ROLE_POLL: Duration = Duration::from_secs(30);

/// The format of metrics that has exemplars.
const OPEN_METRICS: &str = "application/openmetrics-text";

type Answer = Response<Full<Bytes>>;

/// What the admin port shows.
#[derive(Debug)]
pub struct Admin {
    /// What the sidecar is told.
    pub config: Arc<Config>,
    /// Whether the pod stops.
    pub drain: Arc<DrainControl>,
    /// The inbound side.
    pub proxy: Arc<Proxy>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
}

/// Answer of `GET /role`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoleAnswer {
    role: Role,
    revision: i64,
    role_epoch: i64,
}

/// Accepts connections; never returns.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!("more than {CONNECTIONS} connections to the admin port");
            continue;
        };
        let _ = stream.set_nodelay(true);
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(16 * 1024);
            // A client's broken connection is its own affair.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, paths::CONFIG) => self.push(request).await,
            (&Method::GET | &Method::HEAD, paths::METRICS) => self.metrics(request.headers()),
            (&Method::POST, paths::SUSPEND) => self.suspend(request).await,
            (&Method::GET | &Method::HEAD, path) => self.read(path, request.uri().query()).await,
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        }
    }

    async fn read(&self, path: &str, query: Option<&str>) -> Answer {
        match path {
            paths::LIVE => text(StatusCode::OK, "ok\n"),
            paths::READY => match self.ready().await {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            paths::STATS => json(StatusCode::OK, &self.stats()),
            paths::ROLE => self.role(query).await,
            paths::DRAIN => match self.drain.hook().await {
                Outcome::Idle => text(StatusCode::OK, "drained\n"),
                Outcome::Deadline => text(StatusCode::OK, "drain took as long as it may\n"),
                Outcome::NoDrain => text(StatusCode::OK, "no drain\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// In the format with exemplars for those that read it.
    fn metrics(&self, fields: &HeaderMap) -> Answer {
        let accepted = fields.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let metrics = &self.telemetry.metrics;
        if accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with(OPEN_METRICS)) {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            return with_type(StatusCode::OK, metrics.render_open().into(), kind);
        }
        with_type(StatusCode::OK, metrics.render().into(), "text/plain; version=0.0.4")
    }

    /// Whether app and sidecar can serve.
    async fn ready(&self) -> Result<(), &'static str> {
        if self.drain.is_draining() {
            return Err("draining\n");
        }
        let Some(snapshot) = self.config.current() else {
            return Err("no document accepted yet\n");
        };
        if snapshot.callers.as_ref().is_some_and(Callers::asks_for_tls) && self.config.identity().is_none() {
            return Err("no certificate in the mounted Secret yet, and auth.mtls.mode is strict\n");
        }
        if readiness::check(&snapshot.document.app).await { Ok(()) } else { Err("the app is not ready\n") }
    }

    fn stats(&self) -> Stats {
        let metrics = &self.telemetry.metrics;
        let count = |counter: &prometheus::IntCounter| i64::try_from(counter.get()).unwrap_or(i64::MAX);
        let snapshot = self.config.current();
        let dependencies = snapshot.as_ref().and_then(|snapshot| snapshot.dependencies.as_ref());
        Stats {
            revision: snapshot.as_ref().map_or(0, |snapshot| snapshot.document.identity.revision),
            connections: metrics.connections.get(),
            upgraded: metrics.upgraded.get(),
            in_flight: metrics.in_flight.get(),
            served: count(&metrics.served),
            handed_over: count(&metrics.handed_over),
            taken_over: count(&metrics.taken_over),
            errors: count(&metrics.errors),
            idle_ms: self.proxy.idle_for().map(|idle| i64::try_from(idle.as_millis()).unwrap_or(i64::MAX)),
            draining: self.drain.is_draining(),
            lost: count(&metrics.hand_over_lost),
            window: Some(self.telemetry.window.read()),
            mirrored: Some(self.telemetry.mirrored.read()),
            dependencies: dependencies.map(Dependencies::calls).unwrap_or_default(),
            certificate: self.config.certificate(),
        }
    }

    /// The role at once, or with `?epoch=N` as soon as the role's epoch is another one.
    async fn role(&self, query: Option<&str>) -> Answer {
        let known: Option<i64> = query
            .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("epoch=")))
            .and_then(|epoch| epoch.parse().ok());
        let mut changes = self.config.subscribe();
        let is_new = |snapshot: &Snapshot| known.is_none_or(|known| snapshot.document.role_epoch != known);
        let until_new = async {
            while !self.config.current().is_some_and(|snapshot| is_new(&snapshot)) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if known.is_some() {
            // Without a change the old role is a good answer: the app asks again.
            let _ = tokio::time::timeout(ROLE_POLL, until_new).await;
        }
        match self.config.current() {
            Some(snapshot) => {
                let document = &snapshot.document;
                let revision = document.identity.revision;
                json(
                    StatusCode::OK,
                    &RoleAnswer { role: document.role, revision, role_epoch: document.role_epoch },
                )
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, "no document accepted yet\n"),
        }
    }

    /// Takes what another pod tells of suspensions.
    async fn suspend(&self, request: Request<Incoming>) -> Answer {
        let mac = request.headers().get(peers::MAC_HEADER).cloned();
        let body = Limited::new(request.into_body(), peers::MAX_MESSAGE).collect();
        let told = match tokio::time::timeout(BODY, body).await {
            Ok(Ok(body)) => self.config.suspend(mac.as_ref(), &body.to_bytes()),
            _ => false,
        };
        if told {
            text(StatusCode::NO_CONTENT, "")
        } else {
            text(StatusCode::BAD_REQUEST, "no message of a pod of this service\n")
        }
    }

    async fn push(&self, request: Request<Incoming>) -> Answer {
        let signature = request.headers().get(SIGNATURE_HEADER).cloned();
        let body = Limited::new(request.into_body(), MAX_PUSH).collect();
        let bytes = match tokio::time::timeout(BODY, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return text(StatusCode::PAYLOAD_TOO_LARGE, "a push is at most 1 MiB\n"),
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body must come within 5 s\n"),
        };
        let config = Arc::clone(&self.config);
        // Accepting writes a file.
        let pushed = tokio::task::spawn_blocking(move || {
            config.push(&bytes, signature.as_ref().map(HeaderValue::as_bytes))
        });
        match pushed.await {
            Ok(Ok(acknowledgement)) => json(StatusCode::OK, &acknowledgement),
            Ok(Err(refused)) => {
                let (refusal, acknowledgement) = *refused;
                let status =
                    if refusal.is_malformed() { StatusCode::BAD_REQUEST } else { StatusCode::CONFLICT };
                json(status, &acknowledgement)
            }
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the push could not be handled; look at the sidecar's log\n",
            ),
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    with_type(status, Bytes::from_static(body.as_bytes()), "text/plain")
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Answer {
    let body = serde_json::to_vec(body).expect("plain data has only string keys and finite numbers");
    with_type(status, body.into(), "application/json")
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
