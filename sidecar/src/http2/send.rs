//! A body that goes out by HTTP/2: so much as the other side takes, and never more than two pieces in memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::http1::BodyError;
use crate::patience::Patience;

/// Why a body did not leave.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The other side has reset the stream, or the connection broke.
    Reset,
    /// The other side does not take it.
    Slow,
    /// The body did not come to its end.
    Body,
}

/// A body on its way out.
#[derive(Debug)]
pub(crate) struct Sending<B> {
    stream: SendStream<Bytes>,
    /// Dropped at its end: whatever it holds is free then.
    body: Option<B>,
    /// A piece that waits for room, and whether it is the last.
    held: Option<(Bytes, bool)>,
    /// Nothing was sent: the first piece is given to `h2` without asking for room, which small bodies never need.
    fresh: bool,
    patience: Patience,
    /// How a body that breaks off is told.
    broken: Reason,
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Sending<B> {
    pub(crate) fn new(stream: SendStream<Bytes>, body: B, patience: Patience, broken: Reason) -> Self {
        Self { stream, body: Some(body), held: None, fresh: true, patience, broken }
    }

    /// Sends as much as goes; ready when that was all.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let polled = self.poll_pieces(context);
        if let Poll::Ready(Err(error)) = &polled {
            match error {
                SendError::Slow => self.stream.send_reset(Reason::CANCEL),
                // Whoever reads must not take what came for the whole.
                SendError::Body => self.stream.send_reset(self.broken),
                SendError::Reset => {}
            }
        }
        if polled.is_ready() {
            self.body = None;
        }
        polled
    }

    fn poll_pieces(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            if self.held.is_some() {
                ready!(self.poll_room(context))?;
            }
            if let Some((data, last)) = self.held.take() {
                self.patience.moved(data.len());
                self.fresh = false;
                self.stream.send_data(data, last).map_err(|_| SendError::Reset)?;
                if last {
                    return Poll::Ready(Ok(()));
                }
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) else {
                // The other side may lose its interest meanwhile.
                return match self.stream.poll_reset(context) {
                    Poll::Ready(_) => Poll::Ready(Err(SendError::Reset)),
                    Poll::Pending => Poll::Pending,
                };
            };
            let frame = match frame {
                None => {
                    let ended = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(ended.map_err(|_| SendError::Reset));
                }
                Some(frame) => frame.map_err(|_| SendError::Body)?,
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    if last || !data.is_empty() {
                        self.held = Some((data, last));
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.stream.send_trailers(trailers).map_err(|_| SendError::Reset));
                }
            }
        }
    }

    /// Waits until the other side takes another byte. More is not asked for: what is promised to one stream is lost for others.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.fresh || self.held.as_ref().is_some_and(|(data, _)| data.is_empty()) {
            return Poll::Ready(Ok(()));
        }
        if self.stream.capacity() == 0 {
            self.stream.reserve_capacity(1);
        }
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(Err(SendError::Reset)),
                Poll::Pending => {
                    if self.patience.poll_waits(context).is_ready() {
                        return Poll::Ready(Err(SendError::Slow));
                    }
                    return self.stream.poll_reset(context).map(|_| Err(SendError::Reset));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
