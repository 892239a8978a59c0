//! One request on a connection of its own, with its whole answer.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest body of an answer.
const MAX_BODY: usize = 1 << 20;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header field that is text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Sends the request over HTTP/1.1, with `Host: app` unless it names one.
pub async fn ask(target: impl ToSocketAddrs, mut request: Request<Full<Bytes>>) -> Result<Answer> {
    request.headers_mut().entry("host").or_insert_with(|| http::HeaderValue::from_static("app"));
    let exchange = async {
        let stream = TcpStream::connect(target).await.context("connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.context("send a request")?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        connection.abort();
        let body = body.map_err(|error| anyhow::anyhow!("read an answer: {error}"))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    timeout(PATIENCE, exchange).await.context("no answer")?
}
