//! A body that comes in by HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

use crate::http1::BodyError;
use crate::patience::Patience;

/// A body, from a caller or an app. The window opens again as it is read.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    /// Bytes that are still to come, if the head said so. `h2` sees to it that so many come.
    left: Option<u64>,
    data_ended: bool,
    patience: Patience,
}

impl Received {
    pub(crate) fn new(stream: RecvStream, fields: &HeaderMap, patience: Patience) -> Self {
        let length = fields.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let left = length.and_then(|length| length.parse().ok());
        Self { stream, left, data_ended: false, patience }
    }

    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.data_ended {
            match self.stream.poll_data(context) {
                Poll::Ready(Some(Ok(data))) => {
                    self.stream.flow_control().release_capacity(data.len())?;
                    if data.is_empty() && !self.stream.is_end_stream() {
                        continue;
                    }
                    self.patience.moved(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => self.data_ended = true,
                Poll::Pending => {
                    return self.patience.poll_waits(context).map(|()| Some(Err(BodyError::Slow)));
                }
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.is_done() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
