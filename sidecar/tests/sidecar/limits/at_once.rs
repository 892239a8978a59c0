//! `limits.concurrency`.

use futures::{SinkExt as _, StreamExt as _};
use shop_contract::{Priority, PriorityClass, Push, RouteMatch};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::pass::echo_websocket;
use crate::support::to;

/// Begins a request that stays in the app.
async fn hold(app: &HoldingApp, pod: &Pod) -> Http1 {
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET /hold HTTP/1.1\r\nhost: order\r\n\r\n").await;
    app.holds_one().await;
    caller
}

/// Begins a request that waits for a place; `waiting` with it.
async fn wait(pod: &Pod, path: &str, waiting: u32) -> Http1 {
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n\r\n")).await;
    is_waiting(pod, waiting).await;
    caller
}

async fn is_waiting(pod: &Pod, count: u32) {
    let line = format!("shop_sidecar_queue_waiting {count}\n");
    until("so many wait", async || pod.metrics().await.contains(&line)).await;
}

#[tokio::test]
async fn so_many_at_once_so_many_wait_and_the_rest_is_told_to_come_later() {
    let app = HoldingApp::start().await;
    let pod = limited(app.app.port, at_once(1, 1), &Keys::new()).await;
    let mut first = hold(&app, &pod).await;
    let mut second = wait(&pod, "/second", 1).await;
    let third = Http1::connect(pod.sidecar.inbound).await.get("/third").await;
    assert_eq!(refused(&third), (503, "queue-full"));
    assert!(field(&third.headers, "retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(call(&pod, &[]).await, (200, "8".into(), "queue-full".into()));
    app.go.add_permits(1);
    assert_eq!(first.answer().await.body, "held");
    assert_eq!(second.answer().await.status, 200);
    // Places are given back: on a connection that stays, too.
    for _ in 0..3 {
        assert_eq!(second.get("/").await.status, 200);
    }
    is_waiting(&pod, 0).await;
}

#[tokio::test]
async fn who_goes_away_leaves_the_queue() {
    let app = HoldingApp::start().await;
    let pod = limited(app.app.port, at_once(1, 1), &Keys::new()).await;
    let mut first = hold(&app, &pod).await;
    wait(&pod, "/second", 1).await.vanish();
    is_waiting(&pod, 0).await;
    let mut other = wait(&pod, "/other", 1).await;
    app.go.add_permits(1);
    assert_eq!((first.answer().await.status, other.answer().await.status), (200, 200));
    // Neither does one that the app still works on keep its place.
    hold(&app, &pod).await.vanish();
    let mut last = Http1::connect(pod.sidecar.inbound).await;
    assert_eq!(last.get("/").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_does_not_wait_for_it() {
    let app = HoldingApp::start().await;
    let pod = limited(app.app.port, at_once(1, 10), &Keys::new()).await;
    let _first = hold(&app, &pod).await;
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write("GET / HTTP/1.1\r\nhost: order\r\nx-shop-deadline-ms: 30\r\n\r\n").await;
    let answer = caller.answer().await;
    assert_eq!(refused(&answer), (503, "would-miss-deadline"));
    assert_eq!(field(&answer.headers, "retry-after"), "1");
    assert_eq!(call(&pod, &[("grpc-timeout", "30m")]).await, (200, "4".into(), "would-miss-deadline".into()));
    is_waiting(&pod, 0).await;
}

#[tokio::test]
async fn the_important_go_first() {
    let app = HoldingApp::start().await;
    let rule = |path: &str, class| {
        let matches = RouteMatch { path: Some(path.into()), method: Some("GET".into()) };
        Priority { matches, class }
    };
    let priority = vec![rule("/low", PriorityClass::Low), rule("/hold", PriorityClass::High)];
    let pod = limited(app.app.port, Limits { priority, ..at_once(1, 2) }, &Keys::new()).await;
    let mut first = hold(&app, &pod).await;
    let mut low = wait(&pod, "/low", 1).await;
    let mut normal = wait(&pod, "/normal", 2).await;
    // The queue is full: who matters most takes the place of who matters least.
    let mut high = Http1::connect(pod.sidecar.inbound).await;
    high.write("GET /hold HTTP/1.1\r\nhost: order\r\n\r\n").await;
    assert_eq!(refused(&low.answer().await), (503, "queue-full"));
    app.go.add_permits(1);
    assert_eq!(first.answer().await.body, "held");
    app.holds_one().await;
    is_waiting(&pod, 1).await;
    app.go.add_permits(1);
    assert_eq!((high.answer().await.body.as_str(), normal.answer().await.status), ("held", 200));
}

#[tokio::test]
async fn sockets_hold_no_place() {
    let app = echo_websocket().await;
    let pod = limited(app.port, at_once(1, 0), &Keys::new()).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let stream = within(tokio::net::TcpStream::connect(pod.sidecar.inbound)).await.expect("connected");
        let handshake = tokio_tungstenite::client_async("ws://order/feed", stream);
        sockets.push(within(handshake).await.expect("handshake").0);
    }
    for socket in &mut sockets {
        within(socket.send(Message::text("one"))).await.expect("sent");
        let back = within(socket.next()).await.expect("message").expect("read");
        assert_eq!(back.to_text().expect("text"), "one");
    }
}

#[tokio::test]
async fn what_another_revision_hands_over_needs_a_place_too() {
    let (app, keys) = (HoldingApp::start().await, Keys::new());
    let mut old = document(7, 1, &keys);
    old.limits = Some(at_once(1, 0));
    let mut old = Pod::with(old, &keys).await;
    let mut new = document(8, app.app.port, &keys);
    new.limits = Some(at_once(1, 0));
    let new = Pod::with(new, &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    // The one place of the revision that hands over is not needed.
    let mut first = hold(&app, &old).await;
    let second = Http1::connect(old.sidecar.inbound).await.get("/second").await;
    assert_eq!(refused(&second), (503, "queue-full"));
    app.go.add_permits(1);
    assert_eq!(first.answer().await.body, "held");
    drop(new);
}

#[tokio::test]
async fn limits_change_while_requests_wait() {
    let app = HoldingApp::start().await;
    let mut pod = limited(app.app.port, at_once(1, 2), &Keys::new()).await;
    let mut first = hold(&app, &pod).await;
    let mut second = wait(&pod, "/second", 1).await;
    pod.document.limits = Some(at_once(2, 2));
    pod.document.generation += 1;
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(second.answer().await.status, 200);
    pod.document.limits = None;
    pod.document.generation += 1;
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(second.get("/").await.status, 200);
    app.go.add_permits(1);
    assert_eq!(first.answer().await.body, "held");
}
