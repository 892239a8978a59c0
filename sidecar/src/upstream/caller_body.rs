//! A caller's body while it is passed on: notices when the caller goes away in the middle of it, and keeps a copy if asked to.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;

use super::Failure;
use crate::http1::{BodyError, Incoming};

/// A body that comes from a caller.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    gone: Gone,
    copy: Option<Copy>,
    /// Bytes that may still come.
    left: u64,
}

/// What has been read, and who gets it when that is all.
#[derive(Debug)]
struct Copy {
    read: BytesMut,
    whole: oneshot::Sender<Bytes>,
}

/// Whether the body came to its end, as far as the caller is concerned.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicU8>);

const GONE: u8 = 1;
const SLOW: u8 = 2;
const TOO_LARGE: u8 = 3;

impl Gone {
    /// Why there is nobody to answer any more, or nothing to wait for.
    pub fn why(&self) -> Option<Failure> {
        match self.0.load(Ordering::Acquire) {
            GONE => Some(Failure::Caller),
            SLOW => Some(Failure::Slow),
            TOO_LARGE => Some(Failure::TooLarge),
            _ => None,
        }
    }

    fn set(&self, why: u8) {
        self.0.store(why, Ordering::Release);
    }
}

impl CallerBody {
    /// Nothing was read from it yet.
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, gone: Gone::default(), copy: None, left: u64::MAX }
    }

    /// Breaks off when it is longer than this.
    pub fn bound(&mut self, most: u64) {
        self.left = most;
    }

    /// Keeps a copy of what is read, and gives it away when that was all. `None` for a body that is longer or of unknown length.
    pub fn copy(&mut self, longest: u64) -> Option<oneshot::Receiver<Bytes>> {
        let length = self.incoming.size_hint().exact().filter(|length| *length <= longest)?;
        let (whole, copied) = oneshot::channel();
        let read = BytesMut::with_capacity(usize::try_from(length).ok()?);
        self.copy = Some(Copy { read, whole });
        Some(copied)
    }

    fn note(&mut self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        let Poll::Ready(polled) = polled else { return };
        match polled {
            Some(Ok(frame)) => {
                if let (Some(copy), Some(data)) = (&mut self.copy, frame.data_ref()) {
                    copy.read.extend_from_slice(data);
                }
            }
            Some(Err(error)) => {
                let why = if matches!(error, BodyError::Slow) { SLOW } else { GONE };
                self.gone.set(why);
                self.copy = None;
            }
            None => {}
        }
        if (polled.is_none() || self.incoming.is_end_stream())
            && let Some(copy) = self.copy.take()
        {
            // Whoever wanted it may have lost its patience.
            let _ = copy.whole.send(copy.read.freeze());
        }
    }

    /// Tells later whether the caller went away, or sent too much.
    pub fn gone(&self) -> Gone {
        self.gone.clone()
    }
}

impl http_body::Body for CallerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = this.left.checked_sub(data.len() as u64) else {
                this.gone.set(TOO_LARGE);
                this.copy = None;
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            };
            this.left = left;
        }
        this.note(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
