//! A collector of spans: OTLP over gRPC or over HTTP.
#![allow(clippy::indexing_slicing, reason = "a message that is malformed fails the test")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use shop_contract::{Otlp, Telemetry, Tracing};
use shop_sidecar::telemetry::trace::otlp::{ExportTraceServiceRequest, Span, Value};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{AnyBody, until};

/// Keeps every span that it gets.
pub struct Collector {
    pub port: u16,
    seen: Arc<Mutex<Vec<(String, Span)>>>,
    /// All bytes that came, for what must not be among them.
    bytes: Arc<Mutex<Vec<u8>>>,
    _task: AbortOnDropHandle<()>,
}

impl Collector {
    pub async fn start(protocol: Otlp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let port = listener.local_addr().expect("address").port();
        let (seen, bytes) = (Arc::default(), Arc::default());
        let kept: (Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<u8>>>) = (Arc::clone(&seen), Arc::clone(&bytes));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let kept = kept.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = kept.clone();
                    async move { Ok::<_, Infallible>(take(request, &kept.0, &kept.1).await) }
                });
                let stream = TokioIo::new(stream);
                tokio::spawn(async move {
                    let _ = match protocol {
                        Otlp::Grpc => {
                            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            server.serve_connection(stream, service).await
                        }
                        Otlp::Http => {
                            hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await
                        }
                    };
                });
            }
        });
        Self { port, seen, bytes, _task: AbortOnDropHandle::new(task) }
    }

    /// What a document says to send spans here.
    pub fn tracing(&self, protocol: Otlp, errors: u32, rest: u32) -> Telemetry {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let tracing = Tracing { endpoint, protocol, errors, slow: 0, rest };
        Telemetry { tracing: Some(tracing), ..Telemetry::default() }
    }

    /// The spans that came, with the service that made them, as soon as there are so many.
    pub async fn spans(&self, count: usize) -> Vec<(String, Span)> {
        until("the spans have come", async || self.seen.lock().expect("lock").len() >= count).await;
        let seen = self.seen.lock().expect("lock").clone();
        assert_eq!(seen.len(), count, "{seen:?}");
        seen
    }

    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("lock")).into_owned()
    }
}

/// An attribute of a span as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
    })
}

pub fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

async fn take(
    request: Request<Incoming>,
    seen: &Mutex<Vec<(String, Span)>>,
    bytes: &Mutex<Vec<u8>>,
) -> Response<AnyBody> {
    let path = request.uri().path().to_owned();
    let kind = request.headers()["content-type"].to_str().expect("text").to_owned();
    let body = request.into_body().collect().await.expect("body").to_bytes();
    bytes.lock().expect("lock").extend_from_slice(&body);
    let is_grpc = kind == "application/grpc";
    let (expected, message) = if is_grpc {
        let length = u32::from_be_bytes(body[1..5].try_into().expect("length"));
        assert_eq!((body[0], length as usize), (0, body.len() - 5));
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", body.slice(5..))
    } else {
        assert_eq!(kind, "application/x-protobuf");
        ("/v1/traces", body)
    };
    if path != expected {
        let mut answer = Response::new(super::empty());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        return answer;
    }
    let message = ExportTraceServiceRequest::decode(message).expect("a message");
    for of_one in message.resource_spans {
        let resource = of_one.resource.expect("a resource");
        let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
        let name = match name.and_then(|name| name.value.clone()?.value) {
            Some(Value::Text(name)) => name,
            other => format!("{other:?}"),
        };
        let spans = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
        seen.lock().expect("lock").extend(spans.map(|span| (name.clone(), span)));
    }
    if !is_grpc {
        return Response::new(Full::default().boxed_unsync());
    }
    let status =
        HeaderMap::from_iter([("grpc-status".parse().expect("name"), HeaderValue::from_static("0"))]);
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(status))];
    Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
}
