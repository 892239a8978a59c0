//! A caller's HTTP/2 connection: its streams, its signs of life, and its end in a drain.

mod stream;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use super::Proxy;
use super::rewind::Rewind;
use super::sender::Peer;
use super::signal::Signal;
use crate::http2::{Alive, CONNECTION_WINDOW, MAX_FRAME, SEND_BUFFER, STREAM_WINDOW, State};

/// Header list of a request, beyond which it is answered 431.
const MAX_HEADER_LIST: u32 = 32 * 1024;
/// Streams that a client may have open on one connection.
const MAX_STREAMS: u32 = 250;
/// Streams that a client may reset before anybody has looked at them.
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that were ended here because of the client's errors.
const MAX_ERRORS: usize = 100;
/// Requests that a client may take back before their answers begin, while they are the most of its requests.
const MAX_TAKEN_BACK: u32 = 200;
/// How long streams that become something else may take to end after the drain's deadline.
const LAST_STREAMS: Duration = Duration::from_secs(4);
/// How long the last words of a connection may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What a client makes of its requests.
#[derive(Debug, Default)]
struct Conduct {
    begun: AtomicU32,
    taken_back: AtomicU32,
}

impl Conduct {
    /// Whether it asks for work that it does not want: each reset makes room for another stream, so that the limit of streams
    /// is none (CVE-2023-44487).
    fn is_flood(&self) -> bool {
        let taken_back = self.taken_back.load(Ordering::Relaxed);
        taken_back >= MAX_TAKEN_BACK && taken_back > self.begun.load(Ordering::Relaxed) / 2
    }
}

/// What happens next on a connection.
#[allow(clippy::large_enum_variant, reason = "taken apart where it is made; the large one is the usual one")]
enum Event {
    Stream(Request<RecvStream>, SendResponse<Bytes>),
    /// It shall end when its streams have.
    Leave,
    /// What is left of it has this long.
    Overdue,
    /// It ends now.
    Abandon(Reason),
    Ended,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Rewind, peer: Peer, proxy: &Arc<Proxy>) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut alive = Alive::new(connection.ping_pong(), proxy.config.timeouts().idle());
    let conduct = Arc::new(Conduct::default());
    let begun = std::pin::pin!(proxy.drain.begun());
    let mut begun = Signal::new(begun, || proxy.drain.is_draining());
    let deadline = std::pin::pin!(proxy.drain.deadline());
    let mut deadline = Signal::new(deadline, || proxy.drain.is_overdue());
    let last = tokio::time::sleep(Duration::ZERO);
    let mut last = std::pin::pin!(last);
    let (mut leaving, mut overdue, mut seen) = (false, false, 0);
    // Whoever leaves already is not told so twice.
    let longest_idle = |leaving| if leaving { Duration::MAX } else { proxy.config.timeouts().idle() };
    loop {
        let event = poll_fn(|context| {
            if let Poll::Ready(event) = poll_connection(
                &mut connection,
                &mut alive,
                (&conduct, &mut seen),
                longest_idle(leaving),
                context,
            ) {
                return Poll::Ready(event);
            }
            if !leaving && begun.poll(context).is_ready() {
                return Poll::Ready(Event::Leave);
            }
            if !overdue && deadline.poll(context).is_ready() {
                return Poll::Ready(Event::Overdue);
            }
            if overdue && last.as_mut().poll(context).is_ready() {
                return Poll::Ready(Event::Abandon(Reason::NO_ERROR));
            }
            Poll::Pending
        })
        .await;
        match event {
            Event::Stream(request, respond) => {
                conduct.begun.fetch_add(1, Ordering::Relaxed);
                if conduct.is_flood() {
                    return abandon(connection, Reason::ENHANCE_YOUR_CALM).await;
                }
                let answering =
                    stream::serve(Arc::clone(proxy), peer.clone(), request, respond, Arc::clone(&conduct));
                tokio::spawn(answering);
            }
            // GOAWAY, in two steps: streams on their way are served, and new ones are opened elsewhere.
            Event::Leave => {
                leaving = true;
                connection.graceful_shutdown();
            }
            Event::Overdue => {
                overdue = true;
                last.as_mut().reset(tokio::time::Instant::now() + LAST_STREAMS);
            }
            Event::Abandon(reason) => return abandon(connection, reason).await,
            Event::Ended => return,
        }
    }
}

fn poll_connection(
    connection: &mut Connection<Rewind, Bytes>,
    alive: &mut Alive,
    (conduct, seen): (&Conduct, &mut u32),
    longest_idle: Duration,
    context: &mut Context<'_>,
) -> Poll<Event> {
    match connection.poll_accept(context) {
        Poll::Ready(Some(Ok((request, respond)))) => return Poll::Ready(Event::Stream(request, respond)),
        Poll::Ready(_) => return Poll::Ready(Event::Ended),
        Poll::Pending => {}
    }
    // Requests between two looks count as well.
    let is_busy = || {
        let begun = conduct.begun.load(Ordering::Relaxed);
        begun != std::mem::replace(seen, begun) || connection.has_streams()
    };
    match alive.poll(context, is_busy, true) {
        Poll::Ready(State::Dead) => Poll::Ready(Event::Abandon(Reason::NO_ERROR)),
        Poll::Ready(State::Idle(time)) if time >= longest_idle => Poll::Ready(Event::Leave),
        Poll::Ready(State::Idle(_)) | Poll::Pending => Poll::Pending,
    }
}

/// Says that the connection ends, and ends it.
async fn abandon(mut connection: Connection<Rewind, Bytes>, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let _ = tokio::time::timeout(CLOSING, poll_fn(|context| connection.poll_closed(context))).await;
}
