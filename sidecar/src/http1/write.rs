//! The half of a connection that is written to.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body::Body;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};

use super::BodyError;
use crate::tls::WriteHalf;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 16 * 1024;
/// Memory that is kept between two messages.
const KEPT: usize = 4 * 1024;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoder {
    /// There is none; what comes is left out.
    Empty,
    /// So many bytes more.
    Length(u64),
    /// Chunks, and trailers if the other side takes them.
    Chunked {
        /// Whether it does.
        trailers: bool,
    },
    /// As it is; the connection's end is the body's.
    UntilEnd,
}

/// Why a message could not be written.
#[derive(Debug)]
pub(crate) enum PumpError {
    /// The connection broke.
    Io,
    /// The body did not come to its end, or had another length than was told; what came of it was written.
    Body,
}

/// A body broke off, or has another length than was told.
struct BrokenOff;

/// Writes messages.
#[derive(Debug)]
pub(crate) struct Writer {
    half: WriteHalf,
    out: Vec<u8>,
    at: usize,
    /// The half has something that it did not send yet.
    unflushed: bool,
    /// The body broke off: what came before is written, and nothing after.
    broken: bool,
    /// Bytes that were written of this message.
    pub(crate) written: usize,
}

impl Writer {
    pub(crate) fn new(half: WriteHalf) -> Self {
        Self { half, out: Vec::new(), at: 0, unflushed: false, broken: false, written: 0 }
    }

    /// A message begins; its head is to be put here.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.written = 0;
        self.broken = false;
        &mut self.out
    }

    /// Whether all that was put has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.at == self.out.len() && !self.unflushed
    }

    /// Gives memory back while nothing is written.
    pub(crate) fn release(&mut self) {
        if self.is_flushed() {
            self.out = Vec::new();
            self.at = 0;
        }
    }

    /// Writes what was put.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.out.get(self.at..) {
            let written = ready!(Pin::new(&mut self.half).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
            self.written += written;
            self.unflushed = self.half.keeps_some();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.half).poll_flush(context))?;
            self.unflushed = false;
        }
        self.out.clear();
        self.at = 0;
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was put, and the body as it comes; it is dropped at its end.
    pub(crate) fn poll_pump<B: Body<Data = Bytes, Error = BodyError> + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Option<B>,
        encoder: &mut Encoder,
    ) -> Poll<Result<(), PumpError>> {
        loop {
            let waits = self.gather(context, body, encoder).unwrap_or_else(|BrokenOff| {
                *body = None;
                self.broken = true;
                false
            });
            ready!(self.poll_flush(context)).map_err(|_| PumpError::Io)?;
            if body.is_none() {
                return Poll::Ready(if self.broken { Err(PumpError::Body) } else { Ok(()) });
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Puts as much of the body as there is now; says whether it waits for more.
    fn gather<B: Body<Data = Bytes, Error = BodyError> + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Option<B>,
        encoder: &mut Encoder,
    ) -> Result<bool, BrokenOff> {
        while self.out.len() - self.at < GATHERED {
            let Some(coming) = body else { return Ok(false) };
            let frame = match Pin::new(&mut *coming).poll_frame(context) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => None,
                Poll::Ready(Some(Err(_))) => return Err(BrokenOff),
                Poll::Ready(Some(Ok(frame))) => Some(frame),
            };
            let trailers = match frame.map(http_body::Frame::into_data) {
                Some(Ok(data)) => {
                    encoder.data(&data, &mut self.out)?;
                    if !coming.is_end_stream() {
                        continue;
                    }
                    None
                }
                Some(Err(frame)) => frame.into_trailers().ok(),
                None => None,
            };
            encoder.end(trailers.as_ref(), &mut self.out)?;
            *body = None;
        }
        Ok(false)
    }

    /// Tells the other side that nothing follows.
    pub(crate) async fn shutdown(&mut self) {
        let _ = self.half.shutdown().await;
    }

    pub(crate) fn into_half(self) -> WriteHalf {
        self.half
    }
}

impl Encoder {
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BrokenOff> {
        match self {
            Self::Empty => {}
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BrokenOff)?;
                out.extend_from_slice(data);
            }
            Self::Chunked { .. } if data.is_empty() => {}
            Self::Chunked { .. } => {
                // Writing to memory does not fail.
                let _ = write!(out, "{:x}\r\n", data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
            Self::UntilEnd => out.extend_from_slice(data),
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Vec<u8>) -> Result<(), BrokenOff> {
        match self {
            Self::Length(1..) => return Err(BrokenOff),
            Self::Chunked { trailers: taken } => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers.filter(|_| *taken) {
                    put_fields(trailers, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Self::Empty | Self::Length(0) | Self::UntilEnd => {}
        }
        Ok(())
    }
}

/// Puts the head of a request whose fields are complete.
pub(crate) fn put_request_head(method: &Method, uri: &Uri, fields: &HeaderMap, out: &mut Vec<u8>) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put_fields(fields, out);
    out.extend_from_slice(b"\r\n");
}

/// Puts the head of an answer whose fields are complete but for `Date`.
pub(crate) fn put_answer_head<B>(response: &Response<B>, out: &mut Vec<u8>) {
    let status = response.status();
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        let reason = status.canonical_reason().unwrap_or_default();
        let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    }
    put_fields(response.headers(), out);
    if !response.headers().contains_key(header::DATE) && !status.is_informational() {
        put_date(out);
    }
    out.extend_from_slice(b"\r\n");
}

fn put_fields(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn put_date(out: &mut Vec<u8>) {
    out.extend_from_slice(b"date: ");
    with_date(|date| out.extend_from_slice(date.as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// `Date`, as of now.
pub(crate) fn date() -> HeaderValue {
    with_date(HeaderValue::clone)
}

/// A date is made once a second.
fn with_date<T>(does: impl FnOnce(&HeaderValue) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(at, date)| {
        if *at != now || date.is_empty() {
            let time = i64::try_from(now).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
            let text = time.unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            // Never the other value: it is letters, digits and spaces.
            *date = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
            *at = now;
        }
        does(date)
    })
}
