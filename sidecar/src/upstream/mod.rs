//! Connections towards an app, this pod's own or another revision's: one [`Upstream`] per address.

mod caller_body;
mod exchange;
pub mod hand_off;
mod http1;
pub(crate) mod http2;
pub mod mirror;
mod outbound;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Response;
use shop_flow::balance::{Health, Load};

pub use exchange::Exchange;
pub use outbound::{Body, Outbound, Replay, ReplayHandle};

use crate::http1::{Halves, Incoming};
use crate::tls::{Dial, Stream};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// One request at a time.
    Http1,
    /// Many streams on few connections, begun with prior knowledge.
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
    /// What came is no answer.
    #[error("what came is no answer")]
    Bad,
    /// The caller went away before the end of its body: nobody is there for an answer, and nobody's fault but its own.
    #[error("the caller went away before the end of its body")]
    Caller,
    /// The caller sent its body too slowly.
    #[error("the caller sent its body too slowly")]
    Slow,
    /// The caller's body is longer than it may be.
    #[error("the body is longer than it may be")]
    TooLarge,
}

impl Failure {
    /// Whether it is the caller's fault, and says nothing about the upstream.
    pub fn is_callers(self) -> bool {
        matches!(self, Self::Caller | Self::Slow | Self::TooLarge)
    }
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
    /// Kept until the body has ended.
    pub lease: Lease,
    /// The connection, when it is no longer HTTP.
    pub(crate) upgraded: Option<Box<Halves>>,
}

/// A connection for bytes.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its socket.
    pub(crate) stream: Stream,
    /// What was read from it already.
    pub(crate) first: Vec<u8>,
    /// Kept until it has ended.
    pub(crate) lease: Lease,
}

/// One address, its connections and how it did lately.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    dial: Dial,
    http1: Arc<http1::Pool>,
    http2: http2::Shared,
    in_flight: AtomicUsize,
    /// Set while `health` remembers a failure, so that a success in good times takes no lock.
    troubled: AtomicBool,
    health: Mutex<Health>,
}

impl Upstream {
    /// Without connections yet, which will have no TLS.
    pub fn new(address: SocketAddr, connect_timeout: Duration) -> Self {
        Self::dialled(address, connect_timeout, Dial::Plain)
    }

    /// Without connections yet, which will be made like this.
    pub(crate) fn dialled(address: SocketAddr, connect_timeout: Duration, dial: Dial) -> Self {
        Self {
            address,
            http1: Arc::new(http1::Pool::new(address, connect_timeout, dial.clone())),
            http2: http2::Shared::new(address, connect_timeout, dial.clone()),
            dial,
            in_flight: AtomicUsize::new(0),
            troubled: AtomicBool::new(false),
            health: Mutex::new(Health::default()),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is at this address, with connections made like this.
    pub(crate) fn is_at(&self, address: SocketAddr, dial: &Dial) -> bool {
        self.address == address && self.dial.same(dial)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// What an upstream provably did not process is sent once more on a new connection.
    pub async fn send(self: &Arc<Self>, outbound: Outbound, wire: Wire) -> Result<Answered, Unanswered> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut lease = Lease { upstream: Arc::clone(self), stream: None };
        let gone = outbound.gone();
        let sent = match wire {
            Wire::Http1 => {
                let sent = self.http1.send(outbound).await;
                sent.map(|begun| (begun.response, begun.upgraded))
            }
            Wire::Http2 => {
                let sent = self.http2.send(outbound).await;
                sent.map(|(response, stream)| {
                    lease.stream = Some(stream);
                    (response, None)
                })
            }
        };
        let (response, upgraded) = sent.map_err(|unanswered| match gone.and_then(|gone| gone.why()) {
            Some(failure) => Unanswered { failure, unsent: None },
            None => unanswered,
        })?;
        Ok(Answered { response, lease, upgraded })
    }

    /// An answer that is none of this upstream's, and is given in its place.
    pub(crate) fn instead(self: &Arc<Self>, response: Response<Incoming>) -> Answered {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { upstream: Arc::clone(self), stream: None };
        Answered { response, lease, upgraded: None }
    }

    /// Opens a connection for bytes, counted until the lease is dropped.
    pub(crate) async fn open(self: &Arc<Self>) -> Option<Opened> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { upstream: Arc::clone(self), stream: None };
        let stream = self.http1.open().await?;
        Some(Opened { stream, first: Vec::new(), lease })
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

/// An upstream's share in an answer that is read.
#[derive(Debug)]
pub struct Lease {
    upstream: Arc<Upstream>,
    // Held for its count of streams, which falls when it is dropped.
    #[allow(dead_code)]
    stream: Option<http2::Stream>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
