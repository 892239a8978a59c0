//! Faults on requests that come in: which are struck, with what, and until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::Request;
use http_body_util::{Empty, Full};
use shop_contract::{Delay, Fault, FaultEnd, FaultMatch, Limits, Otlp, Pair, Push};

use crate::support::client::{Answer, Http1, Http2};
use crate::support::collector::{Collector, attribute};
use crate::support::{Keys, Pod, TestApp, document, text, to, until, within};

/// An app that counts its requests.
async fn counting() -> (TestApp, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let app = TestApp::http1(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { text("hello") }
    })
    .await;
    (app, seen)
}

fn unix_ms(from_now: Duration) -> u64 {
    let at = (SystemTime::now() + from_now).duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(at.as_millis()).expect("in range")
}

/// A fault on everything, for an hour.
fn fault(end: Option<FaultEnd>) -> Fault {
    Fault {
        policy: "drill".into(),
        until_unix_ms: unix_ms(Duration::from_hours(1)),
        share: 10_000,
        matches: None,
        dependency: None,
        delay: None,
        end,
    }
}

const UNAVAILABLE: FaultEnd = FaultEnd::Abort { status: 503, grpc_status: None };

async fn struck(app: &TestApp, faults: Vec<Fault>) -> Pod {
    let keys = Keys::new();
    let mut document = document(7, app.port, &keys);
    document.faults = faults;
    Pod::with(document, &keys).await
}

async fn get(pod: &Pod, path: &str, fields: &str) -> Answer {
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n{fields}\r\n")).await;
    caller.answer().await
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.headers.get("x-shop-reason").map_or("", |value| value.to_str().expect("text")))
}

#[tokio::test]
async fn only_requests_that_fit_are_answered_in_the_apps_place() {
    let (app, seen) = counting().await;
    let matches = FaultMatch {
        path: Some("/orders/{id}/pay".into()),
        method: Some("GET".into()),
        headers: vec![Pair { name: "x-drill".into(), value: "yes".into() }],
    };
    let pod = struck(&app, vec![Fault { matches: Some(matches), ..fault(Some(UNAVAILABLE)) }]).await;
    assert_eq!(told(&get(&pod, "/orders/7/pay", "x-drill: yes\r\n").await), (503, "fault"));
    for (path, fields) in
        [("/orders/7/pay", ""), ("/orders/7/pay", "x-drill: no\r\n"), ("/orders/7", "x-drill: yes\r\n")]
    {
        assert_eq!(told(&get(&pod, path, fields).await), (200, ""), "{path} {fields}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let metrics = pod.metrics().await;
    assert!(metrics.contains("shop_sidecar_faults_total{kind=\"abort\"} 1\n"), "{metrics}");
    assert!(metrics.contains("shop_sidecar_self_answered_total{reason=\"fault\"} 1\n"), "{metrics}");
    // It is what a user saw.
    until("all are counted", async || pod.stats().await.window.unwrap_or_default().requests == 4).await;
    assert_eq!(pod.stats().await.window.unwrap_or_default().failures, 1);
}

#[tokio::test]
async fn a_fault_ends_by_itself() {
    let (app, _) = counting().await;
    let until_unix_ms = unix_ms(Duration::from_millis(600));
    let pod = struck(&app, vec![Fault { until_unix_ms, ..fault(Some(UNAVAILABLE)) }]).await;
    let first = get(&pod, "/", "").await;
    assert!(first.status == 503 || unix_ms(Duration::ZERO) >= until_unix_ms, "{first:?}");
    until("it is over", async || get(&pod, "/", "").await.status == 200).await;
    assert!(unix_ms(Duration::ZERO) >= until_unix_ms);
    assert_eq!(get(&pod, "/", "").await.status, 200);
}

#[tokio::test]
async fn a_delay_holds_as_a_slow_app_does() {
    let (app, seen) = counting().await;
    let delay = Some(Delay { fixed_ms: 200, jitter_ms: 50 });
    let mut pod = struck(&app, vec![Fault { delay, ..fault(None) }]).await;
    let began = Instant::now();
    assert_eq!(told(&get(&pod, "/", "").await), (200, ""));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    // The time that a request has counts on, and with a minute's delay nobody reaches the app.
    pod.document.generation += 1;
    pod.document.limits = Some(Limits { request_timeout_ms: Some(100), ..Limits::default() });
    pod.document.faults[0].delay = Some(Delay { fixed_ms: 60_000, jitter_ms: 0 });
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(told(&get(&pod, "/", "").await), (504, "request-timeout"));
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    // Live: the next request of the same connection is not struck any more.
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(caller.get("/").await.status, 504);
    pod.document.generation += 1;
    pod.document.faults.clear();
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(caller.get("/").await.status, 200);
    assert!(pod.metrics().await.contains("shop_sidecar_faults_total{kind=\"delay\"} 3\n"));
}

#[tokio::test]
async fn a_dropped_request_gets_no_answer() {
    let (app, seen) = counting().await;
    let matches = Some(FaultMatch { path: Some("/drop".into()), ..FaultMatch::default() });
    let pod = struck(&app, vec![Fault { matches, ..fault(Some(FaultEnd::Drop)) }]).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(caller.get("/").await.status, 200);
    caller.write("GET /drop HTTP/1.1\r\nhost: order\r\n\r\n").await;
    assert!(caller.ends().await);
    // Of HTTP/2 the stream alone.
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::get("http://order/drop").body(Empty::new()).expect("request");
    let error = within(caller.sender.send_request(request)).await.expect_err("no answer");
    assert!(format!("{error:?}").contains("INTERNAL_ERROR"), "{error:?}");
    assert_eq!(caller.get("/").await.0, 200);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    assert!(pod.metrics().await.contains("shop_sidecar_faults_total{kind=\"drop\"} 2\n"));
    until("all are counted", async || pod.stats().await.window.unwrap_or_default().requests == 4).await;
    assert_eq!(pod.stats().await.window.unwrap_or_default().failures, 2);
}

#[tokio::test]
async fn grpc_callers_get_a_status_of_grpc() {
    let (app, _) = counting().await;
    let end = FaultEnd::Abort { status: 503, grpc_status: Some(8) };
    let pod = struck(&app, vec![fault(Some(end))]).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::post("http://order/pay").header("content-type", "application/grpc");
    let answer = caller.send(request.body(Full::from("message")).expect("request")).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"8".parse().unwrap()));
    assert_eq!(answer.headers()["x-shop-reason"], "fault");
}

#[tokio::test]
async fn the_revision_that_answers_is_the_one_that_is_struck() {
    let ((app, _), (other, _)) = (counting().await, counting().await);
    let keys = Keys::new();
    let mut candidate = document(8, other.port, &keys);
    candidate.faults = vec![fault(Some(UNAVAILABLE))];
    let candidate = Pod::with(candidate, &keys).await;
    let mut pod = Pod::start(7, app.port, &keys).await;
    assert_eq!(get(&pod, "/", "").await.status, 200);
    pod.hand_off(Some(to(8, 10_000, &candidate.sidecar.inbound.to_string(), true))).await;
    assert_eq!(told(&get(&pod, "/", "").await), (503, "fault"));
    // A fault on a revision is none for what another one answers.
    pod.document.faults = vec![fault(Some(FaultEnd::Drop))];
    pod.hand_off(pod.document.hand_off.clone()).await;
    assert_eq!(told(&get(&pod, "/", "").await), (503, "fault"));
}

#[tokio::test]
async fn a_span_names_the_policy() {
    let ((app, _), collector) = (counting().await, Collector::start(Otlp::Http).await);
    let keys = Keys::new();
    let mut document = document(7, app.port, &keys);
    document.telemetry = Some(collector.tracing(Otlp::Http, 10_000, 0));
    document.faults = vec![fault(Some(UNAVAILABLE))];
    let pod = Pod::with(document, &keys).await;
    assert_eq!(get(&pod, "/", "").await.status, 503);
    let spans = collector.spans(1).await;
    let said = |key| attribute(&spans[0].1, key);
    assert_eq!((said("shop.fault"), said("shop.reason")), (Some("drill".into()), Some("fault".into())));
}
