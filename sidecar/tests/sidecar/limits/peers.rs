//! Pods of one revision that share limits: three sidecars on loopback.

use bytes::Bytes;
use shop_contract::{Endpoints, Per, Push, Rate, UserKey};

use super::rates::{get, rate, rates};
use super::*;
use crate::support::{client, identity};

struct Three {
    pods: Vec<Pod>,
    _app: TestApp,
}

async fn three(limits: Limits) -> Three {
    let (app, keys) = (TestApp::saying("hello").await, Keys::new());
    let mut pods = Vec::new();
    for _ in 0..3 {
        pods.push(limited(app.port, limits.clone(), &keys).await);
    }
    tell_peers(&pods, 1).await;
    Three { pods, _app: app }
}

/// As the operator does.
async fn tell_peers(pods: &[Pod], sequence: i64) {
    let peers = Endpoints {
        identity: identity(7),
        leader_epoch: 1,
        sequence,
        to_revision: 7,
        addresses: pods.iter().map(|pod| pod.sidecar.admin).collect(),
    };
    for pod in pods {
        let (status, answer) = pod.push(&Push::Peers(peers.clone())).await;
        assert_eq!((status, answer.peers_seen, answer.endpoints_seen), (200, sequence, 0), "{answer:?}");
    }
}

#[tokio::test]
async fn all_together_admit_the_limit_and_less_than_one_more_for_each_other_pod() {
    let three = three(rates(vec![rate(Per::Ip, 10)])).await;
    let mut admitted = 0;
    for _ in 0..10 {
        for pod in &three.pods {
            let answer = get(pod, "/", "").await;
            admitted += u32::from(answer.status == 200);
            assert!(
                field(&answer.headers, "ratelimit-policy").contains(";q=10;"),
                "all are told of the whole limit"
            );
        }
    }
    assert!((10..=12).contains(&admitted), "{admitted}");
    // One pod less: the others take over its share, and what they have admitted counts.
    tell_peers(&three.pods[..2], 2).await;
    assert_eq!(
        (get(&three.pods[0], "/", "").await.status, get(&three.pods[0], "/", "").await.status),
        (200, 429)
    );
    // Sticky rules are whole in each pod.
    let whole = Rate { sticky: true, ..rate(Per::Ip, 10) };
    let three = self::three(rates(vec![whole])).await;
    for _ in 0..10 {
        assert_eq!(get(&three.pods[0], "/", "").await.status, 200);
    }
    assert_eq!(get(&three.pods[0], "/", "").await.status, 429);
}

#[tokio::test]
async fn who_is_suspended_by_one_is_by_all() {
    let per_user = Rate { suspend_ms: Some(300_000), ..rate(Per::User, 9) };
    let user = Some(UserKey { header: "x-user-id".into() });
    let three = three(Limits { user, ..rates(vec![per_user]) }).await;
    let mut admitted = 0;
    for _ in 0..4 {
        admitted += u32::from(get(&three.pods[0], "/", "x-user-id: a\r\n").await.status == 200);
    }
    assert_eq!(admitted, 3);
    for pod in &three.pods[1..] {
        until("the suspension is told", async || {
            pod.metrics().await.contains("shop_sidecar_suspensions_heard_total 1\n")
        })
        .await;
        let answer = get(pod, "/", "x-user-id: a\r\n").await;
        assert_eq!(refused(&answer), (429, "suspended"));
        let wait: u64 = field(&answer.headers, "retry-after").parse().unwrap();
        assert!((290..=300).contains(&wait), "{wait}");
        assert_eq!(get(pod, "/", "x-user-id: b\r\n").await.status, 200);
        assert!(pod.metrics().await.contains("shop_sidecar_suspensions_total 0\n"));
    }
}

#[tokio::test]
async fn nobody_else_can_suspend_anybody() {
    let three = three(rates(vec![Rate { suspend_ms: Some(300_000), ..rate(Per::Ip, 9) }])).await;
    let pod = &three.pods[0];
    let far = u64::MAX / 2;
    for mac in ["", "k1", "k1;", "k1;AAAA", "k2;AAAA"] {
        let body = Bytes::from(format!(r#"[{{"key":1,"until":{far}}}]"#));
        let request =
            Request::post("/suspend").header("x-shop-mac", mac).body(Full::from(body)).expect("request");
        assert_eq!(client::once(pod.sidecar.admin, request).await.0, 400, "{mac}");
    }
    let request = Request::post("/suspend").body(Full::from("[]")).expect("request");
    assert_eq!(client::once(pod.sidecar.admin, request).await.0, 400);
    assert!(pod.metrics().await.contains("shop_sidecar_suspensions_heard_total 0\n"));
}
