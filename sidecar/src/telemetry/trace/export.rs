//! Sends kept spans to a collector, in batches, beside all requests: OTLP over gRPC or over HTTP.
//!
//! When the collector is away the queue fills, and what finds no room is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use shop_contract::{Otlp, Tracing};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Span, otlp};
use crate::config::Config;
use crate::telemetry::Telemetry;

/// Spans that are sent together.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long sending a batch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts at sending a batch; after the last one it is dropped.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// Longest answer of a collector that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Collector {
    address: String,
    uri: Uri,
    protocol: Otlp,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("cannot connect to {0}")]
    Connect(String, #[source] std::io::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    #[error("the answer cannot be read")]
    Answer,
    #[error("no answer for {PATIENCE:?}")]
    Late,
    #[error("refused with status {0}")]
    Status(StatusCode),
    #[error("refused with gRPC status {0}")]
    GrpcStatus(String),
}

impl Collector {
    /// Of a document; `None` for an endpoint that is no URL after all.
    pub fn new(tracing: &Tracing) -> Option<Self> {
        let given: Uri = tracing.endpoint.parse().ok()?;
        let authority = given.authority()?.clone();
        let (port, path) = match tracing.protocol {
            Otlp::Grpc => (4_317, GRPC_PATH),
            Otlp::Http if given.path() == "/" => (4_318, HTTP_PATH),
            Otlp::Http => (4_318, given.path()),
        };
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(port));
        let path = PathAndQuery::try_from(path).ok()?;
        let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build().ok()?;
        Some(Self { address, uri, protocol: tracing.protocol })
    }

    async fn send(&self, message: Vec<u8>) -> Result<(), Unsent> {
        tokio::time::timeout(PATIENCE, self.exchange(message)).await.unwrap_or(Err(Unsent::Late))
    }

    /// A connection for each batch: there is one a second at most, and nothing to look after in between.
    async fn exchange(&self, message: Vec<u8>) -> Result<(), Unsent> {
        let stream = TcpStream::connect(&self.address).await;
        let stream = TokioIo::new(stream.map_err(|error| Unsent::Connect(self.address.clone(), error))?);
        let request = Request::post(self.uri.clone()).header(header::USER_AGENT, "shop-sidecar");
        match self.protocol {
            Otlp::Grpc => {
                let request =
                    request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
                let request = request.body(Full::new(framed(&message))).map_err(|_| Unsent::Answer)?;
                let response = sender.send_request(request).await?;
                grpc_outcome(response).await
            }
            Otlp::Http => {
                let request = request
                    .header(header::CONTENT_TYPE, "application/x-protobuf")
                    .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()));
                let (mut sender, connection) = http1::handshake(stream).await?;
                let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
                let path = self.uri.path().to_owned();
                let mut request = request.body(Full::<Bytes>::from(message)).map_err(|_| Unsent::Answer)?;
                *request.uri_mut() = path.parse().map_err(|_| Unsent::Answer)?;
                let status = sender.send_request(request).await?.status();
                if status.is_success() { Ok(()) } else { Err(Unsent::Status(status)) }
            }
        }
    }
}

/// One message as gRPC frames it: not compressed, and its length.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The status is in the trailers, or in the head of an answer without message.
async fn grpc_outcome(response: http::Response<hyper::body::Incoming>) -> Result<(), Unsent> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Unsent::Status(head.status));
    }
    let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|_| Unsent::Answer)?;
    let status = |fields: &HeaderMap| fields.get("grpc-status").map(|status| status.as_bytes().to_vec());
    match status(&head.headers).or_else(|| body.trailers().and_then(status)) {
        Some(status) if status == b"0" => Ok(()),
        Some(status) => Err(Unsent::GrpcStatus(String::from_utf8_lossy(&status).into_owned())),
        None => Err(Unsent::Answer),
    }
}

/// Sends spans until it is told to stop, and then what is left, once.
#[derive(Debug)]
pub struct Exporter {
    /// What is to be sent.
    pub spans: mpsc::Receiver<Span>,
    /// Told, or dropped, when there will be no more.
    pub stop: oneshot::Receiver<()>,
    /// Who makes the spans.
    pub resource: otlp::Resource,
    /// Says where they go.
    pub config: Arc<Config>,
    /// Counts those that are lost.
    pub telemetry: Arc<Telemetry>,
}

impl Exporter {
    /// Returns when it was told to stop, and has sent what was left.
    pub async fn run(mut self) {
        let mut stopping = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.gather(&mut batch, &mut stopping).await;
            if batch.is_empty() {
                return;
            }
            let (count, message) = (batch.len(), message(&self.resource, batch.drain(..)));
            self.deliver(count, message, &mut stopping).await;
        }
    }

    fn close(&mut self, stopping: &mut bool) {
        *stopping = true;
        self.spans.close();
    }

    /// Waits for a span, and a moment for others. Nothing: there will be no more.
    async fn gather(&mut self, batch: &mut Vec<Span>, stopping: &mut bool) {
        let mut until = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let rest = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = self.spans.recv_many(batch, room) => if received == 0 { return },
                () = rest => return,
                _ = &mut self.stop, if !*stopping => self.close(stopping),
            }
            until = until.or_else(|| Some(Instant::now() + GATHER)).filter(|_| !batch.is_empty());
        }
    }

    /// Sends a batch, with patience as long as there is time.
    async fn deliver(&mut self, count: usize, message: Vec<u8>, stopping: &mut bool) {
        let mut pauses = PAUSES.iter();
        loop {
            let snapshot = self.config.current();
            let collector = snapshot.as_ref().and_then(|snapshot| snapshot.observing.collector.as_ref());
            let Some(collector) = collector else { return self.telemetry.metrics.spans_lost(count) };
            let Err(error) = collector.send(message.clone()).await else { return };
            let Some(pause) = pauses.next().filter(|_| !*stopping) else {
                let error = chain(&error);
                tracing::warn!(
                    error,
                    spans = count,
                    "spans were not sent; is the collector of spec.tracing up?"
                );
                return self.telemetry.metrics.spans_lost(count);
            };
            tokio::select! {
                () = tokio::time::sleep(*pause) => {}
                _ = &mut self.stop => self.close(stopping),
            }
        }
    }
}

/// An error with what it comes from.
fn chain(error: &Unsent) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn message(resource: &otlp::Resource, batch: impl Iterator<Item = Span>) -> Vec<u8> {
    let scope = otlp::Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let spans = batch.map(|span| span.to_otlp()).collect();
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope), spans }];
    let resource_spans = vec![otlp::ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    otlp::ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Who makes this sidecar's spans.
pub fn resource(settings: &crate::Settings) -> otlp::Resource {
    let identity = &settings.identity;
    let mut attributes = vec![
        otlp::text("service.name", identity.service.as_str()),
        otlp::text("service.namespace", identity.namespace.as_str()),
    ];
    if !settings.pod.is_empty() {
        attributes.push(otlp::text("service.instance.id", settings.pod.as_str()));
    }
    otlp::Resource { attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_where_and_how() {
        for (endpoint, protocol, address, uri) in [
            (
                "http://otel",
                Otlp::Grpc,
                "otel:4317",
                "http://otel/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ),
            ("http://otel", Otlp::Http, "otel:4318", "http://otel/v1/traces"),
            ("http://[::1]:9/x/y", Otlp::Http, "[::1]:9", "http://[::1]:9/x/y"),
        ] {
            let tracing = Tracing { endpoint: endpoint.into(), protocol, errors: 0, slow: 0, rest: 0 };
            let collector = Collector::new(&tracing).expect("collector");
            assert_eq!((collector.address.as_str(), collector.uri.to_string().as_str()), (address, uri));
        }
    }
}
