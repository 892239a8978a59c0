//! What comes in goes out: HTTP/1.1, HTTP/2, gRPC, WebSocket, streams, and what is refused.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use crate::support;
use crate::support::client::{Http1, Http2, get};
use crate::support::{Keys, Pod, TestApp, document, text, until, within};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use shop_contract::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, Message};

/// Tells the app's view of a request: method, path, and its header fields.
async fn mirror() -> TestApp {
    TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut said = format!("{} {} {:?}\n", head.method, head.uri, head.version);
        for (name, value) in &head.headers {
            writeln!(said, "{name}: {}", value.to_str().expect("text")).expect("written");
        }
        said.push_str(&String::from_utf8_lossy(&body));
        let mut answer = text(said);
        let fields = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=9"), ("x-end", "2")];
        for (name, value) in fields {
            answer.headers_mut().append(name, value.parse().expect("value"));
        }
        answer
    })
    .await
}

#[tokio::test]
async fn a_connection_carries_many_requests_and_no_field_of_one_hop() {
    let app = mirror().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for path in ["/a?b=c", "/b", "/c"] {
        caller
            .write(&format!(
                "GET {path} HTTP/1.1\r\nHost: order:80\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nTE: gzip\r\n\
                 Proxy-Connection: keep-alive\r\nX-Forwarded-For: 9.9.9.9\r\nX-Yours: 2\r\n\r\n"
            ))
            .await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(&format!("GET {path} HTTP/1.1\n")), "{}", answer.body);
        for there in [
            "host: order:80",
            "x-yours: 2",
            "\nx-forwarded-for: 127.0.0.1\n",
            "x-forwarded-proto: http",
            "via: 1.1 shop\n",
        ] {
            assert!(answer.body.contains(there), "{there} in {}", answer.body);
        }
        assert!(answer.body.contains("x-request-id: ") && answer.body.contains("x-forwarded-host: order:80"));
        for gone in ["x-mine", "\nconnection", "\nte:", "proxy-connection"] {
            assert!(!answer.body.contains(gone), "{gone} in {}", answer.body);
        }
        assert_eq!(answer.headers.get("x-end").map(http::HeaderValue::as_bytes), Some(&b"2"[..]));
        assert_eq!(answer.headers.get("via").map(http::HeaderValue::as_bytes), Some(&b"1.1 shop"[..]));
        assert!(!answer.headers.contains_key("x-hop") && !answer.headers.contains_key("keep-alive"));
    }
    assert_eq!(pod.stats().await.connections, 1);
}

#[tokio::test]
async fn a_trusted_hop_says_who_sent_the_request() {
    let (app, keys) = (mirror().await, Keys::new());
    let mut document = document(7, app.port, &keys);
    document.trusted_hops = vec!["127.0.0.0/8".into(), "10.0.0.0/8".into()];
    let mut pod = Pod::with(document, &keys).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    let request = "GET / HTTP/1.1\r\nhost: order\r\nx-forwarded-for: 6.6.6.6, 1.1.1.1, 10.0.0.2\r\nx-real-ip: 1.1.1.1\r\n\
                   x-forwarded-proto: https\r\nforwarded: for=6.6.6.6\r\nconnection: x-forwarded-for-not\r\n\r\n";
    caller.write(request).await;
    let said = caller.answer().await.body;
    for there in [
        "\nx-forwarded-for: 1.1.1.1, 10.0.0.2, 127.0.0.1\n",
        "x-forwarded-proto: https\n",
        "x-real-ip: 1.1.1.1\n",
    ] {
        assert!(said.contains(there), "{there} in {said}");
    }
    assert!(!said.contains("6.6.6.6"), "{said}");
    // It is taken back while the connection is open.
    pod.document.trusted_hops.clear();
    pod.hand_off(None).await;
    caller.write(request).await;
    let said = caller.answer().await.body;
    assert!(
        said.contains("\nx-forwarded-for: 127.0.0.1\n") && said.contains("x-forwarded-proto: http\n"),
        "{said}"
    );
    assert!(!said.contains("1.1.1.1") && !said.contains("forwarded: for"), "{said}");
}

#[tokio::test]
async fn the_apps_connection_is_used_again() {
    let app = TestApp::saying("hello").await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for _ in 0..100 {
        assert_eq!(caller.get("/").await.body, "hello");
    }
    // A connection may need a moment to be ready again, so that another one is opened now and then.
    assert!(app.connections.load(Ordering::SeqCst) < 100);
    until("requests are counted", async || pod.stats().await.served == 100).await;
    let metrics = pod.metrics().await;
    let line = r#"shop_sidecar_requests_total{code_class="2xx",colour="blue",protocol="http1",revision="7",role="active"} 100"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn http2_is_passed_on_as_http1() {
    let app = mirror().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::post("http://order.shop/path?q=1").header("cookie", "a=1").header("cookie", "b=2");
    let response = caller.send(request.body(Full::from("payload")).expect("request")).await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("connection"));
    let said = within(response.into_body().collect()).await.expect("body").to_bytes();
    let said = String::from_utf8(said.to_vec()).expect("text");
    for there in [
        "POST /path?q=1 HTTP/1.1\n",
        "host: order.shop\n",
        "via: 2.0 shop\n",
        "cookie: a=1; b=2\n",
        "\npayload",
    ] {
        assert!(said.contains(there), "{there:?} in {said}");
    }
}

#[tokio::test]
async fn grpc_keeps_its_trailers() {
    let app = TestApp::http2(|request: Request<hyper::body::Incoming>| async move {
        assert_eq!(request.headers().get("te").map(http::HeaderValue::as_bytes), Some(&b"trailers"[..]));
        let sent = request.into_body().collect().await.expect("body").to_bytes();
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().expect("name"), "5".parse().expect("value"))]);
        let frames = futures::stream::iter([Ok(Frame::data(sent)), Ok(Frame::trailers(trailers))]);
        Response::new(StreamBody::new(frames).boxed_unsync())
    })
    .await;
    let keys = Keys::new();
    // By content type on an http app's port, and always on a grpc app's.
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let mut document = document(7, app.port, &keys);
        document.app.protocol = protocol;
        let pod = Pod::with(document, &keys).await;
        let mut caller = Http2::connect(pod.sidecar.inbound).await;
        let request =
            Request::post("http://order/shop.Order/Get").header("content-type", "application/grpc+proto");
        let response =
            caller.send(request.header("te", "trailers").body(Full::from("message")).expect("request")).await;
        let body = within(response.into_body().collect()).await.expect("body");
        assert_eq!(
            body.trailers().and_then(|trailers| trailers.get("grpc-status")).map(http::HeaderValue::as_bytes),
            Some(&b"5"[..])
        );
        assert_eq!(body.to_bytes(), "message");
    }
}

#[tokio::test]
async fn streams_are_passed_on_as_they_come() {
    // The app sends back each piece when it gets it; the caller sends the second piece only when it has the first one back.
    let app = TestApp::http1(|request: Request<hyper::body::Incoming>| async move {
        let (mut out, pieces) = mpsc::channel(0);
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    let _ = out.send(Ok(Frame::data(data))).await;
                }
            }
        });
        Response::new(StreamBody::new(pieces).boxed_unsync())
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;

    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("POST / HTTP/1.1\r\nhost: order\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in ["alpha", "bravo"] {
        caller.write(&format!("5\r\n{piece}\r\n")).await;
        caller.read_until(piece).await;
    }
    caller.write("0\r\n\r\n").await;
    caller.read_until("0\r\n\r\n").await;

    let (mut pieces, body) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(0);
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let mut answer =
        caller.send(Request::post("http://order/").body(StreamBody::new(body)).expect("request")).await;
    for piece in ["alpha", "bravo"] {
        within(pieces.send(Ok(Frame::data(Bytes::from(piece))))).await.expect("sent");
        let back =
            within(answer.body_mut().frame()).await.expect("frame").expect("data").into_data().expect("data");
        assert_eq!(back, piece);
    }
    drop(pieces);
    assert!(within(answer.into_body().collect()).await.expect("the end").to_bytes().is_empty());
}

/// A WebSocket server that echoes text, and on "bye" leaves without a close frame.
pub(crate) async fn echo_websocket() -> TestApp {
    TestApp::http1(|mut request: Request<hyper::body::Incoming>| async move {
        let key = request.headers().get("sec-websocket-key").expect("key").clone();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = hyper_util::rt::TokioIo::new(upgraded.await.expect("upgraded"));
            let role = tungstenite::protocol::Role::Server;
            let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(stream, role, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.to_text().is_ok_and(|text| text == "bye") {
                    return;
                }
                let _ = socket.send(message).await;
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
            .body(support::empty())
            .expect("answer")
    })
    .await
}

#[tokio::test]
async fn a_websocket_passes_and_ends_with_1012_when_the_app_leaves() {
    let app = echo_websocket().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let stream = tokio::net::TcpStream::connect(pod.sidecar.inbound).await.expect("connected");
    let (mut socket, _) =
        within(tokio_tungstenite::client_async("ws://order/feed", stream)).await.expect("handshake");
    for text in ["one", "two"] {
        within(socket.send(Message::text(text))).await.expect("sent");
        let back = within(socket.next()).await.expect("message").expect("read");
        assert_eq!(back.to_text().expect("text"), text);
    }
    let stats = pod.stats().await;
    assert_eq!((stats.upgraded, stats.connections, stats.in_flight), (1, 1, 1));
    within(socket.send(Message::text("bye"))).await.expect("sent");
    match within(socket.next()).await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1012),
        other => panic!("no close frame: {other:?}"),
    }
    drop(socket);
    until("the tunnel ends", async || {
        let stats = pod.stats().await;
        (stats.upgraded, stats.connections, stats.in_flight) == (0, 0, 0)
    })
    .await;
}

#[tokio::test]
async fn expectations_heads_and_early_answers() {
    let app = mirror().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("POST / HTTP/1.1\r\nhost: order\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert!(caller.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    caller.write("hello").await;
    assert!(caller.answer().await.body.ends_with("hello"));
    caller.write("HEAD / HTTP/1.1\r\nhost: order\r\n\r\n").await;
    let head = caller.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: "), "{head}");
    assert!(caller.get("/after").await.body.starts_with("GET /after"));

    let hasty = TestApp::http1(|_| async { text("no") }).await;
    let pod = Pod::start(7, hasty.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: 1000000\r\n\r\nonly the beginning").await;
    assert_eq!(caller.answer().await.body, "no");
}

#[tokio::test]
async fn doubtful_requests_are_refused() {
    let app = mirror().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let refused = [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
    ];
    for request in refused {
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller.write(request).await;
        let answer = caller.answer().await;
        assert_eq!(answer.status, 400, "{request:?}");
        assert_eq!(
            answer.headers.get("x-shop-reason").map(http::HeaderValue::as_bytes),
            Some(&b"bad-request"[..]),
            "{request:?}"
        );
        assert!(caller.ends().await, "{request:?}");
    }
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("CONNECT other:443 HTTP/1.1\r\nhost: other:443\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 501);
    assert_eq!(app.connections.load(Ordering::SeqCst), 0, "the app saw none of them");
    until("all are counted", async || {
        pod.metrics().await.contains(r#"_self_answered_total{reason="bad-request"} 5"#)
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let keys = Keys::new();
    let app = TestApp::saying("hello").await;
    let mut document = document(7, app.port, &keys);
    document.max_connections = 1;
    let pod = Pod::with(document, &keys).await;
    let mut first = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Http1::connect(pod.sidecar.inbound).await;
    let answer = second.get("/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.headers.get("x-shop-reason").map(http::HeaderValue::as_bytes),
        Some(&b"too-many-connections"[..])
    );
    assert_eq!(first.get("/").await.status, 200);
    drop(first);
    until("the place is free again", async || get(pod.sidecar.inbound, "/").await.0 == 200).await;
}

#[tokio::test]
async fn a_get_survives_an_app_that_closes_its_connections() {
    // Answers the first request of each connection, and closes on the second without a word.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("address").port();
    let app = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    let pod = Pod::start(7, port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    for _ in 0..20 {
        let answer = caller.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    app.abort();
    let _ = app.await;
}

#[tokio::test]
async fn an_app_that_is_away_is_named_as_the_reason() {
    // Not a port that the system gives to another test.
    let pod = Pod::start(7, 1, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    let answer = caller.get("/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.headers.get("x-shop-reason").map(http::HeaderValue::as_bytes),
        Some(&b"app-unreachable"[..])
    );
    assert_eq!(pod.readiness().await, 503);
}
