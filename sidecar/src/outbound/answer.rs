//! An answer on its way to the app.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Response, header};
use http_body::{Body, Frame, SizeHint};

use super::flight::{Flight, Refusal};
use super::last_good::{self, Good};
use crate::http1::{BodyError, Incoming};
use crate::inbound;
use crate::limits::whole_seconds;
use crate::upstream::Lease;

/// The body of an answer: passed on as it comes, never collected but for a copy of what may be wanted again.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: Incoming,
    lease: Option<Lease>,
    flight: Option<Flight>,
    keep: Option<Box<Keep>>,
}

/// A copy of an answer in the making.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) path: String,
    pub(super) good: Good,
    pub(super) read: BytesMut,
}

impl AnswerBody {
    /// What a dependency answers.
    pub(super) fn stream(body: Incoming, lease: Lease, flight: Option<Flight>, keep: Option<Keep>) -> Self {
        let mut made = Self { inner: body, lease: Some(lease), flight, keep: None };
        made.keep = keep.map(Box::new);
        made
    }

    /// What is answered here.
    pub(super) fn own(body: Bytes, flight: Option<Flight>) -> Self {
        // Without a body the head is all there is: trailers of gRPC are looked for there.
        let body = Some(body).filter(|body| !body.is_empty());
        Self { inner: Incoming::Own(body), lease: None, flight, keep: None }
    }

    /// Nothing.
    pub(super) fn none() -> Self {
        Self { inner: Incoming::Empty, lease: None, flight: None, keep: None }
    }

    fn note(&mut self, frame: &mut Frame<Bytes>) {
        if let (Some(trailers), Some(flight)) = (frame.trailers_mut(), &mut self.flight) {
            flight.trailers(trailers);
            flight.note_mark(trailers);
        }
        if let (Some(data), Some(keep)) = (frame.data_ref(), &mut self.keep) {
            keep.read.extend_from_slice(data);
            if keep.read.len() > last_good::LONGEST {
                self.keep = None;
            }
        }
    }

    /// All of it was passed on.
    fn finish(&mut self) {
        self.lease = None;
        if let (Some(keep), Some(flight)) = (self.keep.take(), &self.flight) {
            let Keep { path, good, read } = *keep;
            flight.dependency.shared.last_good.put(&path, Good { body: read.freeze(), ..good });
        }
        self.flight = None;
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.inner).poll_frame(context);
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => this.note(frame),
            Poll::Ready(Some(Err(_))) => {
                this.keep = None;
                if let Some(flight) = &mut this.flight {
                    flight.broke_off();
                }
            }
            Poll::Ready(None) => this.finish(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // The end of a body of known length is not asked for.
        if self.is_end_stream() {
            self.finish();
        }
    }
}

/// An answer of the sidecar itself.
pub(super) fn refuse(refusal: Refusal, flight: Option<Flight>, is_grpc: bool) -> Response<AnswerBody> {
    let mut response = inbound::refusal(refusal.status, refusal.reason, is_grpc);
    if let Some(after) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(after).into());
    }
    response.map(|inner| AnswerBody { inner, lease: None, flight, keep: None })
}
