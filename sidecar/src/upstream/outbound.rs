//! A request on its way to an upstream, in a form that can be sent again as long as nobody processed it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;

use super::Wire;
use super::caller_body::{CallerBody, Gone};
use crate::http1::{BodyError, Incoming, Interim};
use crate::tls::Dial;

/// Bytes of a body that are kept for sending them again.
const KEPT: usize = 64 * 1024;

/// A request on its way.
#[derive(Debug)]
pub struct Outbound {
    /// Head and body; the URI holds the path, and the authority only while it is sent by HTTP/2.
    pub request: Request<Body>,
    /// Whom the caller asked for: `Host` or `:authority`.
    pub host: HeaderValue,
    /// Where interim answers go; `None` if the caller cannot be told.
    pub interim: Option<Interim>,
}

impl Outbound {
    /// Whether sending it twice does no harm (RFC 9110 section 9.2.2), and can be done.
    pub fn is_repeatable(&self) -> bool {
        let idempotent = matches!(
            *self.request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        );
        idempotent
            && matches!(self.request.body(), Body::Empty)
            && !self.request.headers().contains_key(header::UPGRADE)
    }

    /// The same request once more, without a body.
    #[must_use]
    pub fn repeat(&self) -> Self {
        let mut request = Request::new(Body::Empty);
        self.request.method().clone_into(request.method_mut());
        self.request.uri().clone_into(request.uri_mut());
        self.request.headers().clone_into(request.headers_mut());
        Self { request, host: self.host.clone(), interim: None }
    }

    /// A copy of the body, when all of it has been sent; `None` if it is longer than this, or nobody knows how long.
    pub fn copy_body(&mut self, longest: u64) -> Option<Copied> {
        match self.request.body_mut() {
            Body::Empty => Some(Copied::Empty),
            Body::Stream(body) => body.copy(longest).map(Copied::Coming),
            Body::Replay(_) | Body::Whole(_) => None,
        }
    }

    /// Tells later whether the caller went away before the end of its body; `None` without a body.
    pub fn gone(&self) -> Option<Gone> {
        match self.request.body() {
            Body::Empty | Body::Whole(_) => None,
            Body::Stream(body) => Some(body.gone()),
            Body::Replay(body) => Some(body.gone.clone()),
        }
    }

    /// Gives the head the form of a protocol: HTTP/1 names the host in a header, HTTP/2 in the URI.
    pub(crate) fn shape(&mut self, wire: Wire, dial: &Dial) {
        let path =
            self.request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        match wire {
            Wire::Http1 => {
                *self.request.version_mut() = Version::HTTP_11;
                *self.request.uri_mut() = Uri::from(path);
                let headers = self.request.headers_mut();
                headers.insert(header::HOST, self.host.clone());
                if headers.contains_key(header::TE) {
                    // RFC 9110 section 10.1.4: TE is for one hop, and says so.
                    headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
                }
            }
            Wire::Http2 => {
                *self.request.version_mut() = Version::HTTP_2;
                self.request.headers_mut().remove(header::HOST);
                self.request.headers_mut().remove(header::CONNECTION);
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(dial.scheme());
                parts.authority = Authority::try_from(self.host.as_bytes())
                    .ok()
                    .or_else(|| Some(Authority::from_static("localhost")));
                parts.path_and_query = Some(path);
                // Never the default: scheme, authority and path are all there.
                *self.request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
            }
        }
    }
}

/// The body of a request on its way.
#[derive(Debug)]
pub enum Body {
    /// None.
    Empty,
    /// The caller's, as it comes.
    Stream(CallerBody),
    /// The caller's, with its beginning kept.
    Replay(Replay),
    /// A copy; taken when it is sent.
    Whole(Option<Bytes>),
}

/// A copy of a body.
#[derive(Debug)]
pub enum Copied {
    /// There is none.
    Empty,
    /// Comes when all of it has been read.
    Coming(oneshot::Receiver<Bytes>),
}

impl Body {
    /// Breaks the caller's body off when it is longer than this.
    pub fn bound(&mut self, most: u64) {
        if let Self::Stream(body) = self {
            body.bound(most);
        }
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Empty } else { Self::Stream(CallerBody::new(body)) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => Pin::new(body).poll_frame(context),
            Self::Replay(body) => body.poll_frame(context),
            Self::Whole(body) => Poll::Ready(body.take().map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(body) => body.is_end_stream(),
            Self::Replay(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(body) => body.size_hint(),
            Self::Replay(body) => body.size_hint(),
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

/// A body whose beginning is kept, so that a stream that an upstream refused unprocessed can be sent to another.
#[derive(Debug)]
pub struct Replay {
    source: Arc<Mutex<Source>>,
    /// Frames that this attempt has still to repeat.
    repeated: VecDeque<Bytes>,
    length: SizeHint,
    gone: Gone,
    /// Which attempt it belongs to.
    attempt: u32,
}

#[derive(Debug)]
struct Source {
    body: CallerBody,
    /// The attempt that reads now: one that was given up must take nothing away from it.
    attempt: u32,
    kept: Vec<Bytes>,
    bytes: usize,
    /// More was read than is kept, or trailers were.
    lost: bool,
}

impl Replay {
    /// Keeps the beginning of a body.
    pub fn new(body: CallerBody) -> Self {
        let (length, gone) = (body.size_hint(), body.gone());
        let source = Source { body, attempt: 0, kept: Vec::new(), bytes: 0, lost: false };
        let source = Arc::new(Mutex::new(source));
        Self { source, repeated: VecDeque::new(), length, gone, attempt: 0 }
    }

    /// A handle that can begin the body again.
    pub fn handle(&self) -> ReplayHandle {
        ReplayHandle { source: Arc::clone(&self.source), length: self.length, gone: self.gone.clone() }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Nobody can begin it again any more.
        let is_last = Arc::strong_count(&self.source) == 1;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::Bad)));
        }
        if let Some(data) = self.repeated.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if is_last && !source.lost {
            source.lost = true;
            source.kept = Vec::new();
        }
        let polled = Pin::new(&mut source.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match frame.data_ref() {
                Some(data) if !source.lost && source.bytes + data.len() <= KEPT => {
                    source.bytes += data.len();
                    source.kept.push(data.clone());
                }
                _ => {
                    source.lost = true;
                    source.kept = Vec::new();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.repeated.is_empty()
            && self.source.lock().unwrap_or_else(PoisonError::into_inner).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Only asked before the first frame, when all of the body is still to come.
        self.length
    }
}

/// Begins a [`Replay`] again.
#[derive(Debug)]
pub struct ReplayHandle {
    source: Arc<Mutex<Source>>,
    length: SizeHint,
    gone: Gone,
}

impl ReplayHandle {
    /// The body from its beginning, if all that was read of it is still there.
    pub fn again(self) -> Option<Replay> {
        let (repeated, attempt) = {
            let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
            if source.lost {
                return None;
            }
            source.attempt += 1;
            (source.kept.iter().cloned().collect(), source.attempt)
        };
        Some(Replay { source: self.source, repeated, length: self.length, gone: self.gone, attempt })
    }
}
