//! Sides that end before the other one: a client after its request, an app before the request has ended.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::client::Http1;
use crate::support::{Keys, Pod, TestApp, text, until, within};

/// Answers with what it was sent, when it is told to.
async fn waiting() -> (TestApp, watch::Sender<bool>) {
    let (go, gone) = watch::channel(false);
    let app = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let mut gone = gone.clone();
        async move {
            let body = request.into_body().collect().await;
            let _ = gone.wait_for(|gone| *gone).await;
            text(body.map(http_body_util::Collected::to_bytes).unwrap_or_default())
        }
    })
    .await;
    (app, go)
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_its_answer() {
    let (app, go) = waiting().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let one = "POST / HTTP/1.1\r\nhost: order\r\ncontent-length: 5\r\n\r\nhello";
    let chunked =
        "POST / HTTP/1.1\r\nhost: order\r\ntransfer-encoding: chunked\r\n\r\n5\r\nagain\r\n0\r\n\r\n";
    for (said, answers) in
        [(one.to_owned(), vec!["hello"]), (format!("{one}{chunked}"), vec!["hello", "again"])]
    {
        go.send_replace(false);
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller.write(&said).await;
        caller.stream.shutdown().await.expect("ended");
        // Longer than an end is taken for one that belongs to the request.
        until("it waits", async || pod.stats().await.idle_ms.is_some_and(|idle| idle > 200)).await;
        assert_eq!(pod.stats().await.in_flight, 1);
        go.send_replace(true);
        for expected in answers {
            let answer = caller.answer().await;
            assert_eq!((answer.status, answer.body.as_str()), (200, expected));
        }
        assert!(caller.ends().await);
    }
}

#[tokio::test]
async fn a_client_that_ends_later_has_given_up() {
    let (app, _go) = waiting().await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET / HTTP/1.1\r\nhost: order\r\n\r\n").await;
    until("it waits", async || pod.stats().await.idle_ms.is_some_and(|idle| idle > 200)).await;
    drop(caller);
    until("the request has ended", async || pod.stats().await.in_flight == 0).await;
    assert_eq!(pod.stats().await.window.expect("told").requests, 0);
}

#[tokio::test]
async fn an_app_may_end_its_side_before_the_request_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listening");
    let port = listener.local_addr().expect("address").port();
    // It reads a head, answers, ends its side, and then reads on, or no more.
    let app = tokio::spawn(async move {
        for reads_on in [true, false] {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                stream.read_buf(&mut head).await.expect("read");
            }
            let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
            stream.write_all(answer.as_bytes()).await.expect("written");
            if reads_on {
                stream.shutdown().await.expect("ended");
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        }
    });
    let pod = Pod::start(7, port, &Keys::new()).await;
    for _ in 0..2 {
        let mut caller = Http1::connect(pod.sidecar.inbound).await;
        caller
            .write("POST / HTTP/1.1\r\nhost: order\r\ncontent-length: 10000000\r\n\r\nonly the beginning")
            .await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (413, "no"));
    }
    within(app).await.expect("the app");
}

/// What nobody reads stays with its sender, however much it has.
#[tokio::test]
async fn a_body_that_the_app_does_not_read_is_not_taken_in() {
    let (release, held) = watch::channel(false);
    let app = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|held| *held).await;
            let read = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
            text(read.to_string())
        }
    })
    .await;
    let pod = Pod::start(7, app.port, &Keys::new()).await;
    let stream = within(tokio::net::TcpStream::connect(pod.sidecar.inbound)).await.expect("connected");
    let (mut sender, connection) = within(h2::client::handshake(stream)).await.expect("handshake");
    let _driver = tokio::spawn(async move { drop(connection.await) });
    let request = Request::post("http://order/").body(()).expect("request");
    let (answer, mut body) = sender.send_request(request, false).expect("sent");
    let mut sent = 0;
    loop {
        body.reserve_capacity(64 * 1024);
        let room = std::future::poll_fn(|context| body.poll_capacity(context));
        let Ok(room) = tokio::time::timeout(std::time::Duration::from_millis(300), room).await else { break };
        let room = room.expect("open").expect("open");
        body.send_data(Bytes::from(vec![7; room]), false).expect("sent");
        sent += room;
        assert!(sent < 64 * 1024 * 1024, "the sidecar takes everything");
    }
    release.send(true).expect("somebody waits");
    body.send_data(Bytes::new(), true).expect("sent");
    let mut answer = within(answer).await.expect("answer").into_body();
    let told = within(answer.data()).await.expect("data").expect("data");
    assert_eq!(String::from_utf8_lossy(&told), sent.to_string());
}
