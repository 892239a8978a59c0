//! One connection, kept alive and driven by a task of its own.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};

use crate::http2::{Alive, CONNECTION_WINDOW, MAX_FRAME, SEND_BUFFER, STREAM_WINDOW, State};
use crate::tls::{Dial, Stream as Socket};
use crate::upstream::Wire;

/// Header list of an answer, beyond which it is an error.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// How long a connection without streams is kept.
const LONGEST_IDLE: Duration = Duration::from_mins(5);

/// A connection that is used for new streams.
#[derive(Debug)]
pub(super) struct Open {
    sender: SendRequest<Bytes>,
    use_: Arc<Use>,
}

/// What a connection's task and its streams know of one another.
#[derive(Debug, Default)]
struct Use {
    streams: AtomicUsize,
    closed: AtomicBool,
}

/// One stream of a connection; counted as long as it lives.
#[derive(Debug)]
pub(in crate::upstream) struct Stream {
    pub(super) sender: SendRequest<Bytes>,
    use_: Arc<Use>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.use_.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Open {
    pub(super) async fn connect(dial: &Dial, address: SocketAddr, timeout: Duration) -> Option<Self> {
        let stream = dial.connect(address, timeout, Wire::Http2).await?;
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST)
            .enable_push(false);
        let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.ok()?;
        let use_ = Arc::new(Use::default());
        tokio::spawn(drive(connection, Arc::clone(&use_)));
        Some(Self { sender, use_ })
    }

    /// `None`: it has ended in this moment.
    pub(super) fn begin(&self) -> Option<Stream> {
        self.use_.streams.fetch_add(1, Ordering::SeqCst);
        let stream = Stream { sender: self.sender.clone(), use_: Arc::clone(&self.use_) };
        // Counted before it is looked, and its task looks in the other order: one of the two sees the other.
        (!self.is_closed()).then_some(stream)
    }

    pub(super) fn streams(&self) -> usize {
        self.use_.streams.load(Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.use_.closed.load(Ordering::SeqCst)
    }

    pub(super) fn is_of(&self, stream: &Stream) -> bool {
        Arc::ptr_eq(&self.use_, &stream.use_)
    }
}

/// Drives a connection to its end. While it has streams, the other side is asked for signs of life.
async fn drive(mut connection: Connection<Socket, Bytes>, use_: Arc<Use>) {
    let mut alive = Alive::new(connection.ping_pong(), LONGEST_IDLE);
    poll_fn(|context| {
        if Pin::new(&mut connection).poll(context).is_ready() {
            return Poll::Ready(());
        }
        match alive.poll(context, || use_.streams.load(Ordering::SeqCst) > 0, false) {
            Poll::Ready(State::Dead) => Poll::Ready(()),
            Poll::Ready(State::Idle(time)) if time >= LONGEST_IDLE => {
                use_.closed.store(true, Ordering::SeqCst);
                if use_.streams.load(Ordering::SeqCst) == 0 { Poll::Ready(()) } else { Poll::Pending }
            }
            Poll::Ready(State::Idle(_)) | Poll::Pending => Poll::Pending,
        }
    })
    .await;
    use_.closed.store(true, Ordering::SeqCst);
}
