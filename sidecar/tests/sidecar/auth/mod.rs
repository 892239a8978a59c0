//! Tokens of requests: who is let in, what the app is told, and where the keys come from.

pub(crate) mod signer;
mod tokens;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use shop_contract::{Auth, ClaimHeader, Document, JwtKeys, Limits, Open, Per, Push, Rate, Sticky};
use tempfile::TempDir;

use crate::support::client::{Answer, Http1, Http2};
use crate::support::{self, Keys, Pod, TestApp, document, text, to, until, within, write_document};
use signer::{Signer, auth, now};

/// An app that answers with the fields that say who the user is.
async fn telling() -> TestApp {
    TestApp::http1(|request| async move {
        let fields = ["x-user-id", "x-tier", "x_user_id", "authorization"].map(|name| {
            let values = request.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap_or("?").to_owned()).collect::<Vec<_>>().join("+")
        });
        let [user, tier, posing, token] = fields;
        text(format!("{user} {tier} {posing} {}", !token.is_empty()))
    })
    .await
}

/// Somebody who publishes keys, and can be away.
struct Issuer {
    url: String,
    keys: Arc<Mutex<Option<Vec<u8>>>>,
    fetches: Arc<AtomicUsize>,
    _app: TestApp,
}

impl Issuer {
    async fn new(set: Option<Vec<u8>>) -> Self {
        let (keys, fetches) = (Arc::new(Mutex::new(set)), Arc::new(AtomicUsize::new(0)));
        let (served, counter) = (Arc::clone(&keys), Arc::clone(&fetches));
        let app = TestApp::http1(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            let set = served.lock().expect("not poisoned").clone();
            async move {
                match set {
                    Some(set) => text(set),
                    None => Response::builder().status(503).body(support::empty()).expect("answer"),
                }
            }
        })
        .await;
        Self { url: format!("http://127.0.0.1:{}/jwks.json", app.port), keys, fetches, _app: app }
    }

    fn publish(&self, set: Option<Vec<u8>>) {
        *self.keys.lock().expect("not poisoned") = set;
    }
}

fn with(document: Document, change: impl FnOnce(&mut Auth)) -> Document {
    let mut document = document;
    if let Some(auth) = &mut document.auth {
        change(auth);
    }
    document
}

/// A sidecar that asks for tokens by an issuer's keys.
async fn guarded(app: &TestApp, issuer: &Issuer, change: impl FnOnce(&mut Auth)) -> Pod {
    let keys = Keys::new();
    let document =
        Document { auth: Some(auth(JwtKeys::Jwks(issuer.url.clone()))), ..document(7, app.port, &keys) };
    Pod::with(with(document, change), &keys).await
}

async fn get(pod: &Pod, path: &str, fields: &str) -> Answer {
    let mut caller = Http1::connect(pod.sidecar.inbound).await;
    caller.write(&format!("GET {path} HTTP/1.1\r\nhost: order\r\n{fields}\r\n")).await;
    caller.answer().await
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn reason(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.headers.get("x-shop-reason").map_or("", |value| value.to_str().expect("text")))
}

#[tokio::test]
async fn only_good_tokens_reach_the_app() {
    let (app, signer) = (telling().await, Signer::es256());
    let issuer = Issuer::new(Some(signer.set("k1"))).await;
    let pod = guarded(&app, &issuer, |auth| {
        let jwt = auth.jwt.as_mut().expect("jwt");
        jwt.headers = vec![ClaimHeader { claim: "tier".into(), header: "x-tier".into() }];
    })
    .await;
    let good = signer.token("k1", "u-1", now());
    let answer = get(&pod, "/", &bearer(&good)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "u-1 premium  true"));
    let posing = format!("{}x-user-id: root\r\nx-tier: gold\r\nx_user_id: root\r\n", bearer(&good));
    assert_eq!(get(&pod, "/", &posing).await.body, "u-1 premium  true");
    let lower = format!("Authorization: bearer {good}\r\n");
    assert_eq!(get(&pod, "/", &lower).await.status, 200);

    let missing = get(&pod, "/", "").await;
    assert_eq!(reason(&missing), (401, "token-missing"));
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    for (fields, expected) in [
        ("authorization: Basic dTpw\r\n".to_owned(), "token-missing"),
        (bearer(&signer.token("k1", "u-1", now() - 1_000)), "token-expired"),
        (bearer(&good[..good.len() - 4]), "token-invalid"),
        (bearer("nonsense"), "token-invalid"),
        (bearer(&good).repeat(2), "token-invalid"),
        (bearer(&"a".repeat(9_000)), "token-invalid"),
    ] {
        let answer = get(&pod, "/", &fields).await;
        assert_eq!(reason(&answer), (401, expected), "{fields}");
        assert_eq!(answer.body, expected);
        let challenge = answer.headers["www-authenticate"].to_str().expect("text");
        assert!(expected == "token-missing" || challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let metrics = pod.metrics().await;
    for line in [
        "shop_sidecar_tokens_total{outcome=\"known\"} 2",
        "shop_sidecar_tokens_total{outcome=\"verified\"} 1",
        "shop_sidecar_tokens_total{outcome=\"refused\"} 5",
        "shop_sidecar_jwks_stale 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(
        pod.stats().await.window.expect("counted").requests,
        3,
        "refused requests say nothing about the app"
    );
}

#[tokio::test]
async fn open_places_need_none() {
    let (app, signer) = (telling().await, Signer::eddsa());
    let issuer = Issuer::new(Some(signer.set("k1"))).await;
    let pod = guarded(&app, &issuer, |auth| {
        let jwt = auth.jwt.as_mut().expect("jwt");
        jwt.except = vec![
            Open { path: "/healthz".into(), methods: Vec::new() },
            Open { path: "/products".into(), methods: vec!["GET".into()] },
        ];
    })
    .await;
    assert_eq!(get(&pod, "/products/7?a=b", "x-user-id: root\r\n").await.body, "   false");
    let token = bearer(&signer.token("k1", "u-1", now()));
    assert_eq!(get(&pod, "/products/7", &token).await.body, "u-1   true");
    let old = bearer(&signer.token("k1", "u-1", now() - 1_000));
    assert_eq!(get(&pod, "/products/7", &old).await.body, "   true");
    assert_eq!(get(&pod, "/healthz", &bearer("nonsense")).await.status, 200);
    for path in ["/orders", "/products/../orders", "/products/%2e%2e/orders"] {
        assert_eq!(reason(&get(&pod, path, "").await), (401, "token-missing"), "{path}");
    }
}

#[tokio::test]
async fn grpc_learns_it_as_a_status() {
    let app = TestApp::http2(|_| async { text("") }).await;
    let issuer = Issuer::new(Some(Signer::eddsa().set("k1"))).await;
    let pod = guarded(&app, &issuer, |_| {}).await;
    let mut caller = Http2::connect(pod.sidecar.inbound).await;
    let request = Request::post("http://order/a.B/C").header("content-type", "application/grpc");
    let response = caller.send(request.body(Full::from("message")).expect("request")).await;
    let field = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!((response.status().as_u16(), field("grpc-status")), (200, "16".to_owned()));
    assert_eq!(
        (field("grpc-message"), field("x-shop-reason")),
        ("token-missing".into(), "token-missing".into())
    );
    assert!(within(response.into_body().collect()).await.expect("body").to_bytes().is_empty());
}

#[tokio::test]
async fn keys_outlive_their_source_and_new_ones_are_found() {
    let (app, old, new) = (telling().await, Signer::eddsa(), Signer::es256());
    let issuer = Issuer::new(None).await;
    let pod = guarded(&app, &issuer, |_| {}).await;
    let token = bearer(&old.token("k1", "u-1", now()));
    let early = get(&pod, "/", &token).await;
    assert_eq!(reason(&early), (503, "token-keys-missing"));
    assert!(early.headers.contains_key("retry-after"));
    issuer.publish(Some(old.set("k1")));
    until("keys are there", async || get(&pod, "/", &token).await.status == 200).await;
    issuer.publish(None);
    let fresh = bearer(&old.token("k1", "u-2", now()));
    assert_eq!(get(&pod, "/", &fresh).await.status, 200);
    // Within 30 s of the last fetch nobody asks again, whatever a token says.
    let fetches = issuer.fetches.load(Ordering::SeqCst);
    issuer.publish(Some(new.set("k2")));
    for _ in 0..5 {
        assert_eq!(
            reason(&get(&pod, "/", &bearer(&new.token("k2", "u-1", now()))).await),
            (401, "token-invalid")
        );
    }
    assert_eq!(issuer.fetches.load(Ordering::SeqCst), fetches);
}

#[tokio::test]
async fn secrets_come_from_the_mounted_folder_and_change_while_it_runs() {
    let (app, keys) = (telling().await, Keys::new());
    let (first, second) = (Signer::hs512(), Signer::Hs512([8; 64]));
    let named = |name: &str, generation| Document {
        auth: Some(auth(JwtKeys::Secret(name.into()))),
        generation,
        ..document(7, app.port, &keys)
    };
    let state = Arc::new(TempDir::new().expect("folder"));
    let pod = Pod::mounted(None, named("jwt-1", 1), &keys, state).await;
    write_document(&pod.config_dir, &named("jwt-1", 1));
    until("it is refused while the key is not there", async || {
        pod.metrics().await.contains("shop_sidecar_config_refused_total{cause=\"token-keys\"}")
    })
    .await;
    std::fs::write(pod.keys_dir.path().join("jwt-1"), first.set("a")).expect("written");
    let token = |signer: &Signer, kid: &str| bearer(&signer.token(kid, "u-1", now()));
    until("the key is found", async || get(&pod, "/", &token(&first, "a")).await.status == 200).await;
    assert_eq!(reason(&get(&pod, "/", &token(&second, "b")).await), (401, "token-invalid"));
    let push = async |document: Document| pod.push(&Push::Document(document)).await;
    // A release does not wait until the kubelet brings the new key: that of before counts until then.
    assert_eq!(push(named("jwt-2", 2)).await.0, 200);
    assert_eq!(get(&pod, "/", &token(&first, "a")).await.status, 200);
    std::fs::write(pod.keys_dir.path().join("jwt-2"), second.set("b")).expect("written");
    until("the new key is found", async || get(&pod, "/", &token(&second, "b")).await.status == 200).await;
    assert_eq!(
        reason(&get(&pod, "/", &token(&first, "a")).await),
        (401, "token-invalid"),
        "taken from the cache"
    );
}

#[tokio::test]
async fn another_revision_believes_the_first_one() {
    let (apps, signer) = ([telling().await, telling().await], Signer::hs512());
    let keys = Keys::new();
    let document = |revision, port| {
        let mut auth = auth(JwtKeys::Secret("jwt-1".into()));
        auth.jwt.as_mut().expect("jwt").headers =
            vec![ClaimHeader { claim: "tier".into(), header: "x-tier".into() }];
        Document { auth: Some(auth), ..document(revision, port, &keys) }
    };
    let start = async |revision, port| {
        let state = Arc::new(TempDir::new().expect("folder"));
        let pod = Pod::mounted(None, document(revision, port), &keys, state).await;
        std::fs::write(pod.keys_dir.path().join("jwt-1"), signer.set("a")).expect("written");
        write_document(&pod.config_dir, &document(revision, port));
        until("it is configured", async || pod.readiness().await == 200).await;
        pod
    };
    let (mut old, new) = (start(7, apps[0].port).await, start(8, apps[1].port).await);
    old.endpoints(8, vec![new.sidecar.inbound]).await;
    let token = |user: &str| format!("{}x-user-id: root\r\n", bearer(&signer.token("a", user, now())));
    old.hand_off(Some(to(8, 10_000, "localhost:1", false))).await;
    assert_eq!(get(&old, "/", &token("u-1")).await.body, "u-1 premium  true");
    assert_eq!(reason(&get(&old, "/", "").await), (401, "token-missing"));
    let metrics = new.metrics().await;
    assert!(metrics.contains("shop_sidecar_taken_over_total 1"), "{metrics}");
    assert!(metrics.contains("shop_sidecar_tokens_total{outcome=\"verified\"} 0"), "{metrics}");
    // Who is no revision of this service is not believed.
    let forged = "x-shop-handover: v2;k1;7;127.0.0.1;eC11c2VyLWlkOnJvb3Q;AAAA\r\n";
    assert_eq!(reason(&get(&new, "/", forged).await), (401, "token-missing"));
    // Users stay on one side by what their tokens say, whatever they write themselves.
    old.hand_off(Some(shop_contract::HandOff {
        sticky: Some(Sticky::User),
        ..to(8, 5_000, "localhost:1", true)
    }))
    .await;
    let handed = async || {
        let metrics = new.metrics().await;
        let line =
            metrics.lines().find(|line| line.starts_with("shop_sidecar_taken_over_total ")).expect("line");
        line.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("number")
    };
    let mut moved = 0;
    for user in 0..40 {
        let mut sides = [false; 2];
        for side in &mut sides {
            let before = handed().await;
            assert_eq!(get(&old, "/", &token(&format!("u-{user}"))).await.status, 200);
            *side = handed().await > before;
        }
        assert_eq!(sides[0], sides[1], "user {user}");
        moved += usize::from(sides[0]);
    }
    assert!((8..=32).contains(&moved), "{moved} of 40");
}

/// Prints what the README tells: run it with `--nocapture`.
#[tokio::test]
async fn what_a_known_token_costs() {
    let signer = Signer::es256();
    let issuer = Issuer::new(Some(signer.set("k1"))).await;
    let app = telling().await;
    let pod = guarded(&app, &issuer, |_| {}).await;
    let token = signer.token("k1", "u-1", now());
    assert_eq!(get(&pod, "/", &bearer(&token)).await.status, 200);
    let snapshot = pod.sidecar.config.current().expect("document");
    let gate = snapshot.auth.as_ref().expect("gate");
    let mut headers = http::HeaderMap::new();
    for name in ["accept", "user-agent", "x-request-id", "x-forwarded-for", "x-user-id"] {
        headers.insert(name, "value".parse().expect("value"));
    }
    headers.insert("authorization", format!("Bearer {token}").parse().expect("value"));
    let (rounds, at) = (10_000, now());
    let begun = Instant::now();
    for _ in 0..rounds {
        let admitted = gate.admit((&http::Method::GET, "/"), &mut headers, &pod.sidecar.telemetry, at).await;
        assert!(admitted.expect("good").is_some());
    }
    println!("known token: {:?}", begun.elapsed() / rounds);
}

fn per(per: Per, requests: u32) -> Rate {
    let window_ms = 3_600_000;
    Rate { per, requests, window_ms, burst: None, suspend_ms: None, matches: None, sticky: false }
}

#[tokio::test]
async fn bad_tokens_of_one_address_are_verified_only_as_often_as_it_may_ask() {
    let (app, signer) = (telling().await, Signer::es256());
    let issuer = Issuer::new(Some(signer.set("k1"))).await;
    let mut pod = guarded(&app, &issuer, |_| {}).await;
    let limits = Limits { rate: vec![per(Per::User, 1), per(Per::Ip, 5)], ..Limits::default() };
    let denying = Limits { deny: vec!["127.0.0.0/8".into()], ..Limits::default() };
    pod.document = Document { limits: Some(limits), generation: 2, ..pod.document.clone() };
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    let good = bearer(&signer.token("k1", "u-1", now()));
    assert_eq!(get(&pod, "/", &good).await.status, 200);
    // Each is signed, by a key that is not the issuer's: verifying it is what costs.
    let stranger = Signer::es256();
    for user in 0..20 {
        let answer = get(&pod, "/", &bearer(&stranger.token("k1", &format!("u-{user}"), now()))).await;
        let expected = if user < 4 { (401, "token-invalid") } else { (429, "rate-limited") };
        assert_eq!(reason(&answer), expected, "{user}");
    }
    let metrics = pod.metrics().await;
    assert!(metrics.contains("shop_sidecar_tokens_total{outcome=\"refused\"} 4\n"), "{metrics}");
    assert!(metrics.contains("shop_sidecar_rate_limited_total{per=\"ip\"} 16\n"), "{metrics}");
    assert!(metrics.contains("shop_sidecar_rate_limited_total{per=\"user\"} 0\n"), "{metrics}");

    pod.document = Document { limits: Some(denying), generation: 3, ..pod.document.clone() };
    assert_eq!(pod.push(&Push::Document(pod.document.clone())).await.0, 200);
    assert_eq!(reason(&get(&pod, "/", &bearer("nonsense")).await), (403, "address-denied"));
}
