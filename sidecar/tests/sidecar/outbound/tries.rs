//! What happens when a pod dies, is silent, or says that it cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use shop_contract::{Balance, Dependency};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::pods::{Dns, FakePod, Seen, address, says};
use super::{caller, get, knows, outbound, post, reason};
use crate::support::client::Http1;
use crate::support::{AnyBody, until, within};

fn word(word: &'static str) -> impl Fn(Seen) -> std::future::Ready<Response<AnyBody>> + Clone {
    move |_| std::future::ready(says(word))
}

/// Reads a request, and goes away without an answer.
async fn silent_end(ip: std::net::Ipv4Addr) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((ip, 9_440)).await.expect("listening");
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if matches!(stream.read(&mut [0; 4_096]).await, Ok(1..)) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_dies_under_load_costs_no_request() {
    let dns = Dns::start().await;
    let (a, b, c) =
        (FakePod::start(word("a")).await, FakePod::start(word("b")).await, FakePod::start(word("c")).await);
    dns.pods("inventory", &[&a, &b, &c]);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    knows(&app, "inventory", 3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (door, stop) = (outbound(&app), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = Http1::connect(door).await;
                let (mut good, mut bad) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    client.write("GET / HTTP/1.1\r\nhost: inventory\r\n\r\n").await;
                    let answer = client.answer().await;
                    if answer.status == 200 { good += 1 } else { bad.push(answer) }
                }
                (good, bad)
            })
        })
        .collect();
    until("all three answer", async || a.seen() > 50 && b.seen() > 50 && c.seen() > 50).await;
    drop(b);
    let before = a.seen() + c.seen();
    until("the others go on", async || a.seen() + c.seen() > before + 1_000).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let (good, bad) = within(client).await.expect("client");
        assert!(good > 0 && bad.is_empty(), "{bad:?}");
    }
}

#[tokio::test]
async fn what_may_have_been_processed_is_sent_once_more_only_if_that_does_no_harm() {
    let dns = Dns::start().await;
    let (ending, good) = (address(), FakePod::start(|seen: Seen| async move { says(seen.body) }).await);
    let seen = silent_end(ending).await;
    dns.set("inventory-pods.shop.svc", &[ending, good.ip]);
    let in_turn = Dependency { balance: Balance::RoundRobin, ..Dependency::new("inventory") };
    let app = caller(&dns, vec![in_turn]).await;
    knows(&app, "inventory", 2).await;
    let (mut lost, mut answered) = (0, 0);
    while lost == 0 {
        let answer = post(&app, "inventory", "", "a").await;
        if answer.status == 200 {
            answered += 1;
        } else {
            assert_eq!((answer.status, reason(&answer)), (502, "dependency-reset"));
            lost += 1;
        }
    }
    assert_eq!((seen.load(Ordering::SeqCst), good.seen()), (1, answered), "nothing was sent twice");
    // The pod is left alone for a second; then it is the turn of requests that may be repeated, with their bodies.
    let body = "x".repeat(50_000);
    until("the bad pod is tried again", async || {
        let answer = post(&app, "inventory", "idempotency-key: k1\r\n", &body).await;
        assert_eq!((answer.status, answer.body == body), (200, true));
        assert_eq!(get(&app, "inventory", "/", "").await.status, 200);
        seen.load(Ordering::SeqCst) >= 2
    })
    .await;
    assert!(app.metrics().await.contains("shop_sidecar_dependency_retries_total{dependency=\"inventory\"}"));
}

#[tokio::test]
async fn what_did_not_leave_moves_on_whatever_it_is() {
    let (dns, good) = (Dns::start().await, FakePod::start(word("good")).await);
    // Nobody listens at the others.
    dns.set("inventory-pods.shop.svc", &[address(), address(), good.ip]);
    let never_again = Dependency { retries: 0, ..Dependency::new("inventory") };
    let app = caller(&dns, vec![never_again]).await;
    knows(&app, "inventory", 3).await;
    for _ in 0..20 {
        assert_eq!(post(&app, "inventory", "", "a").await.status, 200);
    }
}

#[tokio::test]
async fn a_pod_whose_app_is_away_is_passed_by() {
    let dns = Dns::start().await;
    let without_app = |_: Seen| async {
        let mut answer = says("app-unreachable");
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert("x-shop-reason", "app-unreachable".parse().expect("value"));
        answer
    };
    let (bad, good) =
        (FakePod::start(without_app).await, FakePod::start(|seen: Seen| async { says(seen.body) }).await);
    dns.pods("inventory", &[&bad, &good]);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    knows(&app, "inventory", 2).await;
    until("it was asked", async || {
        assert_eq!(post(&app, "inventory", "", "a").await.body, "a");
        bad.seen() > 0
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_says_nothing_more_is_given_up() {
    let dns = Dns::start().await;
    // It accepts a connection and is gone: its queue takes no other one, as if its machine were off.
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    let ip = address();
    socket.bind((ip, 9_440).into()).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let good = FakePod::start(word("good")).await;
    dns.set("inventory-pods.shop.svc", &[ip, good.ip]);
    let in_turn = Dependency { balance: Balance::RoundRobin, ..Dependency::new("inventory") };
    let app = caller(&dns, vec![in_turn]).await;
    knows(&app, "inventory", 2).await;
    let accepts = tokio::spawn(async move {
        let first = listener.accept().await.expect("accepted");
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect((ip, 9_440)))
                .await
        {
            queued.push(stream);
        }
        (first, queued, listener)
    });
    for _ in 0..4 {
        let began = Instant::now();
        assert_eq!(get(&app, "inventory", "/", "").await.body, "good");
        assert!(began.elapsed() < Duration::from_secs(10), "far less than the 15 s that it might take");
    }
    within(accepts).await.expect("accepted one");
}

#[tokio::test]
async fn answers_of_gateways_are_tried_again_and_retry_after_is_respected() {
    let (dns, asked) = (Dns::start().await, Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    let pod = FakePod::start(move |seen: Seen| {
        let count = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let mut answer = says("busy");
            let later = seen.head.uri.path() == "/later";
            if later || count == 0 {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            if later {
                answer.headers_mut().insert("retry-after", "20".parse().expect("value"));
            }
            answer
        }
    })
    .await;
    dns.pods("inventory", &[&pod]);
    let app = caller(&dns, vec![Dependency::new("inventory")]).await;
    assert_eq!(get(&app, "inventory", "/", "").await.status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // It would be too late then: the answer is passed on at once.
    let answer = get(&app, "inventory", "/later", "").await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().expect("text")), (503, "20"));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(post(&app, "inventory", "", "").await.status, 200);
}
