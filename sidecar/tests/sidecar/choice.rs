//! Which requests another revision answers: by what they carry, by who sent them, and by counting.

use std::fmt::Write as _;

use crate::support;
use crate::support::client::{Http1, Http2};
use crate::support::{Keys, Pod, TestApp, document, text, to, until, within};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use shop_contract::{HandOff, Match, Pair, Protocol, Sticky};

struct Two {
    old: Pod,
    new: Pod,
    apps: [TestApp; 2],
}

async fn two(apps: [TestApp; 2], protocol: Protocol) -> Two {
    let keys = Keys::new();
    let of = |revision, port| {
        let mut document = document(revision, port, &keys);
        document.app.protocol = protocol;
        document
    };
    let mut old = Pod::with(of(7, apps[0].port), &keys).await;
    let new = Pod::with(of(8, apps[1].port), &keys).await;
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    Two { old, new, apps }
}

async fn saying() -> Two {
    two([TestApp::saying("v7").await, TestApp::saying("v8").await], Protocol::Http).await
}

/// Premium users and those with the beta cookie, and a share of the others.
fn hand_off(share: u32, sticky: Option<Sticky>) -> HandOff {
    let pair = |name: &str, value: &str| Some(Pair { name: name.into(), value: value.into() });
    let matches = vec![
        Match { header: pair("User-Tier", "premium"), cookie: None },
        Match { header: None, cookie: pair("beta", "1") },
    ];
    HandOff { matches, sticky, ..to(8, share, "localhost:1", true) }
}

impl Http1 {
    async fn get_with(&mut self, fields: &str) -> String {
        self.write(&format!("GET / HTTP/1.1\r\nhost: order\r\n{fields}\r\n")).await;
        self.answer().await.body
    }
}

#[tokio::test]
async fn who_matches_reaches_the_candidate_at_share_zero() {
    let mut two = saying().await;
    two.old.hand_off(Some(hand_off(0, None))).await;
    let mut http1 = Http1::connect(two.old.sidecar.inbound).await;
    let mut http2 = Http2::connect(two.old.sidecar.inbound).await;
    for (fields, expected) in [
        (&[][..], "v7"),
        (&[("user-tier", "premium")], "v8"),
        (&[("user-tier", "basic"), ("cookie", "beta=0; beta2=1")], "v7"),
        (&[("cookie", "a=b"), ("cookie", "beta=1")], "v8"),
        (&[("cookie", "session=x; beta=\"1\"")], "v8"),
    ] {
        let mut lines = String::new();
        let mut request = Request::get("http://order/");
        for (name, value) in fields {
            write!(lines, "{name}: {value}\r\n").expect("written");
            request = request.header(*name, *value);
        }
        assert_eq!(http1.get_with(&lines).await, expected, "{fields:?}");
        let response = http2.send(request.body(Full::<bytes::Bytes>::default()).expect("request")).await;
        let body = within(response.into_body().collect()).await.expect("body").to_bytes();
        assert_eq!(body, expected, "{fields:?} by HTTP/2");
    }
    two.old.hand_off(None).await;
    assert_eq!(http1.get_with("user-tier: premium\r\n").await, "v7");
}

#[tokio::test]
async fn websockets_match_too() {
    let app = |name: &'static str| {
        TestApp::http1(move |_| async move {
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("x-app", name)
                .body(support::empty())
                .expect("answer")
        })
    };
    let mut two = two([app("v7").await, app("v8").await], Protocol::Http).await;
    two.old.hand_off(Some(hand_off(0, Some(Sticky::Client)))).await;
    for (cookie, expected) in [("beta=1", "v8"), ("beta=2", "v7")] {
        let mut caller = Http1::connect(two.old.sidecar.inbound).await;
        let asked = "GET /feed HTTP/1.1\r\nhost: order\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
        caller.write(&format!("{asked}cookie: {cookie}\r\n\r\n")).await;
        let head = caller.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101") && head.contains(&format!("x-app: {expected}")), "{head}");
    }
}

#[tokio::test]
async fn grpc_matches_and_sticks_too() {
    let app = |name: &'static str| TestApp::http2(move |_| async move { text(name) });
    let mut two = two([app("v7").await, app("v8").await], Protocol::Grpc).await;
    two.old.hand_off(Some(hand_off(5_000, Some(Sticky::Header("x-user-id".into()))))).await;
    let mut caller = Http2::connect(two.old.sidecar.inbound).await;
    let mut call = async |name: &'static str, value: &str| {
        let request = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
        let request = request.header(name, value).body(Full::from("message")).expect("request");
        within(caller.send(request).await.into_body().collect()).await.expect("body").to_bytes()
    };
    assert_eq!(call("user-tier", "premium").await, "v8");
    let mut by_new = 0;
    for user in 0..40 {
        let first = call("x-user-id", &user.to_string()).await;
        assert_eq!(call("x-user-id", &user.to_string()).await, first, "user {user}");
        by_new += usize::from(first == "v8");
    }
    assert!((5..=35).contains(&by_new), "{by_new} of 40 users");
}

#[tokio::test]
async fn users_stay_while_the_share_rises_whatever_pod_and_connection() {
    let mut two = saying().await;
    let mut second = Pod::start(7, two.apps[0].port, &two.old.keys).await;
    second.endpoints(8, vec![two.new.sidecar.inbound]).await;
    let mut before = vec![false; 60];
    for share in [0, 1_000, 5_000, 10_000] {
        let mut taken = Vec::new();
        for pod in [&mut two.old, &mut second] {
            pod.hand_off(Some(hand_off(share, Some(Sticky::Cookie("session".into()))))).await;
            let mut caller = Http1::connect(pod.sidecar.inbound).await;
            let mut side = Vec::new();
            for user in 0..60 {
                side.push(caller.get_with(&format!("cookie: session=s{user}\r\n")).await == "v8");
            }
            taken.push(side);
        }
        assert_eq!(taken[0], taken[1], "pods agree at {share}");
        assert!(before.iter().zip(&taken[0]).all(|(before, now)| *now || !before), "{share}");
        before = taken.remove(0);
    }
    assert!(before.iter().all(|taken| *taken));
}

#[tokio::test]
async fn steps_of_the_share_add_up_to_what_was_asked() {
    let mut two = saying().await;
    let mut caller = Http1::connect(two.old.sidecar.inbound).await;
    let (mut by_new, mut parts) = (0, 0);
    for step in 0..30_u32 {
        let share = 100 * (step % 7 + 1);
        two.old.hand_off(Some(to(8, share, "localhost:1", true))).await;
        for _ in 0..7 {
            by_new += i64::from(caller.get("/").await.body == "v8");
            parts += i64::from(share);
        }
    }
    assert!((by_new * 10_000 - parts).abs() < 10_000, "{by_new} for {parts} parts of 10,000");
    until("they are counted", async || two.old.stats().await.handed_over == by_new).await;
}
