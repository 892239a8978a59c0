//! Copies of requests for another revision: the user's request must not notice.

use std::sync::{Arc, Mutex};

use crate::support::client::{Http1, Http2};
use crate::support::{Keys, Pod, TestApp, document, text, to, until, within};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use shop_contract::{Mirror, Protocol, Push, safe_methods};

/// What the candidate's app has seen: method, path, mark and body.
type Seen = Arc<Mutex<Vec<String>>>;

struct Two {
    old: Pod,
    new: Pod,
    seen: Seen,
    _apps: [TestApp; 2],
}

fn line(head: &http::request::Parts, body: &[u8]) -> String {
    let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let (mark, sealed, id) = (field("x-shop-mirror"), field("x-shop-handover"), field("x-request-id"));
    let text = String::from_utf8_lossy(body);
    format!("{} {} mirror={mark} sealed={sealed} id={id} {text}", head.method, head.uri.path())
}

/// Answers with what it sees; the path `/500` fails.
async fn app(name: &'static str, seen: Seen) -> TestApp {
    TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let line = line(&head, &body);
            seen.lock().expect("lock").push(line.clone());
            let mut answer = text(format!("{name} {line}"));
            if head.uri.path() == "/500" {
                *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        }
    })
    .await
}

async fn two() -> Two {
    let (keys, seen) = (Keys::new(), Seen::default());
    let apps = [app("v7", Seen::default()).await, app("v8", Arc::clone(&seen)).await];
    let mut old = Pod::start(7, apps[0].port, &keys).await;
    let new = Pod::start(8, apps[1].port, &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    Two { old, new, seen, _apps: apps }
}

impl Two {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("lock").clone()
    }
}

fn mirror(share: u32, methods: &[&str]) -> Mirror {
    let methods = methods.iter().map(|method| (*method).to_owned()).collect();
    Mirror { to_revision: 8, share, fallback: "localhost:1".into(), methods }
}

async fn begin(pod: &mut Pod, mirror: Mirror) {
    pod.document.mirror = Some(mirror);
    pod.document.generation += 1;
    let (status, acknowledgement) = pod.push(&Push::Document(pod.document.clone())).await;
    assert_eq!(status, 200, "{acknowledgement:?}");
}

/// Value of a counter, with its labels if it has some.
async fn counter(pod: &Pod, name: &str) -> u64 {
    let metrics = pod.metrics().await;
    let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.expect(name).parse().expect("number")
}

#[tokio::test]
async fn a_copy_is_marked_and_counted_apart() {
    let mut two = two().await;
    begin(&mut two.old, mirror(10_000, &["GET", "HEAD"])).await;
    assert_eq!(safe_methods(), ["GET", "HEAD"]);
    let mut http1 = Http1::connect(two.old.sidecar.inbound).await;
    http1.write("GET /a HTTP/1.1\r\nhost: order\r\nx-request-id: r1\r\nx-shop-mirror: 1\r\n\r\n").await;
    let answer = http1.answer().await;
    assert_eq!(answer.body, "v7 GET /a mirror=- sealed=- id=r1 ", "the user's request is none");
    let mut http2 = Http2::connect(two.old.sidecar.inbound).await;
    assert!(http2.get("/500").await.1.starts_with("v7 GET /500"));
    until("both copies are there", async || two.seen().len() == 2).await;
    assert!(two.seen().iter().all(|line| line.contains("mirror=1 sealed=-")), "{:?}", two.seen());
    assert!(two.seen()[0].contains("id=r1"), "{:?}", two.seen());
    until("they are counted as what they are", async || {
        let stats = two.new.stats().await;
        let mirrored = stats.mirrored.expect("told");
        (mirrored.requests, mirrored.failures, mirrored.latency.total()) == (2, 1, 2)
            && stats.window.expect("told").requests == 0
            && (stats.served, stats.taken_over, stats.errors) == (0, 0, 0)
    })
    .await;
    until("here too", async || counter(&two.old, "shop_sidecar_mirrored_total").await == 2).await;
    assert_eq!(counter(&two.new, "shop_sidecar_mirror_taken_total").await, 2);
    let stats = two.old.stats().await;
    assert_eq!((stats.served, stats.handed_over, stats.errors), (2, 0, 1));
}

#[tokio::test]
async fn the_share_is_exact_and_of_these_methods() {
    let mut two = two().await;
    begin(&mut two.old, mirror(2_500, &["GET"])).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    for _ in 0..40 {
        caller.write("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!(caller.answer().await.status, 200);
        assert_eq!(caller.get("/").await.status, 200);
    }
    until("a quarter", async || counter(&two.old, "shop_sidecar_mirrored_total").await == 10).await;
    assert!(two.seen().iter().all(|line| line.starts_with("GET")), "{:?}", two.seen());
    assert_eq!(two.seen().len(), 10);
}

#[tokio::test]
async fn a_small_body_is_copied_whole_and_a_long_one_not() {
    let mut two = two().await;
    begin(&mut two.old, mirror(10_000, &["POST"])).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    caller
        .write("POST /in-parts HTTP/1.1\r\nhost: order\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n")
        .await;
    assert!(caller.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    caller.write("first").await;
    caller.write("-last").await;
    assert!(caller.answer().await.body.ends_with("first-last"));
    let mut http2 = Http2::connect(two.old.sidecar.inbound).await;
    let request = Request::post("http://order/h2").body(Full::from("by http2")).expect("request");
    let answer = within(http2.send(request).await.into_body().collect()).await.expect("body").to_bytes();
    assert!(answer.ends_with(b"by http2"));
    until("both are there", async || two.seen().len() == 2).await;
    let seen = two.seen();
    assert!(seen.iter().any(|line| line.ends_with(" first-last")), "{seen:?}");
    assert!(seen.iter().any(|line| line.ends_with(" by http2")), "{seen:?}");

    let long = "x".repeat(64 * 1024 + 1);
    caller
        .write(&format!("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: {}\r\n\r\n{long}", long.len()))
        .await;
    assert!(caller.answer().await.body.ends_with(&long));
    caller
        .write("POST / HTTP/1.1\r\nhost: order\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .await;
    assert!(caller.answer().await.body.ends_with("hi"));
    assert_eq!(counter(&two.old, "shop_sidecar_mirror_dropped_total{cause=\"body\"}").await, 2);
    assert_eq!(two.seen().len(), 2);
}

#[tokio::test]
async fn a_candidate_that_never_answers_or_is_away_costs_the_user_nothing() {
    let keys = Keys::new();
    let answering = TestApp::saying("v7").await;
    let hanging = TestApp::http1(|_| std::future::pending()).await;
    let mut old = Pod::start(7, answering.port, &keys).await;
    let new = Pod::start(8, hanging.port, &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    begin(&mut old, mirror(10_000, &["GET"])).await;
    let mut caller = Http1::connect(old.sidecar.inbound).await;
    for _ in 0..100 {
        assert_eq!(caller.get("/").await.body, "v7");
    }
    assert_eq!(counter(&old, "shop_sidecar_mirror_dropped_total{cause=\"busy\"}").await, 36, "64 at once");

    let mut other = Pod::start(7, answering.port, &keys).await;
    other.endpoints(8, vec!["127.0.0.1:1".parse().expect("address")]).await;
    begin(&mut other, mirror(10_000, &["GET"])).await;
    let mut caller = Http1::connect(other.sidecar.inbound).await;
    for _ in 0..20 {
        assert_eq!(caller.get("/").await.body, "v7");
    }
    let dropped = "shop_sidecar_mirror_dropped_total{cause=\"unanswered\"}";
    until("they are counted", async || counter(&other, dropped).await == 20).await;
    let stats = other.stats().await;
    assert_eq!((stats.served, stats.errors, stats.lost), (20, 0, 0));
    assert_eq!(counter(&other, "shop_sidecar_hand_off_failures_total").await, 0);
}

#[tokio::test]
async fn what_is_handed_over_upgraded_or_grpc_is_not_copied() {
    let mut two = two().await;
    two.old.document.hand_off = Some(to(8, 5_000, "localhost:1", true));
    begin(&mut two.old, mirror(10_000, &["GET", "POST"])).await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    for _ in 0..20 {
        assert_eq!(caller.get("/").await.status, 200);
    }
    until("each came once", async || counter(&two.old, "shop_sidecar_mirrored_total").await == 10).await;
    assert_eq!(two.seen().len(), 20);
    until("and is what it is", async || {
        let stats = two.new.stats().await;
        (stats.taken_over, stats.mirrored.expect("told").requests) == (10, 10)
    })
    .await;

    two.old.hand_off(None).await;
    caller.write("GET / HTTP/1.1\r\nhost: order\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 200);
    let keys = Arc::clone(&two.old.keys);
    let calls = TestApp::http2(|_| async { text("v7") }).await;
    let mut grpc = document(7, calls.port, &keys);
    grpc.app.protocol = Protocol::Grpc;
    let mut pod = Pod::with(grpc, &keys).await;
    pod.endpoints(8, vec![two.new.sidecar.inbound]).await;
    begin(&mut pod, mirror(10_000, &["POST"])).await;
    let call = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
    let mut http2 = Http2::connect(pod.sidecar.inbound).await;
    let response = http2.send(call.body(Full::<Bytes>::from("message")).expect("request")).await;
    assert_eq!(within(response.into_body().collect()).await.expect("body").to_bytes(), "v7");
    for of in [&two.old, &pod] {
        let dropped = ["busy", "body", "unanswered"]
            .map(|cause| format!("shop_sidecar_mirror_dropped_total{{cause=\"{cause}\"}}"));
        for name in dropped {
            assert_eq!(counter(of, &name).await, 0, "{name}");
        }
    }
    assert_eq!(counter(&two.old, "shop_sidecar_mirrored_total").await, 10);
    assert_eq!(counter(&pod, "shop_sidecar_mirrored_total").await, 0);
}
