//! `limits.requestTimeout`, deadlines that requests bring, and `limits.maxBodyBytes`.

use std::time::Instant;

use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;

fn in_time(millis: u64) -> Limits {
    Limits { request_timeout_ms: Some(millis), ..Limits::default() }
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_a_504() {
    let app = HoldingApp::start().await;
    let pod = limited(app.app.port, in_time(50), &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(refused(&caller.get("/never").await), (504, "request-timeout"));
    let answer = caller.get("/").await;
    assert_eq!(answer.status, 200, "the connection goes on");
    let told: u64 = answer
        .body
        .strip_prefix("deadline ")
        .and_then(|rest| rest.split(',').next())
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=50).contains(&told), "{told}");
    until("both are counted", async || {
        pod.metrics().await.contains(r#"_self_answered_total{reason="request-timeout"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn a_deadline_that_comes_along_is_kept_and_passed_on() {
    let app = HoldingApp::start().await;
    let pod = limited(app.app.port, in_time(60_000), &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET /never HTTP/1.1\r\nhost: order\r\nx-shop-deadline-ms: 40\r\n\r\n").await;
    assert_eq!(refused(&caller.answer().await), (504, "deadline-exceeded"));
    caller.write("GET / HTTP/1.1\r\nhost: order\r\nx-shop-deadline-ms: 30000\r\n\r\n").await;
    let told = caller.answer().await.body;
    let told: u64 =
        told.strip_prefix("deadline ").and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
    assert!((1..=30_000).contains(&told), "{told}");
    // Also where nothing is limited; and without a deadline none is made up.
    let pod = Pod::start(7, app.app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET /never HTTP/1.1\r\nhost: order\r\nx-shop-deadline-ms: 40\r\n\r\n").await;
    assert_eq!(refused(&caller.answer().await), (504, "deadline-exceeded"));
    assert_eq!(caller.get("/").await.body, "deadline none, body 0");
}

/// A call whose first answer comes later than any request may take, and its deadline when it has one.
#[tokio::test]
async fn calls_have_the_deadline_that_they_bring() {
    let app = TestApp::http2(|request: Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        let told = field(request.headers(), "grpc-timeout").to_owned();
        let sent = request.into_body().collect().await.expect("body").to_bytes();
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            "0".parse().expect("value"),
        )]);
        let frames =
            [Ok(Frame::data(format!("{told} {}", sent.len()).into())), Ok(Frame::trailers(trailers))];
        Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
    })
    .await;
    let limits = Limits { max_body_bytes: Some(1), ..in_time(30) };
    let pod = limited(app.port, limits, &Keys::new()).await;
    assert_eq!(call(&pod, &[("grpc-timeout", "40m")]).await, (200, "4".into(), "deadline-exceeded".into()));
    // A stream of which the caller keeps its side open for longer than a request may take.
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let (mut out, pieces) =
        futures::channel::mpsc::channel::<Result<Frame<bytes::Bytes>, std::convert::Infallible>>(1);
    let request = Request::post("http://order/Chat")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "20S");
    let request = request.body(StreamBody::new(pieces)).expect("request");
    let begun = Instant::now();
    let sending = async {
        until("a request would have been cut", async || begun.elapsed().as_millis() > 60).await;
        futures::SinkExt::send(&mut out, Ok(Frame::data("message".into()))).await.expect("sent");
        drop(out);
    };
    let (answer, ()) = tokio::join!(caller.send(request), sending);
    assert_eq!(answer.status(), 200);
    let body = within(answer.into_body().collect()).await.expect("body");
    assert_eq!(body.trailers().map(|trailers| field(trailers, "grpc-status")), Some("0"));
    let body = body.to_bytes();
    let (told, length) = std::str::from_utf8(&body).unwrap().split_once(' ').unwrap();
    assert_eq!(length, "7", "streams are not bounded as bodies are");
    let told: u64 = told.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=20_000).contains(&told), "{told}");
}

#[tokio::test]
async fn a_body_is_as_long_as_it_may_be() {
    let app = HoldingApp::start().await;
    let limits = Limits { max_body_bytes: Some(100), ..Limits::default() };
    let pod = limited(app.app.port, limits, &Keys::new()).await;
    let post = |framing: &str| format!("POST / HTTP/1.1\r\nhost: order\r\n{framing}\r\n\r\n");
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write(&(post("content-length: 100") + &"x".repeat(100))).await;
    assert!(caller.answer().await.body.ends_with("body 100"));
    // Told at once, before the body was sent.
    caller.write(&post("content-length: 101\r\nexpect: 100-continue")).await;
    assert_eq!(refused(&caller.answer().await), (413, "body-too-large"));
    // Of unknown length: in the middle of it.
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    let chunk = format!("32\r\n{}\r\n", "x".repeat(50));
    caller.write(&(post("transfer-encoding: chunked") + &chunk + &chunk + "0\r\n\r\n")).await;
    assert!(caller.answer().await.body.ends_with("body 100"));
    caller.write(&(post("transfer-encoding: chunked") + &chunk + &chunk)).await;
    caller.write(&chunk).await;
    assert_eq!(refused(&caller.answer().await), (413, "body-too-large"));
    assert!(caller.ends().await);
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let long = Request::post("http://order/").body(Full::from("x".repeat(101))).expect("request");
    let answer = caller.send(long).await;
    assert_eq!((answer.status().as_u16(), field(answer.headers(), "x-shop-reason")), (413, "body-too-large"));
}
