//! Handing requests over to another revision, and taking them.

use std::net::SocketAddr;

use crate::outbound::pods::{self, Dns};
use crate::support::client::{Http1, Http2};
use crate::support::{Around, Keys, Pod, TestApp, document, text, to, until, within};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use shop_contract::Protocol;

/// An app that tells its name and whether it sees the hand-over header.
async fn app(name: &'static str) -> TestApp {
    TestApp::http1(move |request: Request<hyper::body::Incoming>| async move {
        let seen = request.headers().contains_key("x-shop-handover");
        let client =
            request.headers().get("x-forwarded-for").and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        text(format!("{name} seen={seen} for={client}"))
    })
    .await
}

struct Two {
    old: Pod,
    new: Pod,
    _apps: [TestApp; 2],
}

async fn two() -> Two {
    let keys = Keys::new();
    let apps = [app("v7").await, app("v8").await];
    let old = Pod::start(7, apps[0].port, &keys).await;
    let new = Pod::start(8, apps[1].port, &keys).await;
    Two { old, new, _apps: apps }
}

/// An address where nobody listens: the port is not one that the system gives to another test.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

#[tokio::test]
async fn a_share_is_exact_and_counted_on_both_sides() {
    let mut two = two().await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    two.old.hand_off(Some(to(8, 2_500, "localhost:1", true))).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    let mut by_new = 0;
    for _ in 0..40 {
        let answer = caller.get("/").await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.ends_with("seen=false for=127.0.0.1"), "{}", answer.body);
        by_new += usize::from(answer.body.starts_with("v8"));
    }
    assert_eq!(by_new, 10);
    until("both have counted", async || {
        let (old, new) = (two.old.stats().await, two.new.stats().await);
        (old.served, old.handed_over, old.taken_over, new.served, new.handed_over, new.taken_over)
            == (30, 10, 0, 10, 0, 10)
    })
    .await;
}

#[tokio::test]
async fn a_switch_takes_effect_on_open_connections_and_goes_back() {
    let mut two = two().await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    let mut http1 = Http1::connect(two.old.sidecar.inbound).await;
    let mut http2 = Http2::connect(two.old.sidecar.inbound).await;
    for (hand_off, expected) in
        [(None, "v7"), (Some(to(8, 10_000, "localhost:1", false)), "v8"), (None, "v7")]
    {
        two.old.hand_off(hand_off).await;
        for _ in 0..10 {
            assert!(http1.get("/").await.body.starts_with(expected));
            let (status, body) = http2.get("/").await;
            assert!(status == 200 && body.starts_with(expected), "{body}");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_handed_over_is_served_there() {
    let mut two = two().await;
    // Both hand everything to one another: each request is still answered after one step.
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    two.new.endpoints(7, vec![two.old.sidecar.inbound]).await;
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    two.new.hand_off(Some(to(7, 10_000, "localhost:1", false))).await;
    assert!(Http1::connect(two.old.sidecar.inbound).await.get("/").await.body.starts_with("v8"));
    assert!(Http1::connect(two.new.sidecar.inbound).await.get("/").await.body.starts_with("v7"));
}

/// As in a cluster: the Service has a name, and only DNS knows it.
#[tokio::test]
async fn the_fallback_is_found_by_dns() {
    let (dns, ip, keys) = (Dns::start().await, pods::address(), Keys::new());
    dns.set("order-preview.shop.svc", &[ip]);
    let apps = [app("v7").await, app("v8").await];
    let around = Around { dns: Some(dns.address), ..Around::default() };
    let mut old = Pod::around(document(7, apps[0].port, &keys), &keys, around).await;
    let around = Around { inbound: Some((ip, 9_440).into()), ..Around::default() };
    let new = Pod::around(document(8, apps[1].port, &keys), &keys, around).await;
    old.hand_off(Some(to(8, 10_000, "order-preview.shop.svc:9440", false))).await;
    assert!(Http1::connect(old.sidecar.inbound).await.get("/").await.body.starts_with("v8"));
    assert_eq!(new.stats().await.taken_over, 1);
}

/// The fallback is a Service: it may still, or again, lead to the pods that hand over.
#[tokio::test]
async fn a_request_that_comes_back_does_not_go_round() {
    let mut two = two().await;
    let own = two.old.sidecar.inbound.to_string();
    for may_serve_locally in [false, true] {
        two.old.hand_off(Some(to(8, 10_000, &own, may_serve_locally))).await;
        let answer = Http1::connect(two.old.sidecar.inbound).await.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "v7 seen=false for=127.0.0.1"));
        let (status, body) = Http2::connect(two.old.sidecar.inbound).await.get("/").await;
        assert_eq!((status, body.as_str()), (200, "v7 seen=false for=127.0.0.1"));
    }
    let stats = two.old.stats().await;
    assert_eq!((stats.handed_over, stats.taken_over), (4, 4));
}

#[tokio::test]
async fn a_forged_header_is_stripped_and_changes_nothing() {
    let mut two = two().await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound]).await;
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    for forged in ["v1;k1;8;1.2.3.4;AAAA", "nonsense"] {
        let mut caller = Http1::connect(two.old.sidecar.inbound).await;
        caller.write(&format!("GET / HTTP/1.1\r\nhost: order\r\nx-shop-handover: {forged}\r\n\r\n")).await;
        assert_eq!(caller.answer().await.body, "v8 seen=false for=127.0.0.1");
        let mut caller = Http1::connect(two.new.sidecar.inbound).await;
        caller.write(&format!("GET / HTTP/1.1\r\nhost: order\r\nx-shop-handover: {forged}\r\n\r\n")).await;
        assert_eq!(caller.answer().await.body, "v8 seen=false for=127.0.0.1");
    }
    until("only the real ones are counted", async || two.new.stats().await.taken_over == 2).await;
}

#[tokio::test]
async fn before_the_switch_an_unreachable_candidate_costs_nothing() {
    let mut two = two().await;
    let nowhere = nowhere();
    two.old.endpoints(8, vec![nowhere]).await;
    two.old.hand_off(Some(to(8, 10_000, &nowhere.to_string(), true))).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    for _ in 0..5 {
        let answer = caller.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "v7 seen=false for=127.0.0.1"));
    }
    let body = "x".repeat(100_000);
    caller
        .write(&format!("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        .await;
    assert!(caller.answer().await.body.starts_with("v7"), "a body is not lost either");
    assert!(two.old.metrics().await.contains("shop_sidecar_hand_off_failures_total"));
}

#[tokio::test]
async fn after_the_switch_an_unreachable_revision_is_an_error_and_never_the_old_one() {
    let mut two = two().await;
    let nowhere = nowhere();
    two.old.hand_off(Some(to(8, 10_000, &nowhere.to_string(), false))).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    let answer = caller.get("/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.headers.get("x-shop-reason").map(http::HeaderValue::as_bytes),
        Some(&b"app-unreachable"[..])
    );
}

#[tokio::test]
async fn the_fallback_is_used_without_endpoints_and_when_none_answers() {
    let mut two = two().await;
    let fallback = format!("localhost:{}", two.new.sidecar.inbound.port());
    two.old.hand_off(Some(to(8, 10_000, &fallback, false))).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    assert!(caller.get("/").await.body.starts_with("v8"));
    two.old.endpoints(8, vec![nowhere(), SocketAddr::from(([127, 0, 0, 2], 1))]).await;
    for _ in 0..10 {
        assert!(caller.get("/").await.body.starts_with("v8"));
    }
    // Endpoints of another revision are not used.
    two.old.endpoints(9, vec![nowhere()]).await;
    assert!(caller.get("/").await.body.starts_with("v8"));
}

#[tokio::test]
async fn a_dead_address_among_good_ones_loses_nothing() {
    let mut two = two().await;
    two.old
        .endpoints(8, vec![nowhere(), two.new.sidecar.inbound, SocketAddr::from(([127, 0, 0, 2], 1))])
        .await;
    two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    let (mut http1, mut http2) =
        (Http1::connect(two.old.sidecar.inbound).await, Http2::connect(two.old.sidecar.inbound).await);
    for _ in 0..30 {
        assert!(http1.get("/").await.body.starts_with("v8"));
        assert!(http2.get("/").await.1.starts_with("v8"));
    }
}

#[tokio::test]
async fn grpc_is_handed_over_with_its_body() {
    let keys = Keys::new();
    let echo = |name: &'static str| {
        TestApp::http2(move |request: Request<hyper::body::Incoming>| async move {
            let sent = request.into_body().collect().await.expect("body").to_bytes();
            text(format!("{name} {}", String::from_utf8_lossy(&sent)))
        })
    };
    let apps = [echo("v7").await, echo("v8").await];
    let grpc = |revision, port| {
        let mut document = document(revision, port, &keys);
        document.app.protocol = Protocol::Grpc;
        document
    };
    let mut old = Pod::with(grpc(7, apps[0].port), &keys).await;
    let new = Pod::with(grpc(8, apps[1].port), &keys).await;
    old.endpoints(8, vec![nowhere(), new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    let mut caller = Http2::connect(old.sidecar.inbound).await;
    for number in 0..20 {
        let request = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
        let response =
            caller.send(request.body(Full::from(format!("message {number}"))).expect("request")).await;
        let body = within(response.into_body().collect()).await.expect("body").to_bytes();
        assert_eq!(body, format!("v8 message {number}"));
    }
}

#[tokio::test]
async fn nothing_is_lost_while_it_switches_back_and_forth_and_a_pod_leaves() {
    let mut two = two().await;
    let third_app = app("v8").await;
    let leaving = Pod::start(8, third_app.port, &two.new.keys).await;
    two.old.endpoints(8, vec![two.new.sidecar.inbound, leaving.sidecar.inbound]).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let inbound = two.old.sidecar.inbound;
    let mut callers = Vec::new();
    for number in 0..8 {
        let stopped = stopped.clone();
        callers.push(tokio::spawn(async move {
            let (mut http1, mut http2) = (Http1::connect(inbound).await, Http2::connect(inbound).await);
            let mut answers = 0;
            while !*stopped.borrow() {
                if number % 2 == 0 {
                    http1.write("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: 2\r\n\r\nhi").await;
                    let answer = http1.answer().await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                } else {
                    let (status, body) = http2.get("/").await;
                    assert_eq!(status, 200, "{body}");
                }
                answers += 1;
            }
            answers
        }));
    }
    for round in 0..20 {
        let before = two.old.stats().await;
        two.old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
        if round == 5 {
            leaving.sidecar.drain.begin();
        }
        until("some are handed over", async || two.old.stats().await.handed_over > before.handed_over + 50)
            .await;
        two.old.hand_off(None).await;
        until("some are served", async || two.old.stats().await.served > before.served + 50).await;
    }
    stop.send(true).expect("callers wait");
    for caller in callers {
        assert!(caller.await.expect("no request failed") > 0);
    }
    assert_eq!(two.old.stats().await.errors, 0);
}
