//! What the sidecar makes of raw bytes: which requests and answers it refuses, and what becomes of those it passes on.
//!
//! One row for each case: the bytes, and the answer that is required. What passes was read by an independent parser behind the
//! sidecar, which must have seen the same request.

mod answers;
mod pipelined;
mod requests;
mod smuggling;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{TestApp, text, within};
use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Tells what it saw: method, target, fields in alphabetical order, and the body. Counts requests that came whole.
async fn telling() -> (TestApp, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let app = TestApp::http1(move |request: Request<hyper::body::Incoming>| {
        let counter = Arc::clone(&counter);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes);
            if body.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            let mut fields: Vec<String> = head
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
                .collect();
            fields.sort();
            let body = body
                .map_or_else(|_| "(broken off)".into(), |body| String::from_utf8_lossy(&body).into_owned());
            text(format!("saw {} {}\n{}\n{body}.", head.method, head.uri, fields.concat()))
        }
    })
    .await;
    (app, seen)
}

/// Sends bytes in pieces of that size, ends its side if asked to, and reads to the end.
async fn exchange(address: SocketAddr, bytes: &[u8], piece: usize) -> String {
    within(async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        let sending = async {
            for part in bytes.chunks(piece) {
                // A server that has refused may have closed.
                if write.write_all(part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let reading = async {
            // So may it with a reset, when bytes were left unread.
            let _ = read.read_to_end(&mut answer).await;
        };
        tokio::join!(sending, reading);
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}
