//! A stream whose data are bytes of another protocol (RFC 8441): what `Upgrade` makes of a connection, on one of many streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that come.
#[derive(Debug)]
pub(crate) struct StreamReader {
    stream: RecvStream,
    rest: Bytes,
}

/// Bytes that go.
#[derive(Debug)]
pub(crate) struct StreamWriter(pub(crate) SendStream<Bytes>);

impl StreamReader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, rest: Bytes::new() }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.stream.poll_data(context)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.rest = data.map_err(io::Error::other)?,
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(self.rest.get(..length).unwrap_or_default());
        self.rest.advance(length);
        self.stream.flow_control().release_capacity(length).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.get_mut().0;
        if stream.capacity() == 0 {
            stream.reserve_capacity(bytes.len());
        }
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let piece = bytes.get(..stream.capacity().min(bytes.len())).unwrap_or(bytes);
        stream.send_data(Bytes::copy_from_slice(piece), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().0;
        if stream.send_data(Bytes::new(), true).is_err() {
            stream.send_reset(Reason::CANCEL);
        }
        Poll::Ready(Ok(()))
    }
}
