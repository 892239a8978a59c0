//! Callers: with a certificate and without, before and after the document changes.

use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::ClientConfig;
use shop_contract::MtlsMode::{Off, Permissive, Strict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::authority::{Authority, client, from_now, id, secret, uri};
use super::{connect, http1, http2, mtls, pod, telling, with_mode};
use crate::support::client::{self as plain, Http1, Http2};
use crate::support::{Around, Keys, Pod, TestApp, text, until, within};

#[tokio::test]
async fn who_is_let_in_follows_the_document_on_open_connections() {
    let (app, authority) = (telling().await, Authority::new());
    let (cart, user) = (authority.issue("cart"), authority.issue("user"));
    let mut pod = pod(&app, &authority, Permissive, &[]).await;
    let mut open = Http1::connect(pod.sidecar.inbound).await;
    let mut open2 = Http2::connect(pod.sidecar.inbound).await;
    let known = format!("by {}", id("cart"));
    for (mode, callers, by_plain, by_user) in [
        (Permissive, &[][..], (200, ""), (200, "")),
        (Strict, &[], (403, "tls-required"), (200, "")),
        (Strict, &["cart"], (403, "tls-required"), (403, "caller-denied")),
        (Permissive, &["cart"], (403, "tls-required"), (403, "caller-denied")),
        (Off, &["cart"], (200, ""), (200, "")),
    ] {
        pod.change(|document| document.auth = mtls(mode, callers)).await;
        let answer = open.get("/").await;
        let reason = answer.headers.get("x-shop-reason").map_or("", |reason| reason.to_str().expect("text"));
        assert_eq!((answer.status, reason), by_plain, "{mode:?} {callers:?}");
        assert_eq!(open2.get("/").await.0, by_plain.0);
        for answer in [http1(&pod, Some(&cart)).await, http2(&pod, Some(&cart)).await] {
            let answer = answer.expect("answer");
            assert_eq!((answer.status, &answer.body), (200, &known), "{mode:?} {callers:?}");
        }
        let answer = http2(&pod, Some(&user)).await.expect("answer");
        assert_eq!((answer.status, &*answer.reason), by_user, "{mode:?} {callers:?}");
    }
    let window = pod.stats().await.window.expect("told");
    assert_eq!(window.failures, 0, "who is not let in says nothing about the app");
}

#[tokio::test]
async fn what_a_caller_writes_tells_the_app_nothing() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Permissive, &[]).await;
    let request = super::get("/");
    let (status, body) = plain::once(pod.sidecar.inbound, request).await;
    assert_eq!((status, &*body), (200, &b"by "[..]));
}

#[tokio::test]
async fn grpc_is_told_in_its_own_way() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Strict, &[]).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
    let response = caller.send(request.body(Empty::<bytes::Bytes>::new()).expect("request")).await;
    assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].as_bytes()), (200, &b"7"[..]));
    assert_eq!(response.headers()["x-shop-reason"], "tls-required");
}

#[tokio::test]
async fn certificates_that_are_not_good_are_refused() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Permissive, &[]).await;
    let hour = 3_600;
    let other_usage = |usage| authority.issue_with("cart", |asked| asked.extended_key_usages = vec![usage]);
    let bad = [
        ("of another root", Authority::new().issue("cart")),
        ("over", authority.issue_for("cart", from_now(-2 * hour), from_now(-hour))),
        ("not yet", authority.issue_for("cart", from_now(hour), from_now(2 * hour))),
        ("for servers only", other_usage(ExtendedKeyUsagePurpose::ServerAuth)),
        ("of nobody", authority.issue_with("cart", |asked| asked.subject_alt_names.clear())),
        ("of two", authority.issue_with("cart", |asked| asked.subject_alt_names.push(uri("user")))),
    ];
    for (what, leaf) in &bad {
        assert!(http1(&pod, Some(leaf)).await.is_none() && http2(&pod, Some(leaf)).await.is_none(), "{what}");
    }
    assert!(http1(&pod, None).await.is_none(), "without certificate");
    let good = [
        authority.issue_for("cart", from_now(-hour), from_now(hour)),
        other_usage(ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for leaf in &good {
        assert_eq!(http1(&pod, Some(leaf)).await.expect("answer").status, 200);
    }
    let failed = format!("shop_sidecar_tls_handshakes_total{{outcome=\"failed\"}} {}", 2 * bad.len() + 1);
    until("all are counted", async || pod.metrics().await.contains(&failed)).await;
}

#[tokio::test]
async fn without_certificate_tls_is_not_offered() {
    let (app, authority, keys) = (telling().await, Authority::new(), Keys::new());
    let cart = authority.issue("cart");
    let mut pod = Pod::with(with_mode(&app, &keys, Permissive, &[]), &keys).await;
    assert!(http1(&pod, Some(&cart)).await.is_none());
    assert_eq!((pod.stats().await.certificate, pod.readiness().await), (None, 200));
    pod.change(|document| document.auth = mtls(Strict, &[])).await;
    assert_eq!(pod.readiness().await, 503, "nobody could call it");
    // It comes later than the document.
    super::authority::mount(&pod.keys_dir, &secret(&authority.issue("order"), &[&authority]));
    until("it is offered", async || http1(&pod, Some(&cart)).await.is_some()).await;
    assert_eq!(pod.readiness().await, 200);
}

/// All that comes for one request, on a connection of its own.
async fn answer(pod: &Pod, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    within(async {
        let mut stream = connect(pod.sidecar.inbound, Arc::clone(config)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: order\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    })
    .await
}

#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Strict, &[]).await;
    let end = from_now(4);
    let config = client(Some(&authority.issue_for("cart", from_now(-60), end)), b"http/1.1");
    assert!(answer(&pod, &config).await.expect("answer").starts_with("HTTP/1.1 200"));
    until("its time is over", async || from_now(0) > end).await;
    assert!(answer(&pod, &config).await.is_err());
}

#[tokio::test]
async fn a_session_is_resumed() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Strict, &[]).await;
    let config = client(Some(&authority.issue("cart")), b"http/1.1");
    for outcome in ["full", "resumed"] {
        let answer = answer(&pod, &config).await.expect("read, with a proper end");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&id("cart")), "{answer}");
        let line = format!("shop_sidecar_tls_handshakes_total{{outcome=\"{outcome}\"}} 1");
        until(outcome, async || pod.metrics().await.contains(&line)).await;
    }
}

#[tokio::test]
async fn large_bodies_go_both_ways() {
    let app = TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let body = request.into_body().collect().await.expect("body").to_bytes();
        text(body)
    })
    .await;
    let authority = Authority::new();
    let pod = pod(&app, &authority, Strict, &[]).await;
    let cart = authority.issue("cart");
    let body: bytes::Bytes = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0] ^ 7).collect();
    let stream =
        within(connect(pod.sidecar.inbound, client(Some(&cart), b"http/1.1"))).await.expect("stream");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    for _ in 0..2 {
        let request =
            Request::post("/").header("host", "order").body(Full::new(body.clone())).expect("request");
        let response = within(sender.send_request(request)).await.expect("answer");
        assert_eq!(response.status(), 200);
        assert_eq!(within(response.into_body().collect()).await.expect("body").to_bytes(), body);
    }
}

/// The sidecar closes each side of a socket when its app does, and passes bytes on meanwhile.
#[tokio::test]
async fn a_websocket_goes_over_tls() {
    let app = TestApp::http1(|mut request: Request<hyper::body::Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = hyper_util::rt::TokioIo::new(upgrade.await.expect("upgraded"));
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        http::Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(crate::support::empty())
            .expect("answer")
    })
    .await;
    let authority = Authority::new();
    let pod = pod(&app, &authority, Strict, &[]).await;
    let cart = authority.issue("cart");
    let mut stream =
        within(connect(pod.sidecar.inbound, client(Some(&cart), b"http/1.1"))).await.expect("stream");
    let asked = "GET /ws HTTP/1.1\r\nhost: order\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    within(stream.write_all(asked.as_bytes())).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for frame in [&b"\x82\x03abc"[..], &[0x82, 0x02, 0x16, 0x03]] {
        within(stream.write_all(frame)).await.expect("written");
        let mut back = vec![0; frame.len()];
        within(stream.read_exact(&mut back)).await.expect("read");
        assert_eq!(back, frame);
    }
    assert_eq!(pod.stats().await.upgraded, 1);
}

/// Alone, as `shop-sidecar run` is, with what lies in the folder.
#[tokio::test]
async fn the_own_service_is_let_in_without_being_listed() {
    let (app, authority, keys) = (telling().await, Authority::new(), Keys::new());
    let own = authority.issue("order");
    let around = Around { secret: secret(&own, &[&authority]), ..Around::default() };
    let pod = Pod::around(with_mode(&app, &keys, Strict, &["cart"]), &keys, around).await;
    assert_eq!(http2(&pod, Some(&own)).await.expect("answer").status, 200);
}
