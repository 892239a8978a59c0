//! Spans, from a request to the collector.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use shop_contract::{Document, Otlp, Protocol, Push, Telemetry};
use tokio::sync::mpsc;

use crate::support::client::{Http1, Http2};
use crate::support::collector::{Collector, attribute, hex};
use crate::support::{self, AnyBody, Keys, Pod, TestApp, document, text, to, within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Answers with the status in the path, and tells what it was asked.
async fn app() -> (TestApp, mpsc::UnboundedReceiver<HeaderMap>) {
    let (told, asked) = mpsc::unbounded_channel();
    let app = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let told = told.clone();
        async move {
            told.send(request.headers().clone()).expect("told");
            let mut answer = text("answer");
            let status = request.uri().path().rsplit('/').next().and_then(|status| status.parse().ok());
            *answer.status_mut() = status.unwrap_or(http::StatusCode::OK);
            answer
        }
    })
    .await;
    (app, asked)
}

fn traced(revision: i64, port: u16, keys: &Keys, telemetry: Telemetry) -> Document {
    Document { telemetry: Some(telemetry), ..document(revision, port, keys) }
}

async fn get(caller: &mut Http1, path: &str, fields: &str) -> support::client::Answer {
    caller.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n{fields}\r\n")).await;
    caller.answer().await
}

fn traceparent(fields: &HeaderMap) -> (String, String) {
    let value = fields["traceparent"].to_str().expect("text");
    (value[3..35].to_owned(), value[36..52].to_owned())
}

#[tokio::test]
async fn a_failed_request_is_a_span_with_what_came_by_any_format() {
    for protocol in [Otlp::Grpc, Otlp::Http] {
        let (keys, collector, (app, mut asked)) =
            (Keys::new(), Collector::start(protocol).await, app().await);
        let mut telemetry = collector.tracing(protocol, 10_000, 0);
        telemetry.routes = vec!["/orders/{id}".into()];
        let pod = Pod::with(traced(7, app.port, &keys, telemetry), &keys).await;
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        let fields = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\n");
        assert_eq!(get(&mut caller, "/orders/503?token=secret", &fields).await.status, 503);
        let asked_of_app = asked.recv().await.expect("asked");
        assert_eq!(asked_of_app["tracestate"], "vendor=1");
        assert_eq!(get(&mut caller, "/500", &format!("b3: {TRACE}-{PARENT}-1\r\n")).await.status, 500);
        // Neither is kept.
        assert_eq!(get(&mut caller, "/200", &fields).await.status, 200);
        assert_eq!(get(&mut caller, "/404", "").await.status, 404);

        let spans = collector.spans(2).await;
        let (_, span) = &spans[0];
        let passed_on = traceparent(&asked_of_app);
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!(passed_on, (TRACE.into(), hex(&span.span_id)));
        assert_eq!((span.name.as_str(), span.kind), ("GET /orders/{id}", 2));
        for (key, value) in [
            ("http.response.status_code", "503"),
            ("url.path", "/orders/{id}"),
            ("shop.revision", "7"),
            ("shop.colour", "blue"),
            ("shop.kept", "error"),
        ] {
            assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
        }
        let (_, span) = &spans[1];
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!(attribute(span, "http.route"), None);
        let asked_of_app = asked.recv().await.expect("asked");
        assert_eq!(traceparent(&asked_of_app), (TRACE.into(), hex(&span.span_id)));
        assert_eq!(asked_of_app["b3"], format!("{TRACE}-{}-1-{PARENT}", hex(&span.span_id)));
        assert!(!collector.bytes().contains("secret"));
    }
}

#[tokio::test]
async fn an_answer_of_our_own_is_a_span_with_its_reason() {
    let (keys, collector) = (Keys::new(), Collector::start(Otlp::Grpc).await);
    let pod = Pod::with(traced(7, 1, &keys, collector.tracing(Otlp::Grpc, 10_000, 0)), &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    let answer = get(&mut caller, "/", "").await;
    let (_, span) = &collector.spans(1).await[0];
    assert_eq!(answer.headers["x-shop-reason"], "app-unreachable");
    assert_eq!(attribute(span, "shop.reason").as_deref(), Some("app-unreachable"));
    assert!(span.parent_span_id.is_empty() && pod.metrics().await.contains(r#"spans_total{kept="error"} 1"#));
}

#[tokio::test]
async fn of_the_rest_those_with_such_ids_are_kept() {
    let (keys, collector, (app, _asked)) = (Keys::new(), Collector::start(Otlp::Http).await, app().await);
    let pod =
        Pod::with(traced(7, app.port, &keys, collector.tracing(Otlp::Http, 10_000, 5_000)), &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for random in ["00", "7f", "80", "ff"] {
        let fields = format!("traceparent: 00-0af7651916cd43dd84{random}eb211c80319c-{PARENT}-00\r\n");
        assert_eq!(get(&mut caller, "/200", &fields).await.status, 200);
    }
    let kept: Vec<_> = collector.spans(2).await.iter().map(|(_, span)| span.trace_id[9]).collect();
    assert_eq!(kept, [0x80, 0xff]);
}

/// Two revisions: what fails at the second one is kept by the first one too, which answered 200 to that moment.
#[tokio::test]
async fn the_chain_from_a_cause_to_the_root_is_kept() {
    let (keys, collector, (app, _asked)) = (Keys::new(), Collector::start(Otlp::Grpc).await, app().await);
    // The first one keeps nothing by itself.
    let mut old = Pod::with(traced(7, 1, &keys, collector.tracing(Otlp::Grpc, 0, 0)), &keys).await;
    let new = Pod::with(traced(8, app.port, &keys, collector.tracing(Otlp::Grpc, 10_000, 0)), &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    let mut caller = Http1::connect(old.sidecar.inbound).await;
    let answer = get(&mut caller, "/500", "").await;
    assert_eq!((answer.status, answer.headers.get("x-shop-trace")), (500, None), "it is for those that ask");
    let spans = collector.spans(2).await;
    let of = |why: &str| spans.iter().find(|(_, span)| attribute(span, "shop.kept").as_deref() == Some(why));
    let ((_, cause), (_, root)) = (of("error").expect("the cause"), of("chain").expect("the root"));
    assert_eq!((&cause.trace_id, &cause.parent_span_id), (&root.trace_id, &root.span_id));
    assert_eq!(attribute(cause, "shop.way").as_deref(), Some("taken-over"));
    assert_eq!(attribute(root, "shop.way").as_deref(), Some("handed-over"));
    // Whoever asks is told.
    assert_eq!(get(&mut caller, "/500", "x-shop-trace: tell\r\n").await.headers["x-shop-trace"], "keep");
    assert_eq!(get(&mut caller, "/200", "x-shop-trace: tell\r\n").await.headers.get("x-shop-trace"), None);
}

/// A gRPC call tells how it ended in its trailers: so does the mark.
#[tokio::test]
async fn a_failed_call_is_told_in_its_trailers() {
    let app = TestApp::http2(|_| async move {
        let status =
            HeaderMap::from_iter([("grpc-status".parse().expect("name"), HeaderValue::from_static("14"))]);
        let frames = [Ok(Frame::data(Bytes::from_static(b"message"))), Ok(Frame::trailers(status))];
        Response::<AnyBody>::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
    })
    .await;
    let (keys, collector) = (Keys::new(), Collector::start(Otlp::Grpc).await);
    let mut grpc = traced(7, app.port, &keys, collector.tracing(Otlp::Grpc, 10_000, 0));
    grpc.app.protocol = Protocol::Grpc;
    let pod = Pod::with(grpc, &keys).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let call = Request::post("http://order/s/m").header("content-type", "application/grpc");
    let call = call.header("x-shop-trace", "tell").body(Full::from("message")).expect("request");
    let body = within(caller.send(call).await.into_body().collect()).await.expect("body");
    assert_eq!(body.trailers().expect("trailers")["x-shop-trace"], "keep");
    let (_, span) = &collector.spans(1).await[0];
    assert_eq!(attribute(span, "error.type").as_deref(), Some("grpc-status"));
}

#[tokio::test]
async fn what_waits_is_sent_when_the_sidecar_ends() {
    let (keys, collector, (app, _asked)) = (Keys::new(), Collector::start(Otlp::Http).await, app().await);
    let pod =
        Pod::with(traced(7, app.port, &keys, collector.tracing(Otlp::Http, 10_000, 10_000)), &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for _ in 0..10 {
        get(&mut caller, "/200", "").await;
    }
    drop(caller);
    within(pod.sidecar.stop()).await;
    assert_eq!(collector.spans(10).await.len(), 10);
}

#[tokio::test]
async fn tracing_changes_live_and_without_it_nothing_is_added() {
    let (keys, collector, (app, mut asked)) = (Keys::new(), Collector::start(Otlp::Http).await, app().await);
    let mut pod = Pod::start(7, app.port, &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(get(&mut caller, "/200", "").await.status, 200);
    assert!(!asked.recv().await.expect("asked").contains_key("traceparent"));
    pod.document.telemetry = Some(collector.tracing(Otlp::Http, 10_000, 10_000));
    pod.document.generation += 1;
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(get(&mut caller, "/200", "").await.status, 200);
    let (trace, _) = traceparent(&asked.recv().await.expect("asked"));
    assert_eq!(hex(&collector.spans(1).await[0].1.trace_id), trace);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_no_request() {
    let (keys, (app, _asked)) = (Keys::new(), app().await);
    let collector = Collector::start(Otlp::Grpc).await;
    let mut telemetry = collector.tracing(Otlp::Grpc, 10_000, 10_000);
    telemetry.tracing.as_mut().expect("tracing").endpoint = "http://127.0.0.1:1".into();
    let pod = Pod::with(traced(7, app.port, &keys, telemetry), &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for _ in 0..4_000 {
        assert_eq!(get(&mut caller, "/200", "").await.status, 200);
    }
    let metrics = pod.metrics().await;
    let full = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"shop_sidecar_spans_dropped_total{cause="full"} "#));
    assert!(full.expect("counted").parse::<u64>().expect("number") > 100, "{metrics}");
}
