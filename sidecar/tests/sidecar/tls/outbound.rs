//! Calls of the app to other services by TLS, and requests to other pods of this one.

use std::net::SocketAddr;

use http::Request;
use http_body_util::BodyExt as _;
use shop_contract::MtlsMode::{self, Off, Permissive, Strict};
use shop_contract::{Dependency, DependencyTls, Protocol};

use super::authority::{Authority, id, mount, secret};
use super::{mtls, telling, with_mode};
use crate::outbound::pods::{self, Dns};
use crate::support::client::{Answer, Http1, Http2};
use crate::support::{Around, Keys, Pod, TestApp, document, text, to, until, within};

/// A pod of `order` where other services find it, and the DNS server that says so.
pub(super) async fn callee(app: &TestApp, authority: &Authority, mode: MtlsMode) -> (Pod, Dns) {
    let (dns, keys, ip) = (Dns::start().await, Keys::new(), pods::address());
    dns.set("order-pods.shop.svc", &[ip]);
    let secret = secret(&authority.issue("order"), &[authority]);
    let around = Around { inbound: Some((ip, 9_440).into()), secret, ..Around::default() };
    (Pod::around(with_mode(app, &keys, mode, &[]), &keys, around).await, dns)
}

/// A pod of `cart` that calls `order` and expects this service there.
pub(super) async fn caller(dns: &Dns, expected: &str, secret: Vec<(&'static str, String)>) -> Pod {
    let keys = Keys::new();
    let mut document = document(1, 1, &keys);
    "cart".clone_into(&mut document.identity.service);
    document.auth = mtls(Off, &[]);
    if let Some(mtls) = document.auth.as_mut().and_then(|auth| auth.mtls.as_mut()) {
        mtls.id = id("cart");
    }
    let tls = Some(DependencyTls::Sidecar(id(expected)));
    document.depends_on = vec![Dependency { tls, ..Dependency::new("order") }];
    Pod::around(document, &keys, Around { dns: Some(dns.address), secret, ..Around::default() }).await
}

pub(super) fn door(pod: &Pod) -> SocketAddr {
    pod.sidecar.outbound().expect("open")
}

pub(super) async fn call(pod: &Pod) -> Answer {
    let mut app = Http1::connect(door(pod)).await;
    app.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
    app.answer().await
}

pub(super) fn reason(answer: &Answer) -> &str {
    answer.headers.get("x-shop-reason").map_or("", |reason| reason.to_str().expect("text"))
}

#[tokio::test]
async fn a_call_shows_who_it_is_from() {
    let (app, authority) = (telling().await, Authority::new());
    let (order, dns) = callee(&app, &authority, Strict).await;
    let caller = caller(&dns, "order", secret(&authority.issue("cart"), &[&authority])).await;
    for _ in 0..3 {
        let answer = call(&caller).await;
        assert_eq!((answer.status, answer.body), (200, format!("by {}", id("cart"))));
    }
    let mut app = Http2::connect(door(&caller)).await;
    assert_eq!(app.get("/").await, (200, format!("by {}", id("cart"))));
    assert!(order.metrics().await.contains("shop_sidecar_tls_handshakes_total{outcome=\"full\"} 2"), "kept");
}

#[tokio::test]
async fn a_call_never_reaches_another_service_and_never_goes_plain() {
    let (app, authority) = (telling().await, Authority::new());
    let (mut order, dns) = callee(&app, &authority, Permissive).await;
    let unreachable = (503, "dependency-unreachable");
    let wrong = caller(&dns, "inventory", secret(&authority.issue("cart"), &[&authority])).await;
    let answer = call(&wrong).await;
    assert_eq!((answer.status, reason(&answer)), unreachable, "it expects another service");
    let strange = caller(&dns, "order", secret(&Authority::new().issue("cart"), &[&authority])).await;
    assert_eq!(strange.stats().await.certificate.and_then(|one| one.not_after), None, "by none of its roots");
    let answer = call(&strange).await;
    assert_eq!((answer.status, reason(&answer)), unreachable, "without a certificate of its own");
    assert_eq!(order.stats().await.served, 0, "nothing went there without TLS instead");
    mount(&strange.keys_dir, &secret(&authority.issue("cart"), &[&authority]));
    until("it comes later", async || call(&strange).await.status == 200).await;
    order.change(|document| document.auth = mtls(Strict, &["user"])).await;
    let answer = call(&strange).await;
    assert_eq!((answer.status, reason(&answer)), (403, "caller-denied"));
}

#[tokio::test]
async fn a_dependency_changes_to_tls_and_back_while_it_is_called() {
    let (app, authority) = (telling().await, Authority::new());
    let (_callee, dns) = callee(&app, &authority, Permissive).await;
    let mut caller = caller(&dns, "order", secret(&authority.issue("cart"), &[&authority])).await;
    let mut kept = Http1::connect(door(&caller)).await;
    let tls = Some(DependencyTls::Sidecar(id("order")));
    for (tls, by) in
        [(None, String::new()), (tls.clone(), id("cart")), (None, String::new()), (tls, id("cart"))]
    {
        caller.change(|document| document.depends_on[0].tls = tls).await;
        for _ in 0..3 {
            kept.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
            let answer = kept.answer().await;
            assert_eq!((answer.status, answer.body), (200, format!("by {by}")));
        }
    }
}

#[tokio::test]
async fn grpc_goes_over_tls() {
    let app = TestApp::http2(|request: Request<hyper::body::Incoming>| async move {
        let body = request.into_body().collect().await.expect("body").to_bytes();
        let mut answer = text(body);
        answer.headers_mut().insert("grpc-status", "0".parse().expect("value"));
        answer
    })
    .await;
    let authority = Authority::new();
    let (mut order, dns) = callee(&app, &authority, Strict).await;
    order.change(|document| document.app.protocol = Protocol::Grpc).await;
    let caller = caller(&dns, "order", secret(&authority.issue("cart"), &[&authority])).await;
    let mut app = Http2::connect(door(&caller)).await;
    for _ in 0..3 {
        let request = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"\0\0\0\0\x01x"));
        let response = app.send(request.body(body).expect("request")).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["grpc-status"].as_bytes()),
            (200, &b"0"[..])
        );
        let body = within(response.into_body().collect()).await.expect("body").to_bytes();
        assert_eq!(&*body, b"\0\0\0\0\x01x");
    }
}

/// Two revisions of `order`: what the first hands over keeps who called.
#[tokio::test]
async fn requests_are_handed_over_under_every_mode() {
    let authority = Authority::new();
    let (keys, apps) = (Keys::new(), [telling().await, telling().await]);
    let start = async |revision: i64, app: &TestApp, with_certificate: bool| {
        let mut document = document(revision, app.port, &keys);
        document.auth = mtls(Permissive, &[]);
        let secret = secret(&authority.issue("order"), &[&authority]);
        let secret = if with_certificate { secret } else { Vec::new() };
        Pod::around(document, &keys, Around { secret, ..Around::default() }).await
    };
    let mut old = start(7, &apps[0], true).await;
    let mut new = start(8, &apps[1], true).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    let cart = authority.issue("cart");
    // One after the other, as documents arrive: no order loses a request.
    for (of_old, of_new) in [
        (Permissive, Permissive),
        (Permissive, Strict),
        (Strict, Strict),
        (Strict, Permissive),
        (Strict, Off),
    ] {
        old.change(|document| document.auth = mtls(of_old, &["cart"])).await;
        new.change(|document| document.auth = mtls(of_new, &["cart"])).await;
        for answer in [super::http1(&old, Some(&cart)).await, super::http2(&old, Some(&cart)).await] {
            let answer = answer.expect("answer");
            assert_eq!(
                (answer.status, answer.body),
                (200, format!("by {}", id("cart"))),
                "{of_old:?} {of_new:?}"
            );
        }
    }
    let stats = new.stats().await;
    assert_eq!(stats.taken_over, 10);
    let handshakes = new.metrics().await;
    assert!(handshakes.contains("shop_sidecar_tls_handshakes_total{outcome=\"full\"} 2"), "{handshakes}");
    // A pod that cannot TLS gets nothing in the clear: before the switch the request is answered here.
    let bare = start(9, &apps[1], false).await;
    old.endpoints(9, vec![bare.sidecar.inbound]).await;
    old.hand_off(Some(to(9, 10_000, "localhost:1", true))).await;
    assert_eq!(super::http1(&old, Some(&cart)).await.expect("answer").status, 200);
    assert_eq!(bare.stats().await.taken_over, 0);
}
