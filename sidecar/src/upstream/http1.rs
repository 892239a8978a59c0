//! HTTP/1.1 connections to one address, kept and used again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;

use super::exchange::{Begun, Broken, Exchange, Why};
use super::outbound::{Body, Outbound};
use super::{Failure, Unanswered, Wire};
use crate::http1::{Halves, Reader, Writer};
use crate::tls::{Dial, Stream};

/// Connections that are kept without use.
const KEPT: usize = 512;
/// How long one is kept without use.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// How long one may have been unused to carry a request that cannot be repeated: apps close idle connections after a few
/// seconds, and a request that crosses the close would be lost.
const LONGEST_IDLE_ONCE: Duration = Duration::from_secs(1);

/// Connections to one address.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    connect_timeout: Duration,
    dial: Dial,
    /// Oldest first.
    idle: Mutex<VecDeque<(Halves, Instant)>>,
}

impl Pool {
    pub(super) fn new(address: SocketAddr, connect_timeout: Duration, dial: Dial) -> Self {
        Self { address, connect_timeout, dial, idle: Mutex::default() }
    }

    /// Sends a request, on a kept connection if there is one. A request that did not leave is sent again on a new one, and so
    /// is one that can be repeated when the kept connection ended without an answer.
    pub(super) async fn send(self: &Arc<Self>, mut outbound: Outbound) -> Result<Begun, Unanswered> {
        outbound.shape(Wire::Http1, &self.dial);
        let repeatable = outbound.is_repeatable();
        if let Some(connection) = self.take(repeatable) {
            outbound = match self.exchange(connection, outbound).await {
                Ok(begun) => return Ok(begun),
                Err((broken, head)) => match broken.unsent {
                    Some(_) => head,
                    None if repeatable && broken.why == Why::Silent => head,
                    None => return Err(unanswered(broken.why, None)),
                },
            };
        }
        let Some(connection) = self.connect().await else {
            return Err(Unanswered { failure: Failure::Connect, unsent: Some(Box::new(outbound)) });
        };
        match self.exchange(connection, outbound).await {
            Ok(begun) => Ok(begun),
            Err((broken, head)) => Err(unanswered(broken.why, broken.unsent.map(|_| head))),
        }
    }

    /// If it breaks, the request comes back, with its body if nothing of that was taken.
    async fn exchange(
        self: &Arc<Self>,
        connection: Halves,
        outbound: Outbound,
    ) -> Result<Begun, (Broken, Outbound)> {
        let Outbound { request, host, interim } = outbound;
        let (mut head, body) = request.into_parts();
        let exchange = Exchange::new(connection, Arc::clone(self), &mut head, body);
        match exchange.answer(&head, interim.as_ref()).await {
            Ok(begun) => Ok(begun),
            Err(mut broken) => {
                let body = match &mut broken.unsent {
                    Some(body) => std::mem::replace(body, Body::Empty),
                    None => Body::Empty,
                };
                Err((broken, Outbound { request: Request::from_parts(head, body), host, interim }))
            }
        }
    }

    /// The connection used last, if the app has not closed it.
    fn take(&self, repeatable: bool) -> Option<Halves> {
        let longest = if repeatable { LONGEST_IDLE } else { LONGEST_IDLE_ONCE };
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, since)) = idle.back() {
            if now.duration_since(*since) > longest {
                return None;
            }
            let (connection, _) = idle.pop_back()?;
            if connection.reader.is_silent() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn give_back(&self, mut connection: Halves) {
        connection.reader.release();
        connection.writer.release();
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle
            .front()
            .is_some_and(|(_, since)| now.duration_since(*since) > LONGEST_IDLE || idle.len() >= KEPT)
        {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    /// A connection of which nothing is known yet.
    pub(super) async fn open(&self) -> Option<Stream> {
        self.dial.connect(self.address, self.connect_timeout, Wire::Http1).await
    }

    async fn connect(&self) -> Option<Halves> {
        let (read, write) = self.open().await?.into_split();
        Some(Halves { reader: Reader::new(read, &[]), writer: Writer::new(write) })
    }
}

fn unanswered(why: Why, unsent: Option<Outbound>) -> Unanswered {
    let failure = if why == Why::Bad { Failure::Bad } else { Failure::Reset };
    Unanswered { failure, unsent: unsent.map(Box::new) }
}
