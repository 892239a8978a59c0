//! Callers that begin handshakes and do not end them.

use shop_contract::MtlsMode::Strict;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::authority::Authority;
use super::{http1, http2, pod, telling};
use crate::support::until;

/// More than may be under way at once.
const SLOW: usize = 300;

#[tokio::test]
async fn slow_handshakes_keep_nobody_out() {
    let (app, authority) = (telling().await, Authority::new());
    let mut pod = pod(&app, &authority, Strict, &[]).await;
    pod.change(|document| document.max_connections = 1_000).await;
    let cart = authority.issue("cart");
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(pod.sidecar.inbound).await.expect("connected");
        // A record of a handshake that never comes.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("written");
        slow.push(stream);
    }
    for _ in 0..10 {
        assert_eq!(http1(&pod, Some(&cart)).await.expect("answer").status, 200);
        assert_eq!(http2(&pod, Some(&cart)).await.expect("answer").status, 200);
    }
    until("the oldest were given up", async || pod.stats().await.connections < 280).await;
}

#[tokio::test]
async fn what_begins_like_tls_and_is_none_ends() {
    let (app, authority) = (telling().await, Authority::new());
    let pod = pod(&app, &authority, Strict, &[]).await;
    let mut streams = Vec::new();
    for bytes in
        [&[0x16, 3, 1, 0, 0][..], &[0x16; 24], &[0x16, 3, 3, 0, 4, 1, 0, 0, 0], b"\x16GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(pod.sidecar.inbound).await.expect("connected");
        stream.write_all(bytes).await.expect("written");
        stream.shutdown().await.expect("shut down");
        streams.push(stream);
    }
    until("all are closed", async || pod.stats().await.connections == 0).await;
}
