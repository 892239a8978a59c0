//! A caller's body while it is passed on: notices when the caller goes away in the middle of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// A body that comes from a caller.
#[derive(Debug)]
pub struct CallerBody {
    incoming: Incoming,
    gone: Gone,
}

/// Whether the caller went away before the end of its body.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether it did.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl CallerBody {
    /// Nothing was read from it yet.
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, gone: Gone::default() }
    }

    /// Tells later whether the caller went away.
    pub fn gone(&self) -> Gone {
        self.gone.clone()
    }
}

impl http_body::Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(context);
        if let Poll::Ready(Some(Err(_))) = &polled {
            this.gone.0.store(true, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
