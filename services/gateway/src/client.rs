//! Connections to the services behind.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Idle connections to one service.
const IDLE: usize = 512;
const IDLE_TIME: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(1);
/// How long the gateway's own questions may take.
const ASK: Duration = Duration::from_secs(2);
/// Longest answer to one of them.
const LONGEST: usize = 1024 * 1024;

/// Sends requests over kept-alive connections.
pub(crate) type Http = Client<HttpConnector, Body>;

/// A client without connections.
pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE)
        .build(connector)
}

/// What is at an address; `None`: no answer that is 200 and not too long.
pub(crate) async fn ask(http: &Http, url: &str) -> Option<Bytes> {
    let request = Request::get(url.parse::<Uri>().ok()?).body(Body::empty()).ok()?;
    let answered = async {
        let response = http.request(request).await.ok().filter(|one| one.status() == StatusCode::OK)?;
        Some(Limited::new(response.into_body(), LONGEST).collect().await.ok()?.to_bytes())
    };
    tokio::time::timeout(ASK, answered).await.ok()?
}
