//! Logging in from a mini-program, with the fake provider.

use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use shop_common::faults::Faults;
use shop_common::serve::{Limits, listen, serve};
use shop_common::{Context, Front, Stop};
use shop_user::mini_program::Provider;
use shop_user::mini_program::fake;

use crate::client::{Answer, Shop, Tokens};

pub(crate) const SECRET: &str = "app-s3cret";

/// A shop with a provider, whose answers are waited for as long.
pub(crate) struct Mini {
    pub(crate) shop: Shop,
    url: String,
    http: hyper_util::client::legacy::Client<
        hyper_util::client::legacy::connect::HttpConnector,
        axum::body::Body,
    >,
}

impl Mini {
    pub(crate) async fn open(secret: &str, timeout: Duration) -> Self {
        let context = Context { version: "v1".into(), revision: None, stop: Stop::new() };
        let front = Front::new(&context, Faults::new(&[]), fake::routes("shop", SECRET)).unwrap();
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, front, context.stop, Limits::default()));
        let mut app = Shop::open().await;
        app.app.mini_program = Some(Provider::new(&url, "shop", secret, timeout).unwrap().into());
        let http =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        Self { shop: app.again(), url, http }
    }

    /// What `wx.login` gives a mini-program.
    pub(crate) async fn code(&self, openid: &str, behaviour: &str) -> String {
        let body = json!({"openid": openid, "behaviour": behaviour}).to_string();
        let request =
            http::Request::post(format!("{}/codes", self.url)).header("content-type", "application/json");
        let response = self.http.request(request.body(body.into()).unwrap()).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        answer["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn login(&self, code: &str) -> Answer {
        self.shop.post("/users/login/mini-program", "", json!({ "code": code })).await
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_code_is_a_login_once() {
    let mini = Mini::open(SECRET, TIMEOUT).await;
    let code = mini.code("openid-1", "good").await;
    let first = Tokens::of(&mini.login(&code).await);
    assert!(mini.shop.opens(&first).await);
    assert_eq!(mini.login(&code).await.code(), (401, "code-refused"));
    assert_eq!(mini.login("never-issued").await.code(), (401, "code-refused"));
    assert_eq!(mini.login("a b&secret=x").await.code(), (400, "invalid-field"));
    let again = Tokens::of(&mini.login(&mini.code("openid-1", "good").await).await);
    assert_eq!(again.user, first.user);
    let other = Tokens::of(&mini.login(&mini.code("openid-2", "good").await).await);
    assert_ne!(other.user, first.user);
    let name = mini.shop.get(&format!("/users/{}", first.user), &first.access).await.text("name");
    let guessed = mini.shop.login(&name, "a password that is none").await;
    assert_eq!(guessed.code(), (401, "wrong-credentials"), "it has no password");
}

#[tokio::test]
async fn two_first_logins_at_a_time_are_one_user() {
    let mini = Mini::open(SECRET, TIMEOUT).await;
    let codes = join_all((0..12).map(|_| mini.code("openid-1", "good"))).await;
    let answers = join_all(codes.iter().map(|code| mini.login(code))).await;
    let mut users: Vec<_> = answers.iter().map(|answer| Tokens::of(answer).user).collect();
    users.dedup();
    assert_eq!(users.len(), 1);
}

#[tokio::test]
async fn what_the_provider_says_is_told() {
    let mini = Mini::open(SECRET, TIMEOUT).await;
    for (behaviour, code) in [
        ("limited", (429, "rate-limited")),
        ("risk", (403, "account-at-risk")),
        ("busy", (503, "upstream-unavailable")),
    ] {
        let answer = mini.login(&mini.code("openid-1", behaviour).await).await;
        assert_eq!(answer.code(), code, "{behaviour}");
        assert_eq!(answer.headers.contains_key("retry-after"), code.0 != 403, "{behaviour}");
    }
    let wrong = Mini::open("another-secret", TIMEOUT).await;
    assert_eq!(wrong.login(&wrong.code("o", "good").await).await.code(), (503, "upstream-unavailable"));
    let none = Shop::open().await;
    let answer = none.post("/users/login/mini-program", "", json!({"code": "c"})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

/// Three tries each: after twenty the breaker is open, and the provider is not even asked.
#[tokio::test]
async fn a_provider_that_hangs_is_left_alone() {
    let mini = Mini::open(SECRET, Duration::from_millis(20)).await;
    let hangs = mini.code("openid-1", "hang").await;
    for _ in 0..7 {
        assert_eq!(mini.login(&hangs).await.code(), (503, "upstream-unavailable"));
    }
    let good = mini.code("openid-1", "good").await;
    assert_eq!(mini.login(&good).await.code(), (503, "upstream-unavailable"));
}
