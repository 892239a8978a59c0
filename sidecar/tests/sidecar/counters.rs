//! What a pod tells of the requests it answered: the material of the operator's analysis.

use std::convert::Infallible;

use crate::support;
use crate::support::client::{Http1, Http2};
use crate::support::{Keys, Pod, TestApp, document, text, to, until, within};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use shop_contract::{Protocol, RevisionCounters};

async fn window(pod: &Pod) -> RevisionCounters {
    pod.stats().await.window.expect("this sidecar tells")
}

/// Answers with the status that the path says; `/wait` is never answered.
async fn app() -> TestApp {
    TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        if path == "wait" {
            std::future::pending::<()>().await;
        }
        let _ = request.into_body().collect().await;
        let mut answer = text("answer");
        *answer.status_mut() = path.parse().expect("status");
        answer
    })
    .await
}

#[tokio::test]
async fn answers_of_the_app_are_counted_with_their_time() {
    let (app, keys) = (app().await, Keys::new());
    let mut with_probe = document(7, app.port, &keys);
    with_probe.app.readiness.path = Some("/200".into());
    let pod = Pod::with(with_probe, &keys).await;
    assert_eq!(window(&pod).await, RevisionCounters::default());
    for _ in 0..5 {
        assert_eq!(pod.readiness().await, 200);
    }
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for path in ["/200", "/404", "/500", "/503", "/200", "/302"] {
        caller.get(path).await;
    }
    until("they are counted", async || window(&pod).await.requests == 6).await;
    let counted = window(&pod).await;
    assert_eq!((counted.failures, counted.latency.total()), (2, 6));
    assert!(counted.latency.is_sound() && counted.latency.quantile_us(9_900).is_some());
    // A request that makes no sense is nobody's merit or fault.
    caller.write("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 400);
    until("it has ended", async || pod.stats().await.served == 7).await;
    assert_eq!(window(&pod).await, counted);
}

#[tokio::test]
async fn an_app_that_is_away_or_breaks_off_fails() {
    let keys = Keys::new();
    let pod = Pod::start(7, 1, &keys).await;
    assert_eq!(Http1::connect(pod.sidecar.inbound).await.get("/").await.status, 503);
    until("counted", async || {
        let counted = window(&pod).await;
        (counted.requests, counted.failures) == (1, 1)
    })
    .await;

    // Two bytes of ten, then the end.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nab").await;
        }
    });
    let pod = Pod::start(7, port, &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
    assert!(caller.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    until("the half answer is a failure", async || {
        let counted = window(&pod).await;
        (counted.requests, counted.failures) == (1, 1)
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_is_no_failure() {
    let app = app().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    // Before the answer, and in the middle of its own body, by both protocols.
    for sent in [
        "GET /wait HTTP/1.1\r\nhost: order\r\n\r\n",
        "POST /200 HTTP/1.1\r\nhost: order\r\ncontent-length: 100000\r\n\r\nonly the beginning",
    ] {
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller.write(sent).await;
        until("it has begun", async || pod.stats().await.in_flight == 1).await;
        caller.vanish();
        until("it has ended", async || pod.stats().await.in_flight == 0).await;
    }
    let (sender, body) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Infallible>>();
    sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"begin")))).expect("sent");
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let call = Request::post("http://order/200").body(StreamBody::new(body)).expect("request");
    let answer = tokio::spawn(async move { caller.sender.send_request(call).await.map(drop) });
    until("it has begun", async || pod.stats().await.in_flight == 1).await;
    answer.abort();
    until("it has ended", async || pod.stats().await.in_flight == 0).await;
    let counted = window(&pod).await;
    assert_eq!((counted.requests, counted.failures, pod.stats().await.errors), (0, 0, 0));
}

#[tokio::test]
async fn grpc_fails_by_its_status() {
    // The path says the status, in trailers or (with `!`) in the head; `/none` ends without one.
    let app = TestApp::http2(|request: Request<hyper::body::Incoming>| async move {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        if let Some(status) = path.strip_prefix('!') {
            let head = Response::builder().header("grpc-status", status);
            return head.body(support::empty()).expect("answer");
        }
        let mut frames = vec![Ok(Frame::data(Bytes::from_static(b"message")))];
        if path != "none" {
            let status = HeaderValue::try_from(path).expect("status");
            frames.push(Ok(Frame::trailers(HeaderMap::from_iter([(
                "grpc-status".parse().expect("name"),
                status,
            )]))));
        }
        Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
    })
    .await;
    let keys = Keys::new();
    let mut grpc = document(7, app.port, &keys);
    grpc.app.protocol = Protocol::Grpc;
    let pod = Pod::with(grpc, &keys).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let (mut requests, mut failures) = (0, 0);
    for (path, failed) in [
        ("0", false),
        ("1", false),
        ("2", true),
        ("3", false),
        ("4", true),
        ("5", false),
        ("8", false),
        ("12", false),
        ("13", true),
        ("14", true),
        ("15", true),
        ("16", false),
        ("none", true),
        ("!0", false),
        ("!14", true),
    ] {
        let call = Request::post(format!("http://order/{path}")).header("content-type", "application/grpc");
        let response = caller.send(call.body(Full::from("message")).expect("request")).await;
        within(response.into_body().collect()).await.expect("body");
        (requests, failures) = (requests + 1, failures + u64::from(failed));
        until("it is counted", async || window(&pod).await.requests == requests).await;
        assert_eq!(window(&pod).await.failures, failures, "status {path}");
    }
}

#[tokio::test]
async fn a_request_counts_where_it_was_answered() {
    let (keys, apps) = (Keys::new(), [app().await, app().await]);
    let mut old = Pod::start(7, apps[0].port, &keys).await;
    let new = Pod::start(8, apps[1].port, &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 5_000, "localhost:1", true))).await;
    let mut caller = Http1::connect(old.sidecar.inbound).await;
    for _ in 0..10 {
        assert_eq!(caller.get("/500").await.status, 500);
    }
    until("both have counted", async || {
        let (old, new) = (window(&old).await, window(&new).await);
        (old.requests, old.failures, new.requests, new.failures) == (5, 5, 5, 5)
    })
    .await;
    // Nobody takes it: not this app's failure, but told.
    let nowhere = "127.0.0.1:1".parse().expect("address");
    old.endpoints(8, vec![nowhere]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    assert_eq!(caller.get("/200").await.status, 503);
    until("it is told", async || old.stats().await.lost == 1).await;
    assert_eq!(window(&old).await.requests, 5);
}
