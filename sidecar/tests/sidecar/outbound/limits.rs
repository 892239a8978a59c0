//! Timeouts, circuit breaker, bulkhead, and what is answered in place of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Response, StatusCode};
use shop_contract::{CircuitBreaker, Dependency, Fallback};

use super::pods::{Dns, FakePod, Seen, says};
use super::{caller, get, knows, outbound, post, reason};
use crate::support::client::Http1;
use crate::support::{AnyBody, until};

/// Answers 500 while it is told to, and never to `/wait`.
async fn moody() -> (FakePod, Arc<AtomicBool>) {
    let bad = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&bad);
    let pod = FakePod::start(move |seen: Seen| {
        let bad = told.load(Ordering::SeqCst);
        async move {
            if seen.head.uri.path() == "/wait" {
                std::future::pending::<()>().await;
            }
            let mut answer: Response<AnyBody> = says("fine");
            if bad {
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        }
    })
    .await;
    (pod, bad)
}

#[tokio::test]
async fn what_takes_too_long_is_given_up_and_tried_again_if_there_is_time() {
    let (dns, (pod, _)) = (Dns::start().await, moody().await);
    dns.pods("inventory", &[&pod]);
    let short =
        Dependency { timeout_ms: 300, try_timeout_ms: Some(100), retries: 1, ..Dependency::new("inventory") };
    let app = caller(&dns, vec![short]).await;
    knows(&app, "inventory", 1).await;
    let answer = get(&app, "inventory", "/wait", "").await;
    assert_eq!((answer.status, reason(&answer), pod.seen()), (504, "deadline", 2));
    let answer = get(&app, "inventory", "/wait", "x-shop-deadline-ms: 20\r\n").await;
    assert_eq!(
        (answer.status, reason(&answer), pod.seen()),
        (504, "deadline", 3),
        "no time is left for another"
    );
    assert_eq!(get(&app, "inventory", "/", "").await.status, 200);
}

#[tokio::test]
async fn the_circuit_opens_and_closes() {
    let (dns, (pod, bad)) = (Dns::start().await, moody().await);
    dns.pods("inventory", &[&pod]);
    let breaker =
        CircuitBreaker { requests: 4, error_percent: 50, window_ms: 10_000, open_ms: 300, trials: 2 };
    let guarded = Dependency { circuit_breaker: Some(breaker), ..Dependency::new("inventory") };
    let app = caller(&dns, vec![guarded]).await;
    // Who has no patience says nothing about the dependency.
    for _ in 0..6 {
        assert_eq!(reason(&get(&app, "inventory", "/wait", "x-shop-deadline-ms: 5\r\n").await), "deadline");
    }
    let before = pod.seen();
    bad.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(get(&app, "inventory", "/", "").await.status, 500, "an answer of the app is passed on");
    }
    let answer = get(&app, "inventory", "/", "").await;
    assert_eq!((answer.status, reason(&answer), pod.seen()), (503, "circuit-open", before + 4));
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(app.metrics().await.contains("shop_sidecar_dependency_circuit_open{dependency=\"inventory\"} 1"));
    bad.store(false, Ordering::SeqCst);
    until("it is tried again", async || get(&app, "inventory", "/", "").await.status == 200).await;
    for _ in 0..10 {
        assert_eq!(get(&app, "inventory", "/", "").await.status, 200);
    }
    assert!(app.metrics().await.contains("shop_sidecar_dependency_circuit_open{dependency=\"inventory\"} 0"));
    assert!(app.metrics().await.contains("shop_sidecar_self_answered_total{reason=\"circuit-open\"}"));
}

#[tokio::test]
async fn more_than_may_be_under_way_are_refused() {
    let (dns, (pod, _)) = (Dns::start().await, moody().await);
    dns.pods("inventory", &[&pod]);
    let app = caller(&dns, vec![Dependency { max_in_flight: Some(2), ..Dependency::new("inventory") }]).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = Http1::connect(outbound(&app)).await;
        client.write("GET /wait HTTP/1.1\r\nhost: inventory\r\n\r\n").await;
        waiting.push(client);
    }
    until("both are under way", async || pod.seen() == 2).await;
    let answer = get(&app, "inventory", "/", "").await;
    assert_eq!((answer.status, reason(&answer), pod.seen()), (503, "bulkhead-full", 2));
    drop(waiting);
    until("there is room again", async || get(&app, "inventory", "/", "").await.status == 200).await;
}

#[tokio::test]
async fn a_get_without_an_answer_gets_one_that_was_said_before() {
    let dns = Dns::start().await;
    let fixed = Fallback::Answer {
        status: 200,
        content_type: "application/json".into(),
        body: r#"{"stock":null}"#.into(),
    };
    let fixed = Dependency { fallback: Some(fixed), ..Dependency::new("inventory") };
    let last = Fallback::LastGood { paths: vec!["/products".into()], max_age_ms: 60_000 };
    let last = Dependency { fallback: Some(last), ..Dependency::new("product") };
    let app = caller(&dns, vec![fixed, last]).await;
    let answer = get(&app, "inventory", "/", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"stock":null}"#));
    assert_eq!(reason(&answer), "dependency-unreachable", "it can be told from an answer");
    assert_eq!(post(&app, "inventory", "", "").await.status, 503, "nobody has done it");

    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let pod = FakePod::start(move |_| {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        async move { says(format!("answer {number}")) }
    })
    .await;
    dns.pods("product", &[&pod]);
    knows(&app, "product", 1).await;
    assert_eq!(get(&app, "product", "/products/1", "").await.body, "answer 0");
    assert_eq!(get(&app, "product", "/products/2", "authorization: me\r\n").await.body, "answer 1");
    assert_eq!(get(&app, "product", "/other", "").await.body, "answer 2");
    drop(pod);
    let answer = get(&app, "product", "/products/1", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "answer 0"));
    assert!(answer.headers.contains_key("age") && reason(&answer) == "dependency-unreachable");
    for (path, lines) in [("/products/1", "authorization: me\r\n"), ("/products/2", ""), ("/other", "")] {
        assert_eq!(get(&app, "product", path, lines).await.status, 503, "{path}");
    }
}
