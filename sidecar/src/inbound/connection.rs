//! One caller's connection: which HTTP it speaks, and how it ends in a drain.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use shop_contract::{headers::REASON, reasons::TOO_MANY_CONNECTIONS};
use shop_flow::drain::{IDLE, Idle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::io::{Link, Watched};
use super::{Proxy, request};
use crate::drain::OpenConnection;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may be silent after connecting.
const FIRST_BYTE: Duration = Duration::from_mins(1);
/// How long a head, or a preface, may take from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// How often a connection is looked at for a slow head.
const LOOK: Duration = Duration::from_secs(5);
/// How often a busy connection is looked at in a drain.
const IDLE_LOOK: Duration = Duration::from_millis(500);
/// HTTP/2 connections need no look.
const NEVER: Duration = Duration::from_hours(24 * 365);
/// Head of an HTTP/1 request, beyond which it is answered 431.
const MAX_HEAD: usize = 64 * 1024;
/// Header list of an HTTP/2 request.
const MAX_HEADER_LIST: u32 = 32 * 1024;
/// Streams that a client may have open on one connection.
const MAX_STREAMS: u32 = 250;
/// How often a silent HTTP/2 client is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, client: IpAddr, open: OpenConnection, proxy: Arc<Proxy>) {
    let _ = stream.set_nodelay(true);
    let Some((first, is_http2)) = tell_protocol(&mut stream, &proxy).await else { return };
    let link = Arc::new(Link::new(client, proxy.telemetry.clock, !is_http2));
    let stream = TokioIo::new(Watched::new(stream, first, Arc::clone(&link), open));
    if is_http2 {
        serve_http2(stream, &link, &proxy).await;
    } else {
        serve_http1(stream, &link, &proxy).await;
    }
}

/// Reads until it is certain whether the client speaks HTTP/2. `None`: it sent nothing, or too slowly.
async fn tell_protocol(stream: &mut TcpStream, proxy: &Proxy) -> Option<(Bytes, bool)> {
    let mut first = [0_u8; PREFACE.len()];
    let mut length = 0;
    let read_first = async {
        length = stream.read(&mut first).await.ok()?;
        Some(length).filter(|length| *length > 0)
    };
    let drained = async {
        proxy.drain.begun().await;
        tokio::time::sleep(IDLE).await;
    };
    tokio::select! {
        read = read_first => { read?; }
        () = drained => return None,
        () = tokio::time::sleep(FIRST_BYTE) => return None,
    }
    let rest = async {
        while length < PREFACE.len() && first.get(..length) == PREFACE.get(..length) {
            match stream.read(first.get_mut(length..)?).await.ok()? {
                0 => return None,
                more => length += more,
            }
        }
        Some(())
    };
    tokio::time::timeout(HEAD, rest).await.ok()??;
    Some((Bytes::copy_from_slice(first.get(..length)?), first == *PREFACE))
}

async fn serve_http1(stream: TokioIo<Watched>, link: &Arc<Link>, proxy: &Arc<Proxy>) {
    let service = service_fn(|request| request::answer(Arc::clone(proxy), Arc::clone(link), request));
    let connection =
        http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(stream, service).with_upgrades();
    let (mut connection, clock) = (std::pin::pin!(connection), proxy.telemetry.clock);
    let mut look = std::pin::pin!(tokio::time::sleep(LOOK));
    let is_slow = || link.head_since().is_some_and(|since| clock.now().saturating_sub(since) > HEAD);

    let begun = std::pin::pin!(proxy.drain.begun());
    let mut begun = Signal::new(begun, || proxy.drain.is_draining());
    loop {
        match attend(connection.as_mut(), &mut begun, look.as_mut()).await {
            Event::Signal => break,
            Event::Look if !is_slow() => look.as_mut().reset(clock.instant(clock.now() + LOOK)),
            Event::Ended | Event::Look => return,
        }
    }
    let begun = proxy.drain.begun_at().unwrap_or_default();
    let deadline = std::pin::pin!(proxy.drain.deadline());
    let mut deadline = Signal::new(deadline, || proxy.drain.is_overdue());
    loop {
        let now = clock.now();
        let next = match link.idle(begun, now) {
            Idle::WaitUntil(until) => until.min(now + LOOK),
            Idle::Busy => now + IDLE_LOOK,
            // The connection is polled again at once, and ends by itself if nothing has come.
            Idle::Close => {
                link.close_when_idle();
                now + IDLE_LOOK
            }
        };
        look.as_mut().reset(clock.instant(next));
        match attend(connection.as_mut(), &mut deadline, look.as_mut()).await {
            Event::Look if !is_slow() => {}
            Event::Ended | Event::Signal | Event::Look => return,
        }
    }
}

async fn serve_http2(stream: TokioIo<Watched>, link: &Arc<Link>, proxy: &Arc<Proxy>) {
    let service = service_fn(|request| request::answer(Arc::clone(proxy), Arc::clone(link), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut never = std::pin::pin!(tokio::time::sleep(NEVER));
    let begun = std::pin::pin!(proxy.drain.begun());
    let mut begun = Signal::new(begun, || proxy.drain.is_draining());
    match attend(connection.as_mut(), &mut begun, never.as_mut()).await {
        // GOAWAY: streams that were begun finish, the client opens new ones elsewhere.
        Event::Signal => connection.as_mut().graceful_shutdown(),
        Event::Ended | Event::Look => return,
    }
    let deadline = std::pin::pin!(proxy.drain.deadline());
    let mut deadline = Signal::new(deadline, || proxy.drain.is_overdue());
    attend(connection, &mut deadline, never.as_mut()).await;
}

/// What a connection's task wakes up for.
enum Event {
    Ended,
    Signal,
    Look,
}

/// Something that happens once, polled no more often than needed: every wake-up of every connection would otherwise take the
/// lock that all of them share. Polled the first time to leave a waker, then only when `has_come` says so; a task's waker
/// stays the same.
struct Signal<'a, F, H> {
    future: Pin<&'a mut F>,
    has_come: H,
    registered: bool,
}

impl<'a, F: Future<Output = ()>, H: Fn() -> bool> Signal<'a, F, H> {
    fn new(future: Pin<&'a mut F>, has_come: H) -> Self {
        Self { future, has_come, registered: false }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.registered && !(self.has_come)() {
            return Poll::Pending;
        }
        self.registered = true;
        self.future.as_mut().poll(context)
    }
}

/// Drives a connection until something happens.
async fn attend<C: Future, F: Future<Output = ()>, H: Fn() -> bool>(
    mut connection: Pin<&mut C>,
    signal: &mut Signal<'_, F, H>,
    mut look: Pin<&mut Sleep>,
) -> Event {
    poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            Poll::Ready(Event::Ended)
        } else if signal.poll(context).is_ready() {
            Poll::Ready(Event::Signal)
        } else {
            look.as_mut().poll(context).map(|()| Event::Look)
        }
    })
    .await
}

/// Answers a connection beyond the limit.
pub(super) async fn refuse(mut stream: TcpStream) {
    let body = TOO_MANY_CONNECTIONS;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\n{REASON}: {body}\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: \
         text/plain\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answered = async {
        // The request is read first: closing with unread bytes would reset the connection, and the answer with it.
        let _ = stream.read(&mut [0; 4_096]).await;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read(&mut [0; 4_096]).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), answered).await;
}
