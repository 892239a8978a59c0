//! How a pod's traffic ends.

use std::time::{Duration, Instant};

use crate::support;
use crate::support::client::{Http1, Http2, get};
use crate::support::{Keys, Pod, TestApp, document, until, within};
use futures::StreamExt as _;
use http::{Request, Response};
use shop_sidecar::control;
use tokio_tungstenite::tungstenite::{self, Message};

async fn begin(pod: &Pod) {
    within(control::begin_drain(pod.state_dir.path())).await.expect("begun");
}

#[tokio::test]
async fn without_a_drain_the_hook_returns_and_nothing_changes() {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(caller.get("/").await.status, 200);
    let (status, body) = get(pod.sidecar.admin, "/drain").await;
    assert_eq!((status, &body[..]), (200, &b"no drain\n"[..]));
    assert_eq!(pod.readiness().await, 200);
    assert!(!caller.get("/").await.headers.contains_key("connection"));
    assert!(!pod.stats().await.draining);
}

#[tokio::test]
async fn a_drain_ends_connections_one_answer_later() {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let (mut http1, mut http2) =
        (Http1::connect(pod.sidecar.inbound).await, Http2::connect(pod.sidecar.inbound).await);
    assert_eq!(http1.get("/").await.status, 200);
    assert_eq!(http2.get("/").await.0, 200);
    let admin = pod.sidecar.admin;
    let hook = tokio::spawn(async move { get(admin, "/drain").await });
    // The next request is on its way: so the connection is not idle, however long this test is held up.
    http1.write("GET / HTTP/1.1\r\nhost: or").await;
    begin(&pod).await;
    begin(&pod).await;
    http1.write("der\r\n\r\n").await;
    let last = http1.answer().await;
    assert_eq!(
        (last.status, last.headers.get("connection").map(http::HeaderValue::as_bytes)),
        (200, Some(&b"close"[..]))
    );
    assert!(http1.ends().await);
    assert_eq!(pod.readiness().await, 503);
    assert_eq!(get(pod.sidecar.admin, "/livez").await.0, 200);
    within(http2.connection).await.expect("task").expect("a clean end");
    // A caller that has not heard of the drain is served all the same.
    let late = Http1::connect(pod.sidecar.inbound).await.get("/").await;
    assert_eq!((late.status, late.body.as_str()), (200, "hello"));
    let (status, body) = hook.await.expect("answer");
    assert_eq!((status, &body[..]), (200, &b"drained\n"[..]));
    assert_eq!(pod.stats().await.connections, 0);
    within(pod.sidecar.stop()).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_five_seconds_and_not_before() {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut used = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(used.get("/").await.status, 200);
    let mut unused = Http1::connect(pod.sidecar.inbound).await;
    until("both are open", async || pod.stats().await.connections == 2).await;
    let before = Instant::now();
    begin(&pod).await;
    assert!(used.ends().await);
    assert!(before.elapsed() >= Duration::from_secs(5));
    assert!(unused.ends().await);
    assert!(before.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_request_under_way_is_finished() {
    // The app answers when the test says so.
    let (go, gone) = tokio::sync::watch::channel(false);
    let app = TestApp::http1(move |_| {
        let mut gone = gone.clone();
        async move {
            let _ = gone.wait_for(|gone| *gone).await;
            support::text("done")
        }
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
    until("the request has begun", async || pod.stats().await.in_flight == 1).await;
    begin(&pod).await;
    go.send(true).expect("somebody waits");
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    assert_eq!(answer.headers.get("connection").map(http::HeaderValue::as_bytes), Some(&b"close"[..]));
    assert!(caller.ends().await);
}

#[tokio::test]
async fn the_deadline_closes_websockets_with_1012() {
    let app = TestApp::http1(|mut request: Request<hyper::body::Incoming>| async move {
        let key = request.headers().get("sec-websocket-key").expect("key").clone();
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            // Held open without a word.
            let _upgraded = upgraded.await.expect("upgraded");
            std::future::pending::<()>().await;
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", tungstenite::handshake::derive_accept_key(key.as_bytes()))
            .body(support::empty())
            .expect("answer")
    })
    .await;
    let keys = Keys::new();
    let mut document = document(7, app.port, &keys);
    document.drain_max_ms = 300;
    let pod = Pod::with(document, &keys).await;
    let stream = tokio::net::TcpStream::connect(pod.sidecar.inbound).await.expect("connected");
    let (mut socket, _) =
        within(tokio_tungstenite::client_async("ws://order/feed", stream)).await.expect("handshake");
    begin(&pod).await;
    match within(socket.next()).await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1012),
        other => panic!("no close frame: {other:?}"),
    }
    let (_, body) = get(pod.sidecar.admin, "/drain").await;
    assert!(body.starts_with(b"drain"), "{body:?}");
    drop(socket);
    until("nothing is open", async || pod.stats().await.connections == 0).await;
}

#[tokio::test]
async fn a_retiring_revision_sends_its_callers_on() {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let mut document = document(7, app.port, &keys);
    document.role = shop_contract::Role::Retiring;
    let pod = Pod::with(document, &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    let answer = caller.get("/").await;
    assert_eq!(
        (answer.status, answer.headers.get("connection").map(http::HeaderValue::as_bytes)),
        (200, Some(&b"close"[..]))
    );
    assert!(caller.ends().await);
    assert_eq!(pod.readiness().await, 200);
}

#[tokio::test]
async fn nobody_on_the_network_can_begin_a_drain() {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    for method in ["POST", "PUT", "DELETE"] {
        let mut caller = Http1::connect(pod.sidecar.admin).await;
        caller.write(&format!("{method} /drain HTTP/1.1\r\nhost: order\r\n\r\n")).await;
        assert_eq!(caller.answer().await.status, 405);
    }
    assert_eq!(pod.readiness().await, 200);
}
