//! The end of serving on real sockets: what is in flight is answered, what is idle may still ask.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::faults::Faults;
use crate::front::{Context, Routes};

const DEADLINE: Duration = Duration::from_mins(1);

struct Served {
    address: SocketAddr,
    stop: Stop,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    task: JoinHandle<Ended>,
}

/// A service with `/fast`, and `/slow` that says when it is entered and waits to be released.
async fn served(limits: Limits) -> Served {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let stop = Stop::new();
    let slow = {
        let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
        get(async move || {
            entered.notify_one();
            release.notified().await;
            "slow"
        })
    };
    let web = Router::new().route("/fast", get(async || "fast")).route("/slow", slow);
    let context = Context { version: "v1".into(), revision: None, stop: stop.clone() };
    let front = Front::new(&context, Faults::new(&[]), Routes { web, ..Routes::default() }).unwrap();
    let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(serve(listener, front, stop.clone(), limits));
    Served { address, stop, entered, release, task }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn send(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: product\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads until `end` is seen, or the connection ends; a reset ends it too.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(end) {
        match stream.read(&mut buffer).await.unwrap_or(0) {
            0 => break,
            length => text.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
        }
    }
    text
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_the_end_is_clean() {
    tokio::time::timeout(DEADLINE, async {
        let limits = Limits { quiet: Duration::from_millis(50), end: DEADLINE, ..Limits::default() };
        let served = served(limits).await;
        let mut busy = connect(served.address).await;
        let mut idle = connect(served.address).await;
        send(&mut idle, "/fast").await;
        assert!(!read_until(&mut idle, "fast").await.contains("connection: close"));
        send(&mut busy, "/slow").await;
        served.entered.notified().await;
        served.stop.begin();
        // While a request is in flight, an idle connection may ask once more, and a new one is taken.
        send(&mut idle, "/fast").await;
        let answer = read_until(&mut idle, "fast").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        let mut late = connect(served.address).await;
        send(&mut late, "/fast").await;
        assert!(read_until(&mut late, "fast").await.starts_with("HTTP/1.1 200"));
        served.release.notify_one();
        let answer = read_until(&mut busy, "slow").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert_eq!(served.task.await.unwrap(), Ended::Clean);
        assert_eq!(read_until(&mut idle, "never").await, "", "closed");
    })
    .await
    .expect("within the deadline");
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_end() {
    tokio::time::timeout(DEADLINE, async {
        let limits = Limits { quiet: Duration::from_millis(50), end: DEADLINE * 10, ..Limits::default() };
        let served = served(limits).await;
        let mut idle = connect(served.address).await;
        send(&mut idle, "/fast").await;
        read_until(&mut idle, "fast").await;
        let mut silent = connect(served.address).await;
        served.stop.begin();
        assert_eq!(served.task.await.unwrap(), Ended::Clean);
        assert_eq!(read_until(&mut idle, "never").await, "");
        assert_eq!(read_until(&mut silent, "never").await, "");
    })
    .await
    .expect("within the deadline");
}

#[tokio::test]
async fn an_end_that_takes_too_long_is_cut() {
    tokio::time::timeout(DEADLINE, async {
        let limits =
            Limits { quiet: Duration::from_millis(10), end: Duration::from_millis(200), ..Limits::default() };
        let served = served(limits).await;
        let mut busy = connect(served.address).await;
        send(&mut busy, "/slow").await;
        served.entered.notified().await;
        served.stop.begin();
        assert_eq!(served.task.await.unwrap(), Ended::Cut(1));
    })
    .await
    .expect("within the deadline");
}

#[tokio::test]
async fn a_port_in_use_is_said_clearly() {
    let taken = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let error = listen(taken.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:") && error.contains("--port"), "{error}");
}
