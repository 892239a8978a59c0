//! TLS between sidecars and to hosts outside, on sockets.

mod authority;

mod floods;
mod inbound;
mod outbound;
mod outside;
mod rotation;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shop_contract::{Auth, Document, Mtls, MtlsMode};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::authority::{Authority, Leaf, id, secret};
use crate::support::{Around, Keys, Pod, TestApp, document, text, within};

/// An app that answers with who called it.
async fn telling() -> TestApp {
    TestApp::http1(|request: Request<Incoming>| async move {
        let callers = request.headers().get_all("x-shop-caller").iter();
        let callers = callers.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>();
        text(format!("by {}", callers.join("+")))
    })
    .await
}

#[allow(clippy::unnecessary_wraps, reason = "it is put into a document as it is")]
fn mtls(mode: MtlsMode, callers: &[&str]) -> Option<Auth> {
    let callers = callers.iter().map(|caller| id(caller)).collect();
    Some(Auth { mtls: Some(Mtls { mode, id: id("order"), callers }), ..Auth::default() })
}

fn with_mode(app: &TestApp, keys: &Keys, mode: MtlsMode, callers: &[&str]) -> Document {
    Document { auth: mtls(mode, callers), ..document(7, app.port, keys) }
}

/// A pod of `order` with a certificate.
async fn pod(app: &TestApp, authority: &Authority, mode: MtlsMode, callers: &[&str]) -> Pod {
    let keys = Keys::new();
    let secret = secret(&authority.issue("order"), &[authority]);
    Pod::around(with_mode(app, &keys, mode, callers), &keys, Around { secret, ..Around::default() }).await
}

/// A connection with TLS. By TLS 1.3 a client whose certificate is refused learns it from the first read.
async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::from(address.ip()), stream).await
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(path).header("host", "order").header("x-shop-caller", "spoofed");
    request.body(Full::default()).expect("request")
}

/// An answer that was read.
#[derive(Debug)]
struct Answer {
    status: u16,
    reason: String,
    body: String,
}

async fn read(response: Response<Incoming>) -> Answer {
    let reason = response.headers().get("x-shop-reason");
    let reason = reason.map(|reason| reason.to_str().expect("text").to_owned()).unwrap_or_default();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("body").to_bytes();
    Answer { status, reason, body: String::from_utf8(body.to_vec()).expect("text") }
}

/// One GET over TLS by HTTP/1; `None` if there is no connection.
async fn http1(pod: &Pod, leaf: Option<&Leaf>) -> Option<Answer> {
    within(async {
        let stream = connect(pod.sidecar.inbound, authority::client(leaf, b"http/1.1")).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let connection = tokio::spawn(connection);
        let answer = read(sender.send_request(get("/")).await.ok()?).await;
        connection.abort();
        Some(answer)
    })
    .await
}

/// The same by HTTP/2.
async fn http2(pod: &Pod, leaf: Option<&Leaf>) -> Option<Answer> {
    within(async {
        let stream = connect(pod.sidecar.inbound, authority::client(leaf, b"h2")).await.ok()?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.ok()?;
        let connection = tokio::spawn(connection);
        let answer = read(sender.send_request(get("https://order/")).await.ok()?).await;
        connection.abort();
        Some(answer)
    })
    .await
}
