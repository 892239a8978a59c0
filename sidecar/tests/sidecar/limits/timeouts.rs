//! `limits.timeouts`: heads, bodies and connections that nothing comes of.

use std::time::{Duration, Instant};

use http_body_util::Empty;
use shop_contract::{Document, Push, Timeouts};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn waiting(timeouts: Timeouts) -> Limits {
    Limits { timeouts: Some(timeouts), ..Limits::default() }
}

#[tokio::test]
async fn a_head_and_a_body_have_their_time() {
    let holding = HoldingApp::start().await;
    let mut pod = Pod::start(7, holding.app.port, &Keys::new()).await;
    // It was open before anybody said how long that may be.
    let mut early = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(early.get("/").await.status, 200);
    let quick = Timeouts { header_ms: Some(1_000), body_ms: Some(1_000), idle_ms: None };
    pod.document = Document { limits: Some(waiting(quick)), generation: 2, ..pod.document.clone() };
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    let began = Instant::now();
    early.write("GET / HTTP/1.1\r\nhost: or").await;
    assert!(early.ends().await, "half a head");
    assert!((SECOND..SECOND * 8).contains(&began.elapsed()), "{:?}", began.elapsed());

    let began = Instant::now();
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("POST /body HTTP/1.1\r\nhost: order\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(refused(&caller.answer().await), (408, "body-too-slow"));
    assert!((SECOND..SECOND * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_without_a_request_ends_and_one_with_it_does_not() {
    let holding = HoldingApp::start().await;
    let quick = Timeouts { idle_ms: Some(1_000), ..Timeouts::default() };
    let pod = limited(holding.app.port, waiting(quick), &Keys::new()).await;
    let (mut idle, mut silent) =
        (Http1::connect(pod.sidecar.inbound).await, Http1::connect(pod.sidecar.inbound).await);
    let mut over_http2 = Http2::<Empty<bytes::Bytes>>::connect(pod.sidecar.inbound).await;
    let mut busy = Http1::connect(pod.sidecar.inbound).await;
    busy.write("GET /hold HTTP/1.1\r\nhost: order\r\n\r\n").await;
    holding.holds_one().await;
    assert_eq!(idle.get("/").await.status, 200);
    assert_eq!(over_http2.get("/").await.0, 200);
    assert!(idle.ends().await && silent.ends().await);
    within(&mut over_http2.connection).await.expect("ended").expect("without an error");
    holding.go.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "held"), "who waits for an answer is not idle");
}
