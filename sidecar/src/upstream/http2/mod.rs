//! Few HTTP/2 connections to one address, shared by all requests.

mod connection;
mod exchange;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::outbound::{Body, Outbound, Replay};
use super::{Failure, Unanswered, Wire};
use crate::http1::Incoming;
use crate::tls::Dial;
use connection::Open;
pub(super) use connection::Stream;
use exchange::Broken;
pub(crate) use exchange::Exchange;

/// Streams on a connection beyond which another one is opened.
const BUSY: usize = 64;
/// Connections at most.
const CONNECTIONS: usize = 8;
/// Attempts at a request that nobody processed.
const ATTEMPTS: usize = 3;

/// Connections to one address.
#[derive(Debug)]
pub(super) struct Shared {
    address: SocketAddr,
    connect_timeout: Duration,
    dial: Dial,
    open: Mutex<Vec<Open>>,
    /// Held while connecting, so that many requests at once open one connection and not as many.
    connecting: tokio::sync::Mutex<()>,
    /// Attempts to connect that failed.
    failed: AtomicU64,
}

impl Shared {
    pub(super) fn new(address: SocketAddr, connect_timeout: Duration, dial: Dial) -> Self {
        Self {
            address,
            connect_timeout,
            dial,
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
            outbound.shape(Wire::Http2, &self.dial);
            let Some(mut stream) = self.stream().await else {
                return Err(Unanswered { failure: Failure::Connect, unsent: Some(Box::new(outbound)) });
            };
            let (request, kept) = keep_body(outbound.request);
            let mut copy = copy_head(&request);
            let (host, interim) = (outbound.host, outbound.interim);
            let unsent = match exchange::send(&mut stream, request, interim.as_ref()).await {
                Ok(response) => return Ok((response, stream)),
                Err(Broken::Unsent(body)) => Some(body),
                Err(Broken::Unprocessed) => kept.again(),
                Err(Broken::Lost) => None,
            };
            let Some(body) = unsent else {
                return Err(Unanswered { failure: Failure::Reset, unsent: None });
            };
            *copy.body_mut() = body;
            outbound = Outbound { request: copy, host, interim };
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
        let Some(opened) = Open::connect(&self.dial, self.address, self.connect_timeout).await else {
            self.failed.fetch_add(1, Ordering::Release);
            return self.least_busy(usize::MAX);
        };
        let first = opened.begin();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        first
    }

    fn least_busy(&self, limit: usize) -> Option<Stream> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.is_closed());
        open.iter().min_by_key(|open| open.streams()).filter(|open| open.streams() < limit)?.begin()
    }

    /// Takes a connection that refused a stream out of use for new ones.
    fn forget(&self, refused: &Stream) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.is_of(refused));
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
fn keep_body(request: http::Request<Body>) -> (http::Request<Body>, Kept) {
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
    (http::Request::from_parts(head, body), kept)
}

fn copy_head(request: &http::Request<Body>) -> http::Request<Body> {
    let mut copy = http::Request::new(Body::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
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
        let shared = Shared::new(address, Duration::from_millis(500), Dial::Plain);
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
