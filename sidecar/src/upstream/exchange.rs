//! One request and its answer on an HTTP/1 connection, both at the same time: an app may answer before it has read everything.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header, request};
use http_body::{Body as _, Frame};

use super::http1::Pool;
use super::outbound::Body;
use crate::http1::{
    AnswerHead, BodyError, Encoder, Halves, Incoming, Interim, PumpError, answer_head, put_request_head,
};

/// Head of an answer, beyond which it is an error.
const MAX_HEAD: usize = 64 * 1024;

/// A request under way, or the rest of its answer.
#[derive(Debug)]
pub struct Exchange {
    /// `None` when it was given back.
    connection: Option<Halves>,
    home: Arc<Pool>,
    body: Option<Body>,
    encoder: Encoder,
    touched: bool,
    keep_alive: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) why: Why,
    /// The body, while nothing was taken from it and nothing was written.
    pub(super) unsent: Option<Body>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The connection ended without a byte of an answer.
    Silent,
    /// It ended later, or the caller's body did.
    CutOff,
    /// What came is no answer, or not one to this request.
    Bad,
}

/// The beginning of an answer.
pub(super) struct Begun {
    pub(super) response: Response<Incoming>,
    /// The connection, when it is no longer HTTP.
    pub(super) upgraded: Option<Box<Halves>>,
}

impl Exchange {
    /// Puts a request on a connection. Its fields are complete but for those that frame it.
    pub(super) fn new(
        mut connection: Halves,
        home: Arc<Pool>,
        head: &mut request::Parts,
        body: Body,
    ) -> Self {
        let encoder = frame(head, &body);
        put_request_head(&head.method, &head.uri, &head.headers, connection.writer.begin());
        let body = (!body.is_end_stream()).then_some(body);
        Self { connection: Some(connection), home, body, encoder, touched: false, keep_alive: false }
    }

    /// Waits for the head of the answer.
    pub(super) async fn answer(
        mut self,
        head: &request::Parts,
        interim: Option<&Interim>,
    ) -> Result<Begun, Broken> {
        let to_head = head.method == Method::HEAD;
        let wants_upgrade = head.headers.contains_key(header::UPGRADE);
        let begun = poll_fn(|context| self.poll_head(context, to_head, interim)).await;
        let AnswerHead { response, framing, keep_alive } = match begun {
            Ok(begun) => begun,
            Err(why) => {
                let written = self.connection.as_ref().map_or(1, |connection| connection.writer.written);
                let unsent = (written == 0 && !self.touched).then(|| self.body.take().unwrap_or(Body::Empty));
                return Err(Broken { why, unsent });
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return match self.connection.take() {
                Some(connection) if wants_upgrade && self.body.is_none() => Ok(Begun {
                    response: response.map(|()| Incoming::Empty),
                    upgraded: Some(Box::new(connection)),
                }),
                _ => Err(Broken { why: Why::Bad, unsent: None }),
            };
        }
        self.keep_alive = keep_alive;
        if let Some(connection) = &mut self.connection {
            connection.reader.begin_body(framing);
        }
        self.give_back();
        let body = if self.is_done() { Incoming::Empty } else { Incoming::App(Box::new(self)) };
        Ok(Begun { response: response.map(|()| body), upgraded: None })
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        to_head: bool,
        interim: Option<&Interim>,
    ) -> Poll<Result<AnswerHead, Why>> {
        self.poll_write(context)?;
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(Why::Bad)) };
        let reader = &mut connection.reader;
        loop {
            match reader.take_head(MAX_HEAD) {
                Err(_) => return Poll::Ready(Err(Why::Bad)),
                Ok(Some(bytes)) => {
                    let head = answer_head(&bytes, to_head).map_err(|_| Why::Bad)?;
                    let status = head.response.status();
                    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                        return Poll::Ready(Ok(head));
                    }
                    if let Some(interim) = interim {
                        interim.push(head.response);
                    }
                }
                Ok(None) => {
                    if !matches!(ready!(reader.poll_fill(context)), Ok(1..)) {
                        let silent = reader.buffered() == 0;
                        return Poll::Ready(Err(if silent { Why::Silent } else { Why::CutOff }));
                    }
                }
            }
        }
    }

    /// Writes on. A connection that takes nothing more may still have an answer; a body that breaks off ends everything.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Why> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if self.body.is_none() && connection.writer.is_flushed() {
            return Ok(());
        }
        self.touched |= self.body.is_some();
        match connection.writer.poll_pump(context, &mut self.body, &mut self.encoder) {
            Poll::Ready(Err(PumpError::Body)) => Err(Why::CutOff),
            Poll::Ready(Err(PumpError::Io)) => {
                self.body = None;
                self.keep_alive = false;
                connection.writer.release();
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// The next piece of the answer's body.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.poll_write(context).is_err() {
            return Poll::Ready(Some(Err(BodyError::Bad)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let frame = ready!(connection.reader.poll_body(context));
        if matches!(frame, Some(Err(_))) {
            self.connection = None;
        } else {
            self.give_back();
        }
        Poll::Ready(frame)
    }

    /// Whether the whole answer has come.
    pub(crate) fn is_done(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.reader.body_is_done())
    }

    /// Bytes of the answer that are still to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.connection.as_ref().map_or(Some(0), |connection| connection.reader.body_left())
    }

    /// When request and answer are complete, the connection may serve another request.
    fn give_back(&mut self) {
        if !self.is_done() {
            return;
        }
        let Some(connection) = self.connection.take() else { return };
        let is_clean =
            self.body.is_none() && connection.writer.is_flushed() && connection.reader.buffered() == 0;
        if self.keep_alive && is_clean {
            self.home.give_back(connection);
        }
    }
}

/// Says in the fields how the body is framed.
fn frame(head: &mut request::Parts, body: &Body) -> Encoder {
    let fields = &mut head.headers;
    if body.is_end_stream() {
        // A length of 0 means more for these than none at all (RFC 9110 section 8.6).
        let expects_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        if expects_body {
            fields.insert(header::CONTENT_LENGTH, 0_u64.into());
        } else {
            fields.remove(header::CONTENT_LENGTH);
        }
        return Encoder::Empty;
    }
    if let Some(length) = body.size_hint().exact() {
        fields.insert(header::CONTENT_LENGTH, length.into());
        return Encoder::Length(length);
    }
    fields.remove(header::CONTENT_LENGTH);
    fields.insert(header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
    Encoder::Chunked { trailers: true }
}
