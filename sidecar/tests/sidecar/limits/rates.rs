//! `limits.rate`, `user`, `allow` and `deny`.

use shop_contract::{Per, Push, Rate, RouteMatch, UserKey};

use super::*;
use crate::support::to;

const HOUR: u64 = 3_600_000;

pub(super) fn rate(per: Per, requests: u32) -> Rate {
    Rate { per, requests, window_ms: HOUR, burst: None, suspend_ms: None, matches: None, sticky: false }
}

pub(super) fn rates(rate: Vec<Rate>) -> Limits {
    Limits { rate, ..Limits::default() }
}

pub(super) async fn get(pod: &Pod, path: &str, fields: &str) -> Answer {
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n{fields}\r\n")).await;
    caller.answer().await
}

#[tokio::test]
async fn an_address_may_ask_so_often_and_is_told_how_often() {
    let app = TestApp::saying("hello").await;
    let pod = limited(app.port, rates(vec![rate(Per::Ip, 3)]), &Keys::new()).await;
    for left in ["2", "1", "0"] {
        let answer = get(&pod, "/", "").await;
        assert_eq!(answer.status, 200);
        assert!(
            field(&answer.headers, "ratelimit").starts_with(&format!("\"ip\";r={left};t=")),
            "{answer:?}"
        );
        assert_eq!(field(&answer.headers, "ratelimit-policy"), "\"ip\";q=3;w=3600");
    }
    let answer = get(&pod, "/", "").await;
    assert_eq!(refused(&answer), (429, "rate-limited"));
    let wait: u64 = field(&answer.headers, "retry-after").parse().unwrap();
    assert!((3_600..=4_200).contains(&wait), "{wait}");
    assert_eq!(field(&answer.headers, "ratelimit"), format!("\"ip\";r=0;t={wait}"));
    assert_eq!(call(&pod, &[]).await, (200, "8".into(), "rate-limited".into()));
    let metrics = pod.metrics().await;
    assert!(metrics.contains("shop_sidecar_rate_limited_total{per=\"ip\"} 2\n"), "{metrics}");
    assert!(metrics.contains("shop_sidecar_limiter_keys 1\n"));
    // Nobody's failure.
    until("all are counted", async || pod.stats().await.window.unwrap_or_default().requests == 3).await;
    assert_eq!(pod.stats().await.window.unwrap_or_default().failures, 0);
}

#[tokio::test]
async fn users_do_not_share_and_who_asks_too_often_is_suspended() {
    let app = TestApp::saying("hello").await;
    let per_user = Rate { suspend_ms: Some(5 * 60_000), ..rate(Per::User, 2) };
    let user = Some(UserKey { header: "x-user-id".into() });
    let limits = Limits { user, ..rates(vec![per_user]) };
    let mut pod = limited(app.port, limits, &Keys::new()).await;
    let status = async |pod: &Pod, user: &str| {
        let answer = get(pod, "/", &format!("x-user-id: {user}\r\n")).await;
        (answer.status, field(&answer.headers, "retry-after").parse::<u64>().unwrap_or(0))
    };
    for user in ["a", "b"] {
        assert_eq!((status(&pod, user).await, status(&pod, user).await), ((200, 0), (200, 0)));
    }
    assert_eq!(refused(&get(&pod, "/", "x-user-id: a\r\n").await), (429, "suspended"));
    let (refused, wait) = status(&pod, "a").await;
    assert!(refused == 429 && (290..=300).contains(&wait), "{wait}");
    // Who says no user is not one.
    for _ in 0..5 {
        assert_eq!(get(&pod, "/", "").await.status, 200);
    }
    // A document that allows more goes on with what was counted; a suspension stays.
    pod.document.limits.as_mut().unwrap().rate[0].requests = 3;
    pod.document.generation += 1;
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(
        (status(&pod, "b").await.0, status(&pod, "b").await.0, status(&pod, "a").await.0),
        (200, 429, 429)
    );
}

#[tokio::test]
async fn a_route_has_a_burst_and_other_routes_are_free() {
    let app = TestApp::saying("hello").await;
    let matches = Some(RouteMatch { path: Some("/orders".into()), method: Some("GET".into()) });
    let per_route = Rate { burst: Some(4), matches, ..rate(Per::Route, 10) };
    let pod = limited(app.port, rates(vec![rate(Per::Ip, 100), per_route]), &Keys::new()).await;
    let answer = get(&pod, "/orders/7", "").await;
    // The rule with the least left is told.
    assert!(field(&answer.headers, "ratelimit").starts_with("\"route\";r=3;"), "{answer:?}");
    assert_eq!(field(&answer.headers, "ratelimit-policy"), "\"ip\";q=100;w=3600, \"route\";q=10;w=3600");
    for _ in 0..3 {
        assert_eq!(get(&pod, "/%6Frders", "").await.status, 200);
    }
    let answer = get(&pod, "/orders", "").await;
    assert_eq!(refused(&answer), (429, "rate-limited"));
    let wait: u64 = field(&answer.headers, "retry-after").parse().unwrap();
    assert!((1..=360).contains(&wait), "{wait}");
    assert_eq!(get(&pod, "/other", "").await.status, 200);
}

#[tokio::test]
async fn addresses_are_allowed_or_denied() {
    let app = TestApp::saying("hello").await;
    let mut limits = rates(vec![rate(Per::Ip, 1)]);
    limits.deny = vec!["127.0.0.0/8".into()];
    let pod = limited(app.port, limits.clone(), &Keys::new()).await;
    assert_eq!(refused(&get(&pod, "/", "").await), (403, "address-denied"));
    assert_eq!(call(&pod, &[]).await, (200, "7".into(), "address-denied".into()));
    limits.allow = vec!["127.0.0.1".into()];
    let pod = limited(app.port, limits, &Keys::new()).await;
    for _ in 0..3 {
        assert_eq!(get(&pod, "/", "").await.status, 200);
    }
}

#[tokio::test]
async fn a_handed_over_request_is_counted_where_it_came_in() {
    let keys = Keys::new();
    let apps = [TestApp::saying("old").await, TestApp::saying("new").await];
    let mut old = limited(apps[0].port, rates(vec![rate(Per::Ip, 3)]), &keys).await;
    let mut new = document(8, apps[1].port, &keys);
    new.limits = Some(rates(vec![rate(Per::Ip, 1)]));
    let new = Pod::with(new, &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    for _ in 0..3 {
        assert_eq!(get(&old, "/", "").await.body, "new");
    }
    assert_eq!(refused(&get(&old, "/", "").await), (429, "rate-limited"));
}
