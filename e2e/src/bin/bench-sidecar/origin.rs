//! The server behind all proxies: one thread that answers every request with the same kilobyte.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of an answer's body.
const BODY: usize = 1024;

/// Listens; the thread ends with the process.
pub(crate) fn start() -> Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    thread::Builder::new()
        .name("origin".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream));
                }
            });
        })
        .context("start a thread")?;
    Ok(address)
}

/// The answer to a handshake with the key of the example in RFC 6455 section 1.3. Nothing is sent afterwards.
const WEBSOCKET: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn asks_for_websocket(head: &[u8]) -> bool {
    head.starts_with(b"GET /chat ")
}

/// Requests have no body, so that each ends with its head.
async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b'x'; BODY]].concat();
    let mut buffer = Vec::with_capacity(4096);
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        if buffer.ends_with(b"\r\n\r\n") {
            let answer = if asks_for_websocket(&buffer) { WEBSOCKET } else { &answer };
            buffer.clear();
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}
