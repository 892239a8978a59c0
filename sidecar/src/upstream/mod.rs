//! Connections towards an app, this pod's own or another revision's: one [`Upstream`] per address.

mod caller_body;
pub mod hand_off;
mod http1;
mod http2;
pub mod mirror;
mod outbound;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use shop_flow::balance::{Health, Load};

pub use outbound::{Body, Outbound};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// One request at a time.
    Http1,
    /// Many streams on few connections, without TLS, begun with prior knowledge.
    Http2,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("could not connect")]
    Connect,
    /// The connection ended before the answer began.
    #[error("the connection ended before an answer began")]
    Reset,
    /// The caller went away before the end of its body: nobody is there for an answer, and nobody's fault but its own.
    #[error("the caller went away before the end of its body")]
    Caller,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub failure: Failure,
    /// The request, when it is certain that nobody processed it.
    pub unsent: Option<Box<Outbound>>,
}

/// An answer, and what is kept until its body has ended.
#[derive(Debug)]
pub struct Answered {
    /// Head and body.
    pub response: Response<Incoming>,
    /// Keeps the connection.
    pub lease: Lease,
}

/// One address, its connections and how it did lately.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    http1: http1::Pool,
    http2: http2::Shared,
    in_flight: AtomicUsize,
    /// Set while `health` remembers a failure, so that a success in good times takes no lock.
    troubled: AtomicBool,
    health: Mutex<Health>,
}

impl Upstream {
    /// Without connections yet.
    pub fn new(address: SocketAddr, connect_timeout: Duration) -> Self {
        Self {
            address,
            http1: http1::Pool::new(address, connect_timeout),
            http2: http2::Shared::new(address, connect_timeout),
            in_flight: AtomicUsize::new(0),
            troubled: AtomicBool::new(false),
            health: Mutex::new(Health::default()),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// What an upstream provably did not process is sent once more on a new connection.
    pub async fn send(self: &Arc<Self>, outbound: Outbound, wire: Wire) -> Result<Answered, Unanswered> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut lease = Lease { upstream: Arc::clone(self), connection: None };
        let gone = outbound.gone();
        let sent = match wire {
            Wire::Http1 => {
                let sent = self.http1.send(outbound).await;
                sent.map(|(response, sender)| (response, Connection::Http1(sender)))
            }
            Wire::Http2 => {
                let sent = self.http2.send(outbound).await;
                sent.map(|(response, stream)| (response, Connection::Http2(stream)))
            }
        };
        let (response, connection) = sent.map_err(|unanswered| {
            if gone.is_some_and(|gone| gone.is_gone()) {
                Unanswered { failure: Failure::Caller, unsent: None }
            } else {
                unanswered
            }
        })?;
        lease.connection = Some(connection);
        Ok(Answered { response, lease })
    }

    /// For choosing among several.
    pub fn load(&self, now: Duration) -> Load {
        let troubled = self.troubled.load(Ordering::Relaxed);
        let avoided = troubled && self.health.lock().unwrap_or_else(PoisonError::into_inner).avoided(now);
        Load { in_flight: self.in_flight.load(Ordering::Relaxed), avoided }
    }

    /// Remembers that a request failed here.
    pub fn failed(&self, now: Duration) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).failed(now);
        self.troubled.store(true, Ordering::Relaxed);
    }

    /// Forgets failures.
    pub fn succeeded(&self) {
        if self.troubled.load(Ordering::Relaxed) {
            self.health.lock().unwrap_or_else(PoisonError::into_inner).succeeded();
            self.troubled.store(false, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
enum Connection {
    Http1(http1::Sender),
    // Held for its count of streams, which falls when it is dropped.
    Http2(#[allow(dead_code)] http2::Stream),
}

/// An upstream's connection while an answer is read from it.
#[derive(Debug)]
pub struct Lease {
    upstream: Arc<Upstream>,
    connection: Option<Connection>,
}

impl Lease {
    /// The answer was read to its end: the connection may serve another request.
    pub fn finish(mut self) {
        if let Some(Connection::Http1(sender)) = self.connection.take() {
            self.upstream.http1.give_back(sender);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
