//! A caller's HTTP/1 connection: one request after the other, until either side has enough.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;
use shop_contract::reasons;
use shop_flow::drain::{self, Idle};
use shop_flow::http1::{Bad, Framing};
use shop_flow::pace;
use tokio::time::Sleep;

use super::answer::AnswerBody;
use super::request::Answer;
use super::sender::Peer;
use super::signal::Signal;
use super::tunnel::{Ends, Tunnel};
use super::{Proxy, request};
use crate::clock::Clock;
use crate::http1::{
    Encoder, Halves, Incoming, Interim, Reader, RequestHead, SharedReader, Writer, put_answer_head,
    request_head,
};
use crate::patience::Patience;
use crate::tls::Stream;

/// Head of a request, beyond which it is answered 431.
const MAX_HEAD: usize = 32 * 1024;
/// Bytes after a request that are read before it is answered, to notice that the client has gone.
const AHEAD: usize = 64 * 1024;
/// How long a client that still sends is listened to after its last answer: closing at once would reset the connection, and
/// the answer with it.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are thrown away meanwhile.
const MOST_LINGERED: usize = 1024 * 1024;
/// A client that ends its side so soon after its request has said all that it has to say, and waits for the answer. Later it has
/// given up: nothing on the wire tells the two apart.
const HALF_CLOSED: Duration = Duration::from_millis(100);
/// Bytes of a body that nobody wanted which are thrown away to use the connection on.
const MOST_SKIPPED: usize = 64 * 1024;

/// A connection.
pub(super) struct Connection {
    peer: Peer,
    proxy: Arc<Proxy>,
    reader: SharedReader,
    writer: Writer,
    life: drain::Connection,
    interim: Interim,
    /// Of the longest time without a request; set anew when it fires, not at every request.
    idle: Option<Pin<Box<Sleep>>>,
}

/// What follows a request.
enum Next {
    /// Another one.
    Request,
    /// The end; the client may still be sending.
    Close,
    /// The end, without a word more.
    Broken,
    /// No HTTP any more.
    Tunnel(Box<Ends>),
}

impl Connection {
    /// `first` are bytes that were read from the stream already.
    pub(super) fn new(stream: Stream, first: &[u8], peer: Peer, proxy: Arc<Proxy>) -> Self {
        let (read, write) = stream.into_split();
        let mut life = drain::Connection::new(proxy.telemetry.clock.now());
        if !first.is_empty() {
            life.received(proxy.telemetry.clock.now());
        }
        let reader = SharedReader::new(Reader::new(read, first));
        Self {
            peer,
            proxy,
            reader,
            writer: Writer::new(write),
            life,
            interim: Interim::default(),
            idle: None,
        }
    }

    /// Serves requests until the connection ends, or becomes a tunnel.
    pub(super) async fn serve(mut self) -> Option<Box<Tunnel>> {
        let proxy = Arc::clone(&self.proxy);
        let drain = std::pin::pin!(proxy.drain.begun());
        let mut drain = Signal::new(drain, || proxy.drain.is_draining());
        loop {
            let head = match self.head(&mut drain).await? {
                Ok(head) => head,
                Err(bad) => {
                    self.refuse(bad).await;
                    return None;
                }
            };
            self.life.request_begun();
            let next = self.answer(head).await;
            self.life.request_ended(self.now());
            match next {
                Next::Request => {}
                Next::Close => {
                    self.linger(false).await;
                    return None;
                }
                Next::Broken => return None,
                Next::Tunnel(ends) => {
                    let client = Halves { reader: self.reader.take()?, writer: self.writer };
                    return Some(Box::new(Tunnel { client, ends: *ends }));
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.proxy.telemetry.clock.now()
    }

    /// The next request's head. `None`: the connection has ended, or is idle in a drain.
    async fn head<F: Future<Output = ()>, H: Fn() -> bool>(
        &mut self,
        drain: &mut Signal<'_, F, H>,
    ) -> Option<Result<RequestHead, Bad>> {
        loop {
            match self.reader.with(|reader| reader.take_head(MAX_HEAD))? {
                Ok(Some(bytes)) => return Some(request_head(&bytes)),
                Ok(None) => {}
                Err(bad) => return Some(Err(bad)),
            }
            if self.reader.with(|reader| reader.buffered())? == 0 {
                self.wait(drain).await?;
            } else {
                let since = self.life.head_since().unwrap_or_else(|| self.now());
                let until = self.proxy.telemetry.clock.instant(since + self.proxy.config.timeouts().header());
                let filled = tokio::time::timeout_at(until, self.fill()).await;
                filled.ok().filter(|read| *read > 0)?;
            }
            self.life.received(self.now());
        }
    }

    /// Waits for the first byte of a request. `None`: none came.
    async fn wait<F: Future<Output = ()>, H: Fn() -> bool>(
        &mut self,
        drain: &mut Signal<'_, F, H>,
    ) -> Option<()> {
        self.reader.with(Reader::release);
        self.writer.release();
        let idle_until = tokio::time::Instant::now() + self.proxy.config.timeouts().idle();
        while !self.proxy.drain.is_draining() {
            let (reader, idle) = (&self.reader, &mut self.idle);
            let read = poll_fn(|context| match poll_fill(reader, context) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending if is_over(idle, idle_until, context) => Poll::Ready(Some(0)),
                Poll::Pending => drain.poll(context).map(|()| None),
            })
            .await;
            match read {
                Some(0) => return None,
                Some(_) => return Some(()),
                None => {}
            }
        }
        loop {
            let begun = self.proxy.drain.begun_at().unwrap_or_default();
            let now = self.now();
            let until = match self.life.idle(begun, now) {
                Idle::WaitUntil(until) => until,
                Idle::Busy => now + self.proxy.config.timeouts().header(),
                // A request that has come in the meantime is still served.
                Idle::Close => now,
            };
            let until_instant = self.proxy.telemetry.clock.instant(until);
            match tokio::time::timeout_at(until_instant, self.fill()).await {
                Ok(0) => return None,
                Ok(_) => return Some(()),
                Err(_) if until == now => return None,
                Err(_) => {}
            }
        }
    }

    async fn fill(&self) -> usize {
        poll_fn(|context| poll_fill(&self.reader, context)).await
    }

    /// Answers one request.
    async fn answer(&mut self, head: RequestHead) -> Next {
        let RequestHead { request, framing, keep_alive, expects_continue } = head;
        let (is_http10, is_head) = (request.version() == Version::HTTP_10, request.method() == Method::HEAD);
        let takes_trailers = super::headers::takes_trailers(request.headers());
        let body = self.reader.begin_body(framing, expects_continue, self.proxy.config.timeouts().body());
        let body = if framing == Framing::Empty { Incoming::Empty } else { Incoming::Caller(body) };
        let mut presence = Presence::new(self.proxy.telemetry.clock);
        let answered = {
            let request = request.map(|()| body);
            // HTTP/1.0 knows none.
            let interim = (!is_http10).then(|| self.interim.clone());
            let answer = request::answer(Arc::clone(&self.proxy), self.peer.clone(), request, interim);
            let mut answer = Box::pin(answer);
            let presence = &mut presence;
            poll_fn(|context| match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if presence.has_gone(&self.reader, context) => Poll::Ready(None),
                Poll::Pending => {
                    self.tell_interim(context);
                    Poll::Pending
                }
            })
            .await
        };
        self.reader.answer_begins();
        let answered = answered.filter(|answer| !answer.is_dropped);
        let Some(Answer { mut response, tunnel, .. }) = answered else { return Next::Broken };
        self.put_interim();
        if let Some(tunnel) = tunnel {
            return self.change_protocol(&response, tunnel).await;
        }
        let is_broken = self.reader.with(|reader| reader.body_is_broken()).unwrap_or(true);
        let stays = keep_alive && !is_broken && !says_close(&response);
        let encoder = frame(&mut response, is_head, is_http10, takes_trailers);
        let stays = stays && encoder != Encoder::UntilEnd;
        if !stays {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if is_http10 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        put_answer_head(&response, self.writer.begin());
        if !self.write(response.into_body(), encoder, presence).await {
            return Next::Broken;
        }
        if stays && self.skip_body().await { Next::Request } else { Next::Close }
    }

    /// Passes interim answers on. What does not leave at once does with what follows.
    fn tell_interim(&mut self, context: &mut Context<'_>) {
        self.put_interim();
        let _ = self.writer.poll_flush(context);
    }

    fn put_interim(&mut self) {
        for mut answer in self.interim.take() {
            if answer.status() == StatusCode::CONTINUE {
                self.reader.told_to_continue();
            }
            super::headers::finish_interim(&mut answer);
            put_answer_head(&answer, self.writer.begin());
        }
    }

    /// Writes an answer's body; says whether all of it was written.
    async fn write(&mut self, body: AnswerBody, mut encoder: Encoder, mut presence: Presence) -> bool {
        let mut body = (!body.is_end_stream()).then_some(body);
        let (reader, writer) = (&self.reader, &mut self.writer);
        let (mut patience, mut written) = (Patience::new(pace::ANSWER), writer.written);
        poll_fn(|context| match writer.poll_pump(context, &mut body, &mut encoder) {
            Poll::Ready(written) => Poll::Ready(written.is_ok()),
            Poll::Pending if presence.has_gone(reader, context) => Poll::Ready(false),
            Poll::Pending => {
                patience.moved(writer.written - written);
                written = writer.written;
                // With everything written it is the app that is waited for.
                let slow = !writer.is_flushed() && patience.poll_waits(context).is_ready();
                if slow { Poll::Ready(false) } else { Poll::Pending }
            }
        })
        .await
    }

    /// Throws away what is left of a request's body, as far as it has come. Says whether that was all.
    async fn skip_body(&mut self) -> bool {
        if self.reader.body_is_done() {
            return true;
        }
        let mut skipped = 0;
        poll_fn(|context| {
            while skipped < MOST_SKIPPED {
                match self.reader.poll_body(context) {
                    Poll::Ready(Some(Ok(frame))) => skipped += frame.data_ref().map_or(0, Bytes::len),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Err(_))) | Poll::Pending => break,
                }
            }
            Poll::Ready(self.reader.body_is_done())
        })
        .await
    }

    /// Answers what is no request.
    async fn refuse(&mut self, bad: Bad) {
        let (status, reason) = match bad {
            Bad::TooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reasons::HEAD_TOO_LARGE),
            Bad::Malformed | Bad::CutOff => (StatusCode::BAD_REQUEST, reasons::BAD_REQUEST),
        };
        self.life.request_begun();
        let mut response = request::refuse(&self.proxy, status, reason);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let encoder = frame(&mut response, false, false, false);
        put_answer_head(&response, self.writer.begin());
        let presence = Presence::new(self.proxy.telemetry.clock);
        if self.write(response.into_body(), encoder, presence).await {
            self.linger(true).await;
        }
    }

    /// Ends this side, and listens for a moment if the client may still be sending.
    async fn linger(&mut self, always: bool) {
        self.writer.shutdown().await;
        let is_quiet = |reader: &mut Reader| reader.buffered() == 0 && reader.body_is_done();
        if !always && self.reader.with(is_quiet).unwrap_or(true) {
            return;
        }
        let listened = async {
            let mut heard = 0;
            while heard < MOST_LINGERED {
                match self.fill().await {
                    0 => return,
                    read => heard += read,
                }
                self.reader.with(Reader::forget);
            }
        };
        let _ = tokio::time::timeout(LINGER, listened).await;
    }

    /// Says that what follows is no HTTP.
    async fn change_protocol(&mut self, response: &Response<AnswerBody>, ends: Box<Ends>) -> Next {
        put_answer_head(response, self.writer.begin());
        let flushed = poll_fn(|context| self.writer.poll_flush(context)).await;
        if flushed.is_ok() { Next::Tunnel(ends) } else { Next::Broken }
    }
}

/// Whether a connection has been without a request for too long. Its timer fires once in that time, whatever happens between.
fn is_over(
    timer: &mut Option<Pin<Box<Sleep>>>,
    until: tokio::time::Instant,
    context: &mut Context<'_>,
) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
    while timer.as_mut().poll(context).is_ready() {
        if timer.deadline() >= until {
            return true;
        }
        timer.as_mut().reset(until);
    }
    false
}

/// Reads more; 0 at the end, however it came.
fn poll_fill(reader: &SharedReader, context: &mut Context<'_>) -> Poll<usize> {
    match reader.with(|reader| reader.poll_fill(context)) {
        Some(filled) => filled.map(|read| read.unwrap_or(0)),
        None => Poll::Ready(0),
    }
}

/// What a client does while it waits for its answer.
struct Presence {
    clock: Clock,
    /// When its request was complete.
    said: Option<Duration>,
    /// It has ended its side right after that.
    half_closed: bool,
}

impl Presence {
    fn new(clock: Clock) -> Self {
        Self { clock, said: None, half_closed: false }
    }

    /// Whether the client has gone, as far as can be told: whoever reads its body finds out by itself.
    fn has_gone(&mut self, reader: &SharedReader, context: &mut Context<'_>) -> bool {
        let gone = |reader: &mut Reader| {
            while reader.body_is_done() && reader.buffered() < AHEAD && !self.half_closed {
                let said = *self.said.get_or_insert_with(|| self.clock.now());
                match reader.poll_fill(context) {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) if self.clock.now() < said + HALF_CLOSED => self.half_closed = true,
                    Poll::Ready(_) => return true,
                }
            }
            false
        };
        reader.with(gone).unwrap_or(false)
    }
}

fn says_close<B>(response: &Response<B>) -> bool {
    response.headers().get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close")
}

/// Says in the fields how the body is framed.
fn frame(
    response: &mut Response<AnswerBody>,
    to_head: bool,
    is_http10: bool,
    takes_trailers: bool,
) -> Encoder {
    let (status, length) = (response.status(), response.body().size_hint().exact());
    let fields = response.headers_mut();
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        fields.remove(header::CONTENT_LENGTH);
        return Encoder::Empty;
    }
    if to_head || status == StatusCode::NOT_MODIFIED {
        return Encoder::Empty;
    }
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, length.into());
        return if length == 0 { Encoder::Empty } else { Encoder::Length(length) };
    }
    fields.remove(header::CONTENT_LENGTH);
    if is_http10 {
        return Encoder::UntilEnd;
    }
    fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    Encoder::Chunked { trailers: takes_trailers }
}
