//! One connection of the app: HTTP/1.1, or HTTP/2 with prior knowledge.
//!
//! By hyper, and not by the codec of the inbound side: what comes here is the app of this very pod, so nothing is to be
//! defended against, and what goes on is written anew by that codec anyway.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Door, bytes, request};

/// As many bytes tell HTTP/2 (`PRI * HTTP/2.0`) from any method of HTTP/1.
const TELLING: usize = 3;
/// Streams that the app may have open on one connection.
const MAX_STREAMS: u32 = 1_000;
/// Head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// The same by HTTP/2.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// How often a silent HTTP/2 connection is asked for a sign of life.
const PING: Duration = Duration::from_mins(1);

/// Serves a connection to its end; one to `port` is for one dependency.
pub(super) async fn serve(mut stream: TcpStream, port: Option<u16>, door: Arc<Door>) {
    let _ = stream.set_nodelay(true);
    let snapshot = port.and_then(|_| door.config.current());
    let dependencies = snapshot.as_ref().and_then(|snapshot| snapshot.dependencies.as_ref());
    let called = port.and_then(|port| dependencies?.at_port(port)).filter(|called| called.is_bytes());
    if let Some(called) = called.map(Arc::clone) {
        drop(snapshot);
        return Box::pin(bytes::serve(stream, &called, &door)).await;
    }
    drop(snapshot);
    let mut first = [0; TELLING];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let (read, write) = stream.into_split();
    let stream = TokioIo::new(tokio::io::join(Cursor::new(first).chain(read), write));
    let service = service_fn(move |asked| {
        let answer = request::answer(Arc::clone(&door), port, asked);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // A connection that breaks is the app's own affair.
    let _ = if &first == b"PRI" {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).keep_alive_interval(PING);
        server.max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADER_LIST);
        server.serve_connection(stream, service).await
    } else {
        let mut server = http1::Builder::new();
        server.max_buf_size(MAX_HEAD);
        server.serve_connection(stream, service).with_upgrades().await
    };
}
