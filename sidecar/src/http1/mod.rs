//! HTTP/1 on sockets, by the strict codec of `shop-flow`: messages are read into [`http`]'s types, and written anew from them.

mod parse;
mod read;
mod write;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use shop_flow::http1::Bad;

pub(crate) use parse::{AnswerHead, RequestHead, answer_head, request_head};
pub(crate) use read::CallerBody;
pub(crate) use read::{Reader, SharedReader};
pub(crate) use write::{Encoder, PumpError, Writer, date, put_answer_head, put_request_head};

use crate::http2::Received;
use crate::upstream::{Exchange, http2};

/// A connection's two halves, between two messages.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// Interim answers of an app (1xx, RFC 9110 section 15.2) on their way to the caller.
#[derive(Clone, Debug, Default)]
pub struct Interim(Arc<Mutex<Vec<Response<()>>>>);

impl Interim {
    /// Interim answers that wait for the caller; more are left out.
    const MOST: usize = 8;

    pub(crate) fn push(&self, answer: Response<()>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < Self::MOST {
            waiting.push(answer);
        }
    }

    pub(crate) fn take(&self) -> Vec<Response<()>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// On an HTTP/2 connection.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// On the app's connection to the outbound port.
    #[error(transparent)]
    Call(#[from] hyper::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The caller sent it too slowly.
    #[error("the body comes too slowly")]
    Slow,
    /// It is longer than it may be.
    #[error("the body is longer than it may be")]
    TooLarge,
    /// The other side sent what is no body.
    #[error("the body is malformed or cut off")]
    Bad,
}

impl From<Bad> for BodyError {
    fn from(_: Bad) -> Self {
        Self::Bad
    }
}

/// A body that comes in, from a caller or an app.
#[derive(Debug)]
pub enum Incoming {
    /// There is none.
    Empty,
    /// What the sidecar itself says; `None` when that has been read.
    Own(Option<Bytes>),
    /// By HTTP/2.
    Http2(Received),
    /// Of a call that the app makes.
    Call(hyper::body::Incoming),
    /// An app's by HTTP/2, while the request is still on its way.
    Exchange(Box<http2::Exchange>),
    /// A caller's, by HTTP/1.
    Caller(CallerBody),
    /// An app's, by HTTP/1.
    App(Box<Exchange>),
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Own(body) => Poll::Ready(body.take().map(|data| Ok(Frame::data(data)))),
            Self::Http2(body) => body.poll(context),
            Self::Call(body) => Pin::new(body).poll_frame(context).map_err(BodyError::Call),
            Self::Exchange(exchange) => exchange.poll(context),
            Self::Caller(body) => body.poll(context),
            Self::App(exchange) => exchange.poll_body(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(body) => body.is_none(),
            Self::Http2(body) => body.is_done(),
            Self::Call(body) => body.is_end_stream(),
            Self::Exchange(exchange) => exchange.is_done(),
            Self::Caller(body) => body.is_done(),
            Self::App(exchange) => exchange.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Self::Empty => Some(0),
            Self::Own(body) => Some(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Http2(body) => return body.size_hint(),
            Self::Call(body) => return body.size_hint(),
            Self::Exchange(exchange) => return exchange.size_hint(),
            Self::Caller(body) => body.left(),
            Self::App(exchange) => exchange.left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
