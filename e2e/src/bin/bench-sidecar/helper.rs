//! What a proxy with all features needs beside its app: somebody who takes spans and hands out keys.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

/// Bytes of spans so far.
static RECEIVED: AtomicU64 = AtomicU64::new(0);

/// Listens; the thread ends with the process. A GET is answered with the key set, a POST with 200.
pub(crate) fn start(key_set: &Value) -> Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let keys = Bytes::from(key_set.to_string());
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keys = keys.clone();
            let service = service_fn(move |request| answer(request, keys.clone()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    };
    let thread = thread::Builder::new().name("helper".to_owned());
    thread.spawn(move || runtime.block_on(serve)).context("start a thread")?;
    Ok(address)
}

/// Bytes of spans that have come.
pub(crate) fn received() -> u64 {
    RECEIVED.load(Ordering::Relaxed)
}

async fn answer(request: Request<Incoming>, keys: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_get = *request.method() == Method::GET;
    if let Ok(body) = request.into_body().collect().await {
        RECEIVED.fetch_add(body.to_bytes().len() as u64, Ordering::Relaxed);
    }
    let (kind, body) =
        if is_get { ("application/json", keys) } else { ("application/x-protobuf", Bytes::new()) };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    Ok(response)
}
