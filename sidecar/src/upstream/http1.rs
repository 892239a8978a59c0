//! HTTP/1.1 connections to one address, kept and used again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::outbound::{Body, Outbound};
use super::{Failure, Unanswered, Wire};

/// Connections that are kept without use.
const KEPT: usize = 512;
/// How long one is kept without use.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// How long one may have been unused to carry a request that cannot be repeated: apps close idle connections after a few
/// seconds, and a request that crosses the close would be lost.
const LONGEST_IDLE_ONCE: Duration = Duration::from_secs(1);
/// Head of an answer, beyond which it is an error.
const MAX_HEAD: usize = 64 * 1024;

/// A connection that carries one request at a time.
pub(super) type Sender = SendRequest<Body>;

/// Connections to one address.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    connect_timeout: Duration,
    /// Oldest first.
    idle: Mutex<VecDeque<(Sender, Instant)>>,
}

impl Pool {
    pub(super) fn new(address: SocketAddr, connect_timeout: Duration) -> Self {
        Self { address, connect_timeout, idle: Mutex::default() }
    }

    /// Sends a request, on a kept connection if there is one. A request that did not leave is sent again on a new one, and so
    /// is one that can be repeated when the kept connection ended without an answer.
    pub(super) async fn send(
        &self,
        mut outbound: Outbound,
    ) -> Result<(Response<Incoming>, Sender), Unanswered> {
        outbound.shape(Wire::Http1);
        let repeatable = outbound.is_repeatable();
        if let Some(mut sender) = self.take(repeatable) {
            let copy = repeatable.then(|| outbound.repeat());
            let host = outbound.host;
            match sender.try_send_request(outbound.request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match (error.take_message(), copy) {
                    (Some(request), _) => outbound = Outbound { request, host },
                    (None, Some(copy)) => outbound = copy,
                    (None, None) => return Err(Unanswered { failure: Failure::Reset, unsent: None }),
                },
            }
            outbound.shape(Wire::Http1);
        }
        let Some(mut sender) = self.connect().await else {
            return Err(Unanswered { failure: Failure::Connect, unsent: Some(Box::new(outbound)) });
        };
        let host = outbound.host;
        match sender.try_send_request(outbound.request).await {
            Ok(response) => Ok((response, sender)),
            Err(mut error) => {
                let unsent = error.take_message().map(|request| Box::new(Outbound { request, host }));
                Err(Unanswered { failure: Failure::Reset, unsent })
            }
        }
    }

    /// The connection used last among those that are ready.
    fn take(&self, repeatable: bool) -> Option<Sender> {
        let longest = if repeatable { LONGEST_IDLE } else { LONGEST_IDLE_ONCE };
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            let (sender, since) = idle.get(index)?;
            if now.duration_since(*since) > longest {
                return None;
            }
            if sender.is_closed() {
                idle.remove(index);
            } else if sender.is_ready() {
                return idle.remove(index).map(|(sender, _)| sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end. It may need a moment to be ready again.
    pub(super) fn give_back(&self, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.front().is_some_and(|(oldest, since)| {
            oldest.is_closed() || now.duration_since(*since) > LONGEST_IDLE || idle.len() >= KEPT
        }) {
            idle.pop_front();
        }
        idle.push_back((sender, now));
    }

    async fn connect(&self) -> Option<Sender> {
        let stream = connect(self.address, self.connect_timeout).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .ok()?;
        // The task ends with the connection, which ends when its sender is dropped. Its errors reach the request.
        tokio::spawn(connection.with_upgrades());
        Some(sender)
    }
}

/// A TCP connection without delay for small writes.
pub(super) async fn connect(address: SocketAddr, timeout: Duration) -> Option<TcpStream> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}
