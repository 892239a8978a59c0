//! The half of a connection that is read from.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Frame;
use shop_flow::http1::body::{Decoded, Decoder};
use shop_flow::http1::head::Scan;
use shop_flow::http1::{Bad, Framing};
use shop_flow::pace;

use super::BodyError;
use super::parse::trailers;
use crate::patience::Patience;
use crate::tls::ReadHalf;

/// Reads messages.
#[derive(Debug)]
pub(crate) struct Reader {
    half: ReadHalf,
    buffer: BytesMut,
    scan: Scan,
    decoder: Decoder,
    /// The body is none: nobody knows where the next message begins.
    broken: bool,
    ended: bool,
}

impl Reader {
    pub(crate) fn new(half: ReadHalf, first: &[u8]) -> Self {
        let decoder = Decoder::new(Framing::Empty);
        Self {
            half,
            buffer: BytesMut::from(first),
            scan: Scan::default(),
            decoder,
            broken: false,
            ended: false,
        }
    }

    /// Bytes that were read and belong to no message yet.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Reads more; 0 at the end. Memory is taken only when there is something to read.
    pub(crate) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(self.half.poll_fill(context, &mut self.buffer));
        self.ended = !matches!(read, Ok(1..));
        Poll::Ready(read)
    }

    /// Whether the connection is open, and nothing came that nobody asked for.
    pub(crate) fn is_silent(&self) -> bool {
        self.buffer.is_empty() && self.half.is_silent()
    }

    /// Gives memory back while nothing comes.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// The next head, if all of it has come.
    pub(crate) fn take_head(&mut self, longest: usize) -> Result<Option<Bytes>, Bad> {
        let Some(found) = self.scan.advance(&self.buffer, longest)? else { return Ok(None) };
        self.buffer.advance(found.skip);
        Ok(Some(self.buffer.split_to(found.length).freeze()))
    }

    /// A body begins.
    pub(crate) fn begin_body(&mut self, framing: Framing) {
        self.decoder = Decoder::new(framing);
    }

    pub(crate) fn body_is_done(&self) -> bool {
        self.decoder.is_done()
    }

    pub(crate) fn body_is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn body_left(&self) -> Option<u64> {
        self.decoder.left()
    }

    /// The next piece of the body.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let decoded = self.decoder.decode(&self.buffer).inspect_err(|_| self.broken = true)?;
            match decoded {
                Decoded::Data { skip, length } => {
                    self.buffer.advance(skip);
                    let data = self.buffer.split_to(length).freeze();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Decoded::End { skip, trailers: 0 } => {
                    self.buffer.advance(skip);
                    return Poll::Ready(None);
                }
                Decoded::End { skip, trailers: length } => {
                    self.buffer.advance(skip);
                    let section = self.buffer.split_to(length).freeze();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers(&section)?))));
                }
                Decoded::More { skip } => {
                    self.buffer.advance(skip);
                    if ready!(self.poll_fill(context))? == 0 {
                        self.decoder.end().inspect_err(|_| self.broken = true)?;
                    }
                }
            }
        }
    }

    /// Throws away what was read.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// The half, and what was read from it and belongs to no message.
    pub(crate) fn into_parts(self) -> (ReadHalf, Bytes) {
        // A copy, however short: frozen, even no bytes would hold the memory that was read into for as long as the connection is.
        (self.half, Bytes::copy_from_slice(&self.buffer))
    }
}

/// A caller's reader: its connection's task reads heads, and whoever has the body reads that, at another time.
#[derive(Clone, Debug)]
pub(crate) struct SharedReader(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    /// `None` once the connection has become a tunnel.
    reader: Option<Reader>,
    /// Bodies that have begun.
    bodies: u64,
    /// The client waits to be told that it may send its body: until then it is not slow.
    expects_continue: bool,
    /// How slow the client may be with its body.
    patience: Patience,
}

impl SharedReader {
    pub(crate) fn new(reader: Reader) -> Self {
        let patience = Patience::endless();
        Self(Arc::new(Mutex::new(Shared {
            reader: Some(reader),
            bodies: 0,
            expects_continue: false,
            patience,
        })))
    }

    /// Does something with the reader; nothing once it was taken.
    pub(crate) fn with<T>(&self, does: impl FnOnce(&mut Reader) -> T) -> Option<T> {
        self.lock().reader.as_mut().map(does)
    }

    pub(crate) fn take(&self) -> Option<Reader> {
        self.lock().reader.take()
    }

    /// A request's body begins.
    pub(crate) fn begin_body(
        &self,
        framing: Framing,
        expects_continue: bool,
        pace: pace::Limits,
    ) -> CallerBody {
        let mut shared = self.lock();
        shared.expects_continue = expects_continue;
        shared.patience = if framing == Framing::Empty { Patience::endless() } else { Patience::new(pace) };
        shared.bodies += 1;
        if let Some(reader) = &mut shared.reader {
            reader.begin_body(framing);
        }
        CallerBody { number: shared.bodies, reader: self.clone() }
    }

    /// The client is told to send its body.
    pub(crate) fn told_to_continue(&self) {
        self.lock().expects_continue = false;
    }

    /// An answer begins: from now on both sides may take their time.
    pub(crate) fn answer_begins(&self) {
        self.lock().patience = Patience::endless();
    }

    pub(crate) fn body_is_done(&self) -> bool {
        self.with(|reader| reader.body_is_done()).unwrap_or(true)
    }

    /// The next piece of the body that began last.
    pub(crate) fn poll_body(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Self::poll_body_of(&mut self.lock(), context)
    }

    fn poll_body_of(
        shared: &mut Shared,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &mut shared.reader else { return Poll::Ready(None) };
        let polled = reader.poll_body(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                shared.expects_continue = false;
                shared.patience.moved(frame.data_ref().map_or(0, Bytes::len));
            }
            Poll::Pending if !shared.expects_continue && shared.patience.poll_waits(context).is_ready() => {
                reader.broken = true;
                return Poll::Ready(Some(Err(BodyError::Slow)));
            }
            _ => {}
        }
        polled
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of one request. Whoever keeps it for longer than the request takes gets nothing of the next one.
#[derive(Debug)]
pub struct CallerBody {
    reader: SharedReader,
    number: u64,
}

impl CallerBody {
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.reader.lock();
        if shared.bodies == self.number {
            SharedReader::poll_body_of(&mut shared, context)
        } else {
            Poll::Ready(Some(Err(BodyError::Bad)))
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left() == Some(0)
    }

    pub(super) fn left(&self) -> Option<u64> {
        let shared = self.reader.lock();
        match &shared.reader {
            Some(reader) if shared.bodies == self.number => reader.body_left(),
            _ => None,
        }
    }
}
