//! A gateway with services behind it, and a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::{Json, Router};
use clap::Parser;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use shop_common::faults::Faults;
use shop_common::serve::{Limits, listen, serve};
use shop_common::{Context, Front, Routes, Stop};

/// Nothing here takes long; the deadline is for machines that are busy with something else.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);
pub(crate) const PASSWORD: &str = "correct horse battery";

#[derive(Parser)]
struct Gateway {
    #[command(flatten)]
    settings: shop_gateway::Settings,
}

#[derive(Parser)]
struct User {
    #[command(flatten)]
    settings: shop_user::Settings,
}

/// A service that serves until it is stopped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    stop: Stop,
    task: tokio::task::JoinHandle<shop_common::serve::Ended>,
}

impl Service {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port is closed when this returns.
    pub(crate) async fn end(self) {
        self.stop.begin();
        self.task.await.unwrap();
    }
}

pub(crate) fn context() -> Context {
    Context { version: "v1".into(), revision: None, stop: Stop::new() }
}

pub(crate) async fn service(context: Context, routes: Routes) -> Service {
    let stop = context.stop.clone();
    let front = Front::new(&context, Faults::new(&[]), routes).unwrap();
    let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (quiet, end) = (Duration::from_millis(50), Duration::from_millis(500));
    let limits = Limits { quiet, end, ..Limits::default() };
    Service { address, stop: stop.clone(), task: tokio::spawn(serve(listener, front, stop, limits)) }
}

/// The real user service.
pub(crate) async fn users(flags: &[&str]) -> Service {
    let settings = User::try_parse_from([&["user"], flags].concat()).unwrap().settings;
    let clock = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let app = shop_user::app(&settings, Arc::new(clock)).await.unwrap();
    service(context(), shop_user::routes::routes(app)).await
}

/// A service that answers with what it was sent; `/orders/slow` never does.
pub(crate) async fn mirror() -> Service {
    let web = Router::new().route("/orders/slow", axum::routing::any(std::future::pending::<()>)).fallback(
        async |request: Request<Body>| {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let headers: Vec<_> = parts
                .headers
                .iter()
                .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()]))
                .collect();
            let (path, body) = (parts.uri.to_string(), String::from_utf8_lossy(&body).into_owned());
            Json(json!({"method": parts.method.as_str(), "path": path, "headers": headers, "body": body}))
        },
    );
    let context = context();
    // Its own front, so that every path is mirrored.
    let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = context.stop.clone();
    tokio::spawn(async move { axum::serve(listener, web).await });
    Service { address, stop, task: tokio::spawn(std::future::pending()) }
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

    /// What the mirror was sent in a header.
    pub(crate) fn sent(&self, name: &str) -> Vec<&str> {
        let headers = self.body["headers"].as_array().unwrap();
        headers.iter().filter(|one| one[0] == name).map(|one| one[1].as_str().unwrap()).collect()
    }
}

/// A gateway, and a client of it.
pub(crate) struct Shop {
    pub(crate) gateway: Service,
    http: Client<HttpConnector, Body>,
}

pub(crate) fn settings(flags: &[&str]) -> shop_gateway::Settings {
    Gateway::try_parse_from([&["gateway"], flags].concat()).unwrap().settings
}

impl Shop {
    pub(crate) async fn open(flags: &[&str]) -> Self {
        let app = shop_gateway::app(&settings(flags)).unwrap();
        if let Some(trust) = app.trust.clone() {
            tokio::spawn(async move { trust.keep().await });
        }
        let gateway = service(context(), shop_gateway::routes::routes(app)).await;
        Self { gateway, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) async fn call(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = request.uri(format!("{}{path}", self.gateway.url()));
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        let response = self.http.request(request.unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(with(Method::GET, token), path, None).await
    }

    /// Registers and logs in: the access token and the id.
    pub(crate) async fn join(&self, name: &str) -> (String, String) {
        let login = json!({"name": name, "password": PASSWORD});
        let made = self.call(with(Method::POST, ""), "/api/v1/users", Some(login.clone())).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let tokens = self.call(with(Method::POST, ""), "/api/v1/users/login", Some(login)).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&tokens.body["access_token"]), text(&tokens.body["user"]["id"]))
    }
}

pub(crate) fn with(method: Method, token: &str) -> http::request::Builder {
    let request = Request::builder().method(method);
    if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
}

/// Waits until it is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < DEADLINE, "it never came to be");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
