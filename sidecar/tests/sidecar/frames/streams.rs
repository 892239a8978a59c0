//! What HTTP/2 carries beside requests and answers: interim answers, WebSockets, and an end in two steps.

use bytes::Bytes;
use http::{Method, Request};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::support::{Keys, Pod, until};

type Sender = h2::client::SendRequest<Bytes>;

async fn client(address: SocketAddr) -> (Sender, AbortOnDropHandle<()>) {
    let stream = within(TcpStream::connect(address)).await.expect("connected");
    let (sender, connection) = within(h2::client::handshake(stream)).await.expect("handshake");
    let driver = tokio::spawn(async move { drop(connection.await) });
    (sender, AbortOnDropHandle::new(driver))
}

/// An app that answers each head with these bytes, and a request with `expect` only when its body has come.
async fn app(before: &'static str, after: &'static str) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("address").port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read_buf(&mut request).await, Ok(1..)) {}
            let _ = stream.write_all(before.as_bytes()).await;
            if String::from_utf8_lossy(&request).contains("expect: 100-continue") {
                let mut body = [0; 5];
                let _ = stream.read_exact(&mut body).await;
            }
            let _ = stream.write_all(after.as_bytes()).await;
        }
    });
    (port, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn interim_answers_are_passed_on() {
    let (port, _app) = app(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nkeep-alive: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let pod = Pod::start(7, port, &Keys::new()).await;
    let (mut sender, _driver) = client(pod.sidecar.inbound).await;
    let request = Request::post("http://order/")
        .header("expect", "100-continue")
        .header("content-length", "5")
        .body(())
        .expect("request");
    let (mut answer, mut body) = sender.send_request(request, false).expect("sent");
    for status in [100, 102, 103] {
        let told = within(std::future::poll_fn(|context| answer.poll_informational(context))).await;
        let told = told.expect("an interim answer").expect("sound");
        assert_eq!(told.status(), status);
        assert_eq!(told.headers().contains_key("link"), status == 103);
        assert!(!told.headers().contains_key("keep-alive"));
    }
    // Nothing of the body was sent before the app asked for it.
    body.send_data(Bytes::from("hello"), true).expect("sent");
    let mut answer = within(answer).await.expect("answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(within(answer.body_mut().data()).await.expect("data").expect("sound"), "ok");
}

#[tokio::test]
async fn an_app_may_refuse_before_the_body_comes() {
    let (port, _app) = app("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "").await;
    let pod = Pod::start(7, port, &Keys::new()).await;
    let (mut sender, _driver) = client(pod.sidecar.inbound).await;
    let request =
        Request::post("http://order/").header("content-length", "1000000").body(()).expect("request");
    let (answer, _body) = sender.send_request(request, false).expect("sent");
    assert_eq!(within(answer).await.expect("answer").status(), 403);
}

/// A text frame of a client, with a mask of zeros, and the same of a server.
fn text(words: &str) -> (Vec<u8>, Vec<u8>) {
    let length = u8::try_from(words.len()).expect("short");
    (
        [&[0x81, 0x80 | length, 0, 0, 0, 0], words.as_bytes()].concat(),
        [&[0x81, length], words.as_bytes()].concat(),
    )
}

async fn open_websocket(pod: &Pod) -> (h2::SendStream<Bytes>, h2::RecvStream, AbortOnDropHandle<()>) {
    let (mut sender, driver) = client(pod.sidecar.inbound).await;
    // The server's settings come before its first answer.
    let first = sender.send_request(Request::get("http://order/").body(()).expect("request"), true);
    drop(within(first.expect("sent").0).await);
    assert!(sender.is_extended_connect_protocol_enabled());
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://order/feed")
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from_static("websocket"))
        .body(())
        .expect("request");
    let (answer, out) = sender.send_request(request, false).expect("sent");
    let answer = within(answer).await.expect("answer");
    assert_eq!(answer.status(), 200);
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    (out, answer.into_body(), driver)
}

async fn read(stream: &mut h2::RecvStream, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        let data = within(stream.data()).await.expect("more").expect("sound");
        stream.flow_control().release_capacity(data.len()).expect("released");
        read.extend_from_slice(&data);
    }
    read
}

#[tokio::test]
async fn a_websocket_passes_on_a_stream() {
    let app = crate::pass::echo_websocket().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let (mut out, mut back, _driver) = open_websocket(&pod).await;
    for words in ["one", "two"] {
        let (sent, expected) = text(words);
        out.send_data(Bytes::from(sent), false).expect("sent");
        assert_eq!(read(&mut back, expected.len()).await, expected);
    }
    assert_eq!(pod.stats().await.upgraded, 1);
    out.send_data(Bytes::from(text("bye").0), false).expect("sent");
    assert_eq!(read(&mut back, 4).await, [0x88, 0x02, 0x03, 0xf4]);
    assert!(within(back.data()).await.is_none_or(|data| data.is_ok_and(|data| data.is_empty())));
    drop(out);
    until("the tunnel ends", async || {
        let stats = pod.stats().await;
        (stats.upgraded, stats.in_flight) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_drain_says_so_twice_and_finishes_what_was_begun() {
    let (port, _app) = app("", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let pod = Pod::start(7, port, &Keys::new()).await;
    let mut caller = Caller::connect(pod.sidecar.inbound).await;
    caller.send(&post(1, &[("expect", "100-continue"), ("content-length", "5")])).await;
    until("the request has begun", async || pod.stats().await.in_flight == 1).await;
    pod.sidecar.drain.begin();
    let first = caller.until(|back| matches!(back, Back::Goaway(_))).await;
    assert_eq!(first, Back::Goaway(NO_ERROR));
    caller.send(&frame(DATA, END_STREAM, 1, b"hello")).await;
    assert_eq!(caller.until(|back| matches!(back, Back::Status(..))).await, Back::Status(1, 200));
}
