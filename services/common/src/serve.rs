//! Serving: HTTP/1.1 and h2c on one port, and an end that loses no request.
//!
//! The end: readiness goes, answers over HTTP/1 say `Connection: close`, HTTP/2 gets GOAWAY, new connections are still taken. When
//! nothing is in flight and nothing has come for [`Limits::quiet`], everything closes. hyper's shutdown of an HTTP/1 connection
//! closes it at once if it is idle, and a request that was on its way is lost; that is why idle ones are kept until it is quiet.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::front::Front;
use crate::stop::{Quiet, Stop};

/// How often an ending service looks whether it is quiet.
const QUIET_CHECK: Duration = Duration::from_millis(50);
/// How long accepting rests after it failed, for example because no file descriptor was free.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The address that a request's connection comes from; every request has it among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The bounds of serving.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the listener's queue.
    pub connections: usize,
    /// Streams at a time on one HTTP/2 connection.
    pub streams: u32,
    /// An ending service closes after this long without a request.
    pub quiet: Duration,
    /// An ending service closes after this long in any case.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, streams: 200, quiet: Duration::from_secs(1), end: Duration::from_secs(9) }
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was finished.
    Clean,
    /// The time was over while this many requests and streams were in flight.
    Cut(usize),
}

/// The port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {}", advise(.source.kind()))]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

fn advise(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::AddrInUse => "stop what uses the port, or choose another one with --port",
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges: choose another one with --port"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: choose another one with --host"
        }
        _ => "choose another address with --host and --port",
    }
}

/// Opens the port.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves until `stop` begins and everything in flight is finished, or the time for it is over.
pub async fn serve(listener: TcpListener, front: Front, stop: Stop, limits: Limits) -> Ended {
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut quiet = pin!(wait_for_quiet(&stop, limits));
    let ended_at = loop {
        let accepted = async {
            // The semaphore is never closed, so that there is always a permit.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            begun_at = &mut quiet => break begun_at + limits.end,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = Peer(peer.ip().to_canonical());
                let (front, stop, closing) = (front.clone(), stop.clone(), closing.clone());
                let connection = attend(stream, peer, front, stop, closing, limits.streams);
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    };
    drop(listener);
    closing.cancel();
    connections.close();
    match tokio::time::timeout_at(ended_at.into(), connections.wait()).await {
        Ok(()) if stop.in_flight() == 0 => Ended::Clean,
        _ => Ended::Cut(stop.in_flight()),
    }
}

/// Returns when the end has begun and it is quiet, or nearly all time for the end is over; says when it began.
async fn wait_for_quiet(stop: &Stop, limits: Limits) -> Instant {
    stop.begun().await;
    let begun_at = Instant::now();
    let mut quiet = Quiet::new(limits.quiet, stop.started(), begun_at);
    // A tenth of the time is left for closing.
    let give_up = begun_at + limits.end.mul_f64(0.9);
    loop {
        tokio::time::sleep(QUIET_CHECK.min(limits.quiet)).await;
        let now = Instant::now();
        if quiet.observe(stop.in_flight(), stop.started(), now) || now >= give_up {
            return begun_at;
        }
    }
}

/// One connection from its first byte to its last. Errors are the client's: it went away, or spoke something else.
async fn attend(
    stream: TcpStream,
    peer: Peer,
    front: Front,
    stop: Stop,
    closing: CancellationToken,
    streams: u32,
) {
    // Answers are small and complete: waiting to fill a segment only delays them. A socket that refuses is closed already.
    let _ = stream.set_nodelay(true);
    let is_http2 = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        if request.version() == Version::HTTP_2 {
            is_http2.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(peer);
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The timeout for heads would also close kept-alive connections that are idle; the sidecar before this port bounds heads.
    builder.http1().header_read_timeout(None);
    builder.http2().max_concurrent_streams(streams);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.begun() => {}
    }
    if !is_http2.load(Ordering::Relaxed) {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = closing.cancelled() => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
