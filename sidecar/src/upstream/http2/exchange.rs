//! One request and its answer on an HTTP/2 stream, both at the same time.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};

use super::connection::Stream;
use crate::http1::{BodyError, Incoming, Interim};
use crate::http2::{Received, SendError, Sending};
use crate::patience::Patience;
use crate::upstream::outbound::Body;

/// The rest of an answer, and of a request that has not been sent to its end.
#[derive(Debug)]
pub struct Exchange {
    answer: Received,
    request: Option<Sending<Body>>,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// Nothing of it was sent.
    Unsent(Body),
    /// The other side says that it did not process it.
    Unprocessed,
    /// Nobody knows what became of it.
    Lost,
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn send(
    stream: &mut Stream,
    request: Request<Body>,
    interim: Option<&Interim>,
) -> Result<Response<Incoming>, Broken> {
    let (head, body) = request.into_parts();
    if poll_fn(|context| stream.sender.poll_ready(context)).await.is_err() {
        return Err(Broken::Unsent(body));
    }
    let ends = body.is_end_stream();
    let Ok((mut answer, out)) = stream.sender.send_request(Request::from_parts(head, ()), ends) else {
        return Err(Broken::Unsent(body));
    };
    let mut sending = (!ends).then(|| Sending::new(out, body, Patience::endless(), h2::Reason::CANCEL));
    let response = poll_fn(|context| poll_head(&mut answer, &mut sending, interim, context)).await?;
    let (head, body) = response.into_parts();
    let answer = Received::new(body, &head.headers, Patience::endless());
    let body = match sending {
        None if answer.is_done() => Incoming::Empty,
        None => Incoming::Http2(answer),
        Some(_) => Incoming::Exchange(Box::new(Exchange { answer, request: sending })),
    };
    Ok(Response::from_parts(head, body))
}

fn poll_head(
    answer: &mut ResponseFuture,
    sending: &mut Option<Sending<Body>>,
    interim: Option<&Interim>,
    context: &mut Context<'_>,
) -> Poll<Result<Response<h2::RecvStream>, Broken>> {
    poll_request(sending, context).map_err(|_| Broken::Lost)?;
    while let Poll::Ready(Some(Ok(response))) = answer.poll_informational(context) {
        if let Some(interim) = interim {
            interim.push(response);
        }
    }
    std::pin::Pin::new(answer)
        .poll(context)
        .map_err(|error| if is_unprocessed(&error) { Broken::Unprocessed } else { Broken::Lost })
}

/// Sends on. A stream that takes nothing more may still have an answer; a body that breaks off ends everything.
fn poll_request(sending: &mut Option<Sending<Body>>, context: &mut Context<'_>) -> Result<(), BodyError> {
    let Some(request) = sending else { return Ok(()) };
    match request.poll(context) {
        Poll::Pending => Ok(()),
        Poll::Ready(Err(SendError::Body)) => Err(BodyError::Bad),
        Poll::Ready(_) => {
            *sending = None;
            Ok(())
        }
    }
}

/// Whether the other side said that it did not process the stream (RFC 9113 sections 8.7 and 6.8).
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let going_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (refused || going_away)
}

impl Exchange {
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        poll_request(&mut self.request, context)?;
        self.answer.poll(context)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.answer.is_done()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
