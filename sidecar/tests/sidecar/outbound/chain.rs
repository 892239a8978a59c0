//! Two services, each with its sidecar: what fails in the second one is kept in the first one, whose app makes good for it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use http::Request;
use shop_contract::{Dependency, Otlp};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use shop_sidecar::telemetry::trace::otlp::Span;

use super::pods::{self, Dns};
use super::{knows, outbound};
use crate::support::client::Http1;
use crate::support::collector::{Collector, attribute};
use crate::support::{Keys, Pod, TestApp, document, text};

/// A pod's address in the cluster, which leads to a sidecar.
async fn lead_to(sidecar: SocketAddr) -> (std::net::Ipv4Addr, AbortOnDropHandle<()>) {
    let ip = pods::address();
    let listener = TcpListener::bind((ip, 9_440)).await.expect("listening");
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(sidecar).await.expect("connected");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (ip, AbortOnDropHandle::new(task))
}

/// An app that answers with what it is told by its dependency, as 200. It passes `traceparent` on, and nothing else.
async fn gateway(door: Arc<OnceLock<SocketAddr>>) -> TestApp {
    TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let door = *door.get().expect("known");
        async move {
            let trace = request.headers()["traceparent"].to_str().expect("text").to_owned();
            let mut call = Http1::connect(door).await;
            let path = request.uri().path();
            call.write(&format!("GET {path} HTTP/1.1\r\nhost: inventory\r\ntraceparent: {trace}\r\n\r\n"))
                .await;
            let answer = call.answer().await;
            assert_eq!(answer.headers.get("x-shop-trace"), None, "not the app's to see");
            text(answer.status.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn the_request_is_kept_whose_call_fails() {
    let collector = Collector::start(Otlp::Grpc).await;
    let failing = TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("x-shop-trace"));
        let mut answer = text("no");
        *answer.status_mut() = request.uri().path().trim_start_matches('/').parse().expect("status");
        answer
    })
    .await;
    let keys = Keys::new();
    let mut second = document(8, failing.port, &keys);
    second.telemetry = Some(collector.tracing(Otlp::Grpc, 10_000, 0));
    let inventory = Pod::with(second, &keys).await;
    let (dns, (ip, _relay)) = (Dns::start().await, lead_to(inventory.sidecar.inbound).await);
    dns.set("inventory-pods.shop.svc", &[ip]);
    let door = Arc::new(OnceLock::new());
    let app = gateway(Arc::clone(&door)).await;
    let mut first = document(7, app.port, &keys);
    first.telemetry = Some(collector.tracing(Otlp::Grpc, 10_000, 0));
    first.depends_on = vec![Dependency::new("inventory")];
    let gate = Pod::asking(first, &keys, Some(dns.address)).await;
    door.set(outbound(&gate)).expect("once");
    knows(&gate, "inventory", 1).await;

    let mut user = Http1::connect(gate.sidecar.inbound).await;
    for status in ["200", "500", "200"] {
        let answer = user.get(&format!("/{status}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, status));
        assert_eq!(answer.headers.get("x-shop-trace"), None);
    }
    let spans = collector.spans(3).await;
    let of = |revision: &str, kind: i32| {
        let fits =
            |span: &Span| attribute(span, "shop.revision").as_deref() == Some(revision) && span.kind == kind;
        spans.iter().map(|(_, span)| span).find(|span| fits(span)).expect("it is kept")
    };
    let (cause, call, root) = (of("8", 2), of("7", 3), of("7", 2));
    assert_eq!((&cause.trace_id, &cause.parent_span_id), (&call.trace_id, &call.span_id));
    assert_eq!((&call.trace_id, &call.parent_span_id), (&root.trace_id, &root.span_id));
    assert_eq!(attribute(call, "server.address").as_deref(), Some("inventory"));
    let kept = [cause, call, root].map(|span| attribute(span, "shop.kept"));
    assert_eq!(kept.map(Option::unwrap_or_default), ["error", "chain", "chain"]);
    assert_eq!(attribute(root, "http.response.status_code").as_deref(), Some("200"));
    assert!(root.parent_span_id.is_empty() && root.status.is_none());
}
