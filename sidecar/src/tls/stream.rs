//! A connection with or without TLS, as a whole or in two halves.
//!
//! One type for both, so that what reads and writes messages exists once. Without TLS each call goes straight to the socket; with
//! it both halves share the state of the session under a lock that is never held across a wait.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that are read at once.
const ROOM: usize = 8 * 1024;

pub(crate) type TlsStream = tokio_rustls::TlsStream<TcpStream>;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Plain(read), WriteHalf::Plain(write))
            }
            Self::Tls(stream) => {
                let shared = Shared(Arc::new(Mutex::new(stream)));
                (ReadHalf::Tls(shared.clone()), WriteHalf::Tls(shared))
            }
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// The session that both halves use.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Box<TlsStream>>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Box<TlsStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half that is read from.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Plain(OwnedReadHalf),
    Tls(Shared),
}

impl ReadHalf {
    /// Reads more; 0 at the end. Memory is taken only when there is something to read.
    pub(crate) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(half) => {
                ready!(half.as_ref().poll_read_ready(context))?;
                buffer.reserve(ROOM);
                pin!(half.read_buf(buffer)).poll(context)
            }
            Self::Tls(shared) => {
                let mut stream = shared.lock();
                let mut stream = Pin::new(&mut **stream);
                let read = ready!(stream.as_mut().poll_fill_buf(context))?;
                let length = read.len();
                buffer.extend_from_slice(read);
                stream.consume(length);
                Poll::Ready(Ok(length))
            }
        }
    }

    /// Returns when there is something to read, as far as that can be told without reading it.
    pub(crate) async fn has_said(&mut self) {
        match self {
            Self::Plain(half) => drop(half.peek(&mut [0]).await),
            Self::Tls(_) => std::future::pending().await,
        }
    }

    /// Whether the connection is open, and nothing came that nobody asked for.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Plain(half) => {
                let read = half.as_ref().try_read(&mut [0]);
                read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(shared) => {
                // Tickets of the session may have come: those are for the session, and nothing for a reader. Nobody is woken,
                // because nobody waits on a connection that is kept.
                let mut stream = shared.lock();
                let peeked = std::future::poll_fn(|context| {
                    let polled = Pin::new(&mut **stream).poll_fill_buf(context);
                    Poll::Ready(polled.is_pending())
                });
                let mut peeked = pin!(tokio::task::unconstrained(peeked));
                matches!(peeked.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true))
            }
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(context, buffer),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_read(context, buffer),
        }
    }
}

/// The half that is written to.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Plain(OwnedWriteHalf),
    Tls(Shared),
}

impl WriteHalf {
    /// Breaks the connection: its end would say that all has been said.
    pub(crate) fn reset(self) {
        match self {
            Self::Plain(half) => {
                let _ = half.as_ref().set_zero_linger();
                // Dropped, it would end in order first.
                half.forget();
            }
            Self::Tls(shared) => drop(shared.lock().get_ref().0.set_zero_linger()),
        }
    }

    /// Whether what was written may still be here, and leaves when it is flushed.
    pub(crate) fn keeps_some(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write(context, bytes),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_flush(context),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_shutdown(context),
            Self::Tls(shared) => Pin::new(&mut **shared.lock()).poll_shutdown(context),
        }
    }
}
