//! A caller's connection, with what is known of its bytes.
//!
//! hyper closes idle HTTP/1 connections only at once, which loses a request that is on its way. So the connection itself
//! tells hyper of its end: only when reading finds nothing and no request is being received or answered.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use shop_flow::drain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::framing::Framing;
use crate::clock::Clock;
use crate::drain::OpenConnection;

/// What is known of a connection, shared by its bytes and its requests.
#[derive(Debug)]
pub(super) struct Link {
    /// Address of the client.
    pub(super) client: IpAddr,
    clock: Clock,
    /// Whether bytes are followed: HTTP/1 that was not upgraded.
    followed: AtomicBool,
    closing: AtomicBool,
    requests: AtomicU64,
    bytes: Mutex<Bytewise>,
}

#[derive(Debug)]
struct Bytewise {
    connection: drain::Connection,
    framing: Framing,
}

impl Link {
    /// A connection that was just accepted.
    pub(super) fn new(client: IpAddr, clock: Clock, http1: bool) -> Self {
        let bytes = Bytewise { connection: drain::Connection::new(clock.now()), framing: Framing::default() };
        Self {
            client,
            clock,
            followed: AtomicBool::new(http1),
            closing: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            bytes: Mutex::new(bytes),
        }
    }

    /// A request's head is complete; says whether it is framed beyond doubt.
    pub(super) fn request_begun(&self) -> bool {
        if !self.followed.load(Ordering::Relaxed) {
            return true;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.bytes();
        bytes.connection.request_begun();
        !bytes.framing.is_doubtful(number)
    }

    /// A request's answer is complete, or given up.
    pub(super) fn request_ended(&self) {
        if self.followed.load(Ordering::Relaxed) {
            self.bytes().connection.request_ended(self.clock.now());
        }
    }

    /// From here on the bytes are no HTTP.
    pub(super) fn upgraded(&self) {
        self.followed.store(false, Ordering::Relaxed);
    }

    /// Since when a head has been on its way.
    pub(super) fn head_since(&self) -> Option<Duration> {
        self.bytes().connection.head_since()
    }

    /// Whether to close the connection in a drain.
    pub(super) fn idle(&self, begun: Duration, now: Duration) -> drain::Idle {
        self.bytes().connection.idle(begun, now)
    }

    /// Ends the connection as soon as reading finds nothing while it is idle.
    pub(super) fn close_when_idle(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn received(&self, bytes: &[u8]) {
        if self.followed.load(Ordering::Relaxed) {
            let mut known = self.bytes();
            known.connection.received(self.clock.now());
            known.framing.observe(bytes);
        }
    }

    fn may_end(&self) -> bool {
        self.closing.load(Ordering::Relaxed) && self.bytes().connection.is_idle()
    }

    fn bytes(&self) -> MutexGuard<'_, Bytewise> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller's connection. It is counted as open as long as this lives, after an upgrade too.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    /// Bytes that were read to tell the protocol.
    first: Bytes,
    link: Arc<Link>,
    _open: OpenConnection,
}

impl Watched {
    /// `first` are bytes that were read from the stream already.
    pub(super) fn new(stream: TcpStream, first: Bytes, link: Arc<Link>, open: OpenConnection) -> Self {
        if !first.is_empty() {
            link.received(&first);
        }
        Self { stream, first, link, _open: open }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(self.first.get(..length).unwrap_or_default());
            self.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                if !new.is_empty() {
                    self.link.received(new);
                }
                polled
            }
            // Nothing has come and nothing is under way: this is the end, as if the client had closed.
            Poll::Pending if self.link.may_end() => Poll::Ready(Ok(())),
            _ => polled,
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
