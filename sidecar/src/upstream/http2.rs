//! Few HTTP/2 connections to one address, shared by all requests.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::outbound::{Body, Outbound, Replay};
use super::{Failure, Unanswered, Wire};

/// Streams on a connection beyond which another one is opened.
const BUSY: usize = 64;
/// Connections at most.
const CONNECTIONS: usize = 8;
/// Attempts at a request that nobody processed.
const ATTEMPTS: usize = 3;
/// How often a silent connection is asked for a sign of life while it has streams.
const PING: Duration = Duration::from_secs(20);

/// Connections to one address.
#[derive(Debug)]
pub(super) struct Shared {
    address: SocketAddr,
    connect_timeout: Duration,
    open: Mutex<Vec<Open>>,
    /// Held while connecting, so that many requests at once open one connection and not as many.
    connecting: tokio::sync::Mutex<()>,
    /// Attempts to connect that failed.
    failed: AtomicU64,
}

/// A connection that is used for new streams.
#[derive(Debug)]
struct Open {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

impl Open {
    fn begin(&self) -> Stream {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Stream { sender: self.sender.clone(), streams: Arc::clone(&self.streams) }
    }
}

/// One stream of a connection; counted as long as it lives.
#[derive(Debug)]
pub(super) struct Stream {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(address: SocketAddr, connect_timeout: Duration) -> Self {
        Self {
            address,
            connect_timeout,
            open: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: AtomicU64::new(0),
        }
    }

    /// Sends a request. One that the other side provably did not process (never sent, `REFUSED_STREAM`, or above the last
    /// stream of a GOAWAY) is sent again, with the body that was read so far.
    pub(super) async fn send(
        &self,
        mut outbound: Outbound,
    ) -> Result<(Response<Incoming>, Stream), Unanswered> {
        for attempt in 1..=ATTEMPTS {
            outbound.shape(Wire::Http2);
            let Some(mut stream) = self.stream().await else {
                return Err(Unanswered { failure: Failure::Connect, unsent: Some(Box::new(outbound)) });
            };
            let (request, body) = keep_body(outbound.request);
            let head = body.is_some().then(|| copy_head(&request));
            let (host, interim) = (outbound.host, outbound.interim);
            let (mut error, head) = match stream.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, stream)),
                Err(error) => (error, head),
            };
            let unsent = match error.take_message() {
                Some(request) => Some(request),
                None if is_unprocessed(error.error()) => {
                    head.zip(body.and_then(Kept::again)).map(|(mut head, body)| {
                        *head.body_mut() = body;
                        head
                    })
                }
                None => None,
            };
            let Some(request) = unsent else {
                return Err(Unanswered { failure: Failure::Reset, unsent: None });
            };
            outbound = Outbound { request, host, interim };
            self.forget(&stream);
            if attempt == ATTEMPTS {
                break;
            }
        }
        Err(Unanswered { failure: Failure::Reset, unsent: Some(Box::new(outbound)) })
    }

    /// The least busy connection, or a new one when all are busy.
    async fn stream(&self) -> Option<Stream> {
        if let Some(stream) = self.least_busy(BUSY) {
            return Some(stream);
        }
        let failed = self.failed.load(Ordering::Acquire);
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(stream) = self.least_busy(BUSY) {
            return Some(stream);
        }
        // Who has waited for an attempt that failed does not make one of its own: with a pod that is away, a hundred requests
        // would wait for a hundred timeouts one after the other.
        let hopeless = self.failed.load(Ordering::Acquire) != failed;
        if hopeless || self.open.lock().unwrap_or_else(PoisonError::into_inner).len() >= CONNECTIONS {
            return self.least_busy(usize::MAX);
        }
        let Some(opened) = self.connect().await else {
            self.failed.fetch_add(1, Ordering::Release);
            return self.least_busy(usize::MAX);
        };
        let first = opened.begin();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        Some(first)
    }

    async fn connect(&self) -> Option<Open> {
        let stream = super::http1::connect(self.address, self.connect_timeout).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        Some(Open { sender, streams: Arc::default() })
    }

    fn least_busy(&self, limit: usize) -> Option<Stream> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.sender.is_closed());
        let busy = |connection: &&Open| connection.streams.load(Ordering::Relaxed);
        open.iter().min_by_key(busy).filter(|connection| busy(connection) < limit).map(Open::begin)
    }

    /// Takes a connection that refused a stream out of use for new ones.
    fn forget(&self, refused: &Stream) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !Arc::ptr_eq(&connection.streams, &refused.streams));
    }
}

/// What is needed to begin a body again.
enum Kept {
    Empty,
    Replay(super::outbound::ReplayHandle),
    Whole(Bytes),
}

impl Kept {
    fn again(self) -> Option<Body> {
        match self {
            Self::Empty => Some(Body::Empty),
            Self::Replay(handle) => handle.again().map(Body::Replay),
            Self::Whole(body) => Some(Body::Whole(Some(body))),
        }
    }
}

/// Makes the body one that can be begun again.
fn keep_body(request: http::Request<Body>) -> (http::Request<Body>, Option<Kept>) {
    let (head, body) = request.into_parts();
    let body = match body {
        Body::Stream(body) => Body::Replay(Replay::new(body)),
        other => other,
    };
    let kept = match &body {
        Body::Replay(replay) => Kept::Replay(replay.handle()),
        Body::Whole(Some(body)) => Kept::Whole(body.clone()),
        _ => Kept::Empty,
    };
    (http::Request::from_parts(head, body), Some(kept))
}

fn copy_head(request: &http::Request<Body>) -> http::Request<Body> {
    let mut copy = http::Request::new(Body::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// Whether the other side said that it did not process the stream (RFC 9113 sections 8.7 and 6.8).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let going_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (refused || going_away);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    /// A pod that has gone without a word: nobody answers, and every attempt takes as long as it may.
    #[tokio::test]
    async fn requests_to_a_pod_that_is_away_wait_together() {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind("127.0.0.1:0".parse().expect("address")).expect("bound");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("address");
        // With its queue full it takes no more connections.
        let mut queued = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            queued.push(stream.expect("connected"));
        }
        let shared = Shared::new(address, Duration::from_millis(500));
        let send = || {
            let outbound = Outbound {
                request: http::Request::new(Body::Empty),
                host: HeaderValue::from_static("order"),
                interim: None,
            };
            shared.send(outbound)
        };
        // One after the other they would take 100 s.
        let all = futures::future::join_all((0..200).map(|_| send()));
        let all = tokio::time::timeout(Duration::from_secs(30), all).await.expect("together");
        for unanswered in all {
            let unanswered = unanswered.expect_err("nobody is there");
            assert!(unanswered.failure == Failure::Connect && unanswered.unsent.is_some());
        }
    }
}
