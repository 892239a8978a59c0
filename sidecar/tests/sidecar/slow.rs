//! Callers that are slow on purpose: each is ended in time, and costs the others nothing.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::client::{Http1, get};
use crate::support::{Keys, Pod, TestApp, text, within};
use http::Request;
use http_body_util::BodyExt as _;

/// Reads a whole body before it answers.
async fn patient() -> TestApp {
    TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        text(body.unwrap_or_default())
    })
    .await
}

#[tokio::test]
async fn a_body_that_hardly_comes_is_ended_and_others_are_served() {
    let app = patient().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for head in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller.write(&format!("POST / HTTP/1.1\r\nhost: order\r\n{head}\r\n\r\n")).await;
        slow.push(caller);
    }
    // Some of the first comes: two seconds' worth.
    slow[0].write(&"x".repeat(480)).await;
    for caller in &mut slow {
        let ended = async {
            let answer = caller.answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (408, "body-too-slow"));
            assert_eq!(
                answer.headers.get("connection").map(http::HeaderValue::as_bytes),
                Some(&b"close"[..])
            );
        };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                good = get(pod.sidecar.inbound, "/") => assert_eq!(good.0, 200),
            }
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn the_app_says_whether_a_body_shall_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("address").port();
    let app = tokio::spawn(async move {
        let mut heads = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.expect("read") > 0);
            }
            let head = String::from_utf8(request).expect("text");
            if head.starts_with("POST /no") {
                stream
                    .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .expect("written");
            } else {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("written");
                let mut body = [0; 5];
                stream.read_exact(&mut body).await.expect("body");
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("written");
            }
            heads.push(head);
            if heads.len() == 2 {
                return heads;
            }
        }
        heads
    });
    let pod = Pod::start(7, port, &Keys::new()).await;
    for (path, first) in [("/yes", "HTTP/1.1 100 "), ("/no", "HTTP/1.1 403 ")] {
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller
            .write(&format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
            ))
            .await;
        let head = caller.read_until("\r\n\r\n").await;
        assert!(head.starts_with(first), "{head}");
        if path == "/yes" {
            caller.write("hello").await;
            assert_eq!(caller.answer().await.status, 200);
        }
    }
    let heads = within(app).await.expect("the app");
    // The app had nothing but the head when it decided.
    assert!(
        heads.iter().all(|head| head.contains("expect: 100-continue\r\n") && head.ends_with("\r\n\r\n")),
        "{heads:?}"
    );
}
