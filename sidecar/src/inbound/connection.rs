//! One caller's connection: which HTTP it speaks, and how it ends in a drain.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shop_contract::{MtlsMode, headers::REASON, reasons::TOO_MANY_CONNECTIONS};
use shop_flow::drain::IDLE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rewind::Rewind;
use super::sender::Peer;
use super::signal::Signal;
use super::tunnel::Tunnel;
use super::{Proxy, http1, http2, tcp, tunnel};
use crate::config::Snapshot;
use crate::drain::OpenConnection;
use crate::tls::{self, Stream};

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may be silent after connecting.
const FIRST_BYTE: Duration = Duration::from_mins(1);

/// Serves a connection to its end. `bytes`: it is for a service whose protocol is tcp, by this document.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: Peer,
    open: OpenConnection,
    bytes: Option<Arc<Snapshot>>,
    proxy: Arc<Proxy>,
) {
    let _ = stream.set_nodelay(true);
    if let Some(snapshot) = bytes {
        Box::pin(serve_bytes(stream, peer, snapshot, &proxy)).await;
        return drop(open);
    }
    let mut first = [0; PREFACE.len()];
    // Not kept as long as the connection: this is needed once.
    let told = Box::pin(tell_protocol(&mut stream, &mut first, &proxy)).await;
    match told {
        None => {}
        Some(length) if length == PREFACE.len() && first == *PREFACE => {
            Box::pin(http2::serve(Rewind::new(stream.into(), PREFACE), peer, &proxy)).await;
        }
        Some(length) => {
            let first = first.get(..length).unwrap_or_default();
            let identity = (first.first() == Some(&tls::FIRST_BYTE)).then(|| proxy.config.identity());
            match identity.flatten() {
                Some(identity) => Box::pin(serve_tls(stream, first, &identity, peer, &proxy)).await,
                None => serve_http1(Stream::Plain(stream), first, peer, &proxy).await,
            }
        }
    }
    drop(open);
}

/// Serves a connection of a service whose protocol is tcp. By its document TLS is between sidecars, or an affair of the app.
async fn serve_bytes(stream: TcpStream, mut peer: Peer, snapshot: Arc<Snapshot>, proxy: &Arc<Proxy>) {
    let mtls = snapshot.document.auth.as_ref().and_then(|auth| auth.mtls.as_ref());
    let mode = mtls.map_or(MtlsMode::Off, |mtls| mtls.mode);
    let identity = proxy.config.identity().filter(|_| mode != MtlsMode::Off);
    let Some(identity) = identity else { return tcp::serve(stream.into(), peer, snapshot, proxy).await };
    let mut first = [0];
    // Of a client whose server speaks first nothing comes.
    let silence = if mode == MtlsMode::Strict { FIRST_BYTE } else { tcp::SEAL };
    let peeked = tokio::time::timeout(silence, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) || first != [tls::FIRST_BYTE] {
        return tcp::serve(stream.into(), peer, snapshot, proxy).await;
    }
    let secured = Box::pin(proxy.handshakes.accept(stream, &[], &identity)).await;
    proxy.telemetry.metrics.handshake(secured.as_ref().map(|secured| secured.is_resumed));
    if let Some(secured) = secured {
        peer.caller = Some(secured.caller);
        tcp::serve(secured.stream, peer, snapshot, proxy).await;
    }
}

/// Makes the handshake, and serves what was agreed on.
async fn serve_tls(
    stream: TcpStream,
    first: &[u8],
    identity: &tls::Identity,
    mut peer: Peer,
    proxy: &Arc<Proxy>,
) {
    let secured = Box::pin(proxy.handshakes.accept(stream, first, identity)).await;
    proxy.telemetry.metrics.handshake(secured.as_ref().map(|secured| secured.is_resumed));
    let Some(secured) = secured else { return };
    peer.caller = Some(secured.caller);
    if secured.is_http2 {
        http2::serve(Rewind::new(secured.stream, &[]), peer, proxy).await;
    } else {
        serve_http1(secured.stream, &[], peer, proxy).await;
    }
}

/// Reads until it is certain whether the client speaks HTTP/2; answers how many bytes that took. `None`: it sent nothing, or
/// too slowly.
async fn tell_protocol(
    stream: &mut TcpStream,
    first: &mut [u8; PREFACE.len()],
    proxy: &Proxy,
) -> Option<usize> {
    let mut length = 0;
    let read_first = async {
        length = stream.read(first).await.ok()?;
        Some(length).filter(|length| *length > 0)
    };
    let drained = async {
        proxy.drain.begun().await;
        tokio::time::sleep(IDLE).await;
    };
    tokio::select! {
        read = read_first => { read?; }
        () = drained => return None,
        () = tokio::time::sleep(FIRST_BYTE.min(proxy.config.timeouts().idle())) => return None,
    }
    let rest = async {
        while length < PREFACE.len() && first.get(..length) == PREFACE.get(..length) {
            match stream.read(first.get_mut(length..)?).await.ok()? {
                0 => return None,
                more => length += more,
            }
        }
        Some(())
    };
    tokio::time::timeout(proxy.config.timeouts().header(), rest).await.ok()??;
    Some(length)
}

async fn serve_http1(stream: Stream, first: &[u8], peer: Peer, proxy: &Arc<Proxy>) {
    let connection = http1::Connection::new(stream, first, peer, Arc::clone(proxy));
    let deadline = std::pin::pin!(proxy.drain.deadline());
    let mut deadline = Signal::new(deadline, || proxy.drain.is_overdue());
    let mut requests = std::pin::pin!(connection.serve());
    let tunnel = poll_fn(|context| match requests.as_mut().poll(context) {
        Poll::Ready(tunnel) => Poll::Ready(tunnel),
        Poll::Pending => deadline.poll(context).map(|()| None),
    })
    .await;
    if let Some(tunnel) = tunnel {
        let Tunnel { client, ends } = *tunnel;
        let (read, write) = tunnel::open(client);
        Box::pin(tunnel::run(read, write, ends, proxy)).await;
    }
}

/// Answers a connection beyond the limit.
pub(super) async fn refuse(mut stream: TcpStream) {
    let body = TOO_MANY_CONNECTIONS;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\n{REASON}: {body}\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: \
         text/plain\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = async {
        // The request is read first: closing with unread bytes would reset the connection, and the answer with it.
        let _ = stream.read(&mut [0; 4_096]).await;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read(&mut [0; 4_096]).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), answered).await;
}
