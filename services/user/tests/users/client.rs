//! A shop's users in memory, and somebody who calls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use clap::Parser;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shop_user::Settings;
use shop_user::routes::{App, routes};
use tower::ServiceExt;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

/// As the flags say.
pub(crate) fn settings(flags: &[&str]) -> Settings {
    Cli::try_parse_from([&["user"], flags].concat()).unwrap().settings
}

pub(crate) struct Shop {
    pub(crate) app: App,
    pub(crate) router: Router,
    now: Arc<AtomicI64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or(""))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| unreachable!("no {name} in {}", self.body)).to_owned()
    }
}

/// What a login gives.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) user: String,
}

impl Tokens {
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let user = answer.body["user"]["id"].as_str().unwrap().to_owned();
        Self { access: answer.text("access_token"), refresh: answer.text("refresh_token"), user }
    }
}

pub(crate) const PASSWORD: &str = "correct horse battery";

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(&["--admin-password", "admins own password"]).await
    }

    pub(crate) async fn with(flags: &[&str]) -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let clock = Arc::clone(&now);
        let settings = settings(flags);
        let app = shop_user::app(&settings, Arc::new(move || clock.load(Ordering::Relaxed))).await.unwrap();
        Self { router: routes(app.clone()).web, app, now }
    }

    /// With routes for the app as it is now.
    pub(crate) fn again(self) -> Self {
        Self { router: routes(self.app.clone()).web, ..self }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    pub(crate) async fn register(&self, name: &str) -> Answer {
        self.post("/users", "", json!({"name": name, "password": PASSWORD})).await
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Answer {
        self.post("/users/login", "", json!({"name": name, "password": password})).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/users/token/refresh", "", json!({"refresh_token": token})).await
    }

    /// Registers and logs in.
    pub(crate) async fn join(&self, name: &str) -> Tokens {
        assert_eq!(self.register(name).await.status, StatusCode::CREATED);
        Tokens::of(&self.login(name, PASSWORD).await)
    }

    pub(crate) async fn admin(&self) -> Tokens {
        Tokens::of(&self.login("admin", "admins own password").await)
    }

    /// Whether a token opens its user's own account.
    pub(crate) async fn opens(&self, tokens: &Tokens) -> bool {
        self.get(&format!("/users/{}", tokens.user), &tokens.access).await.status == StatusCode::OK
    }
}
