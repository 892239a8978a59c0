//! One stream of a caller: a request and its answer, or a WebSocket (RFC 8441).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body::Body as _;
use shop_contract::reasons;
use shop_flow::http1::head::MAX_FIELDS;
use shop_flow::pace;

use super::Conduct;
use crate::http1::{Incoming, Interim, date};
use crate::http2::{Received, Sending, StreamReader, StreamWriter};
use crate::inbound::answer::AnswerBody;
use crate::inbound::request::{self as requests, Answer};
use crate::inbound::sender::Peer;
use crate::inbound::{Proxy, headers, tunnel};
use crate::patience::{Patience, Told};

/// Answers one request.
pub(super) async fn serve(
    proxy: Arc<Proxy>,
    peer: Peer,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    conduct: Arc<Conduct>,
) {
    let (mut head, stream) = request.into_parts();
    if head.headers.len() > MAX_FIELDS {
        let refused =
            requests::refuse(&proxy, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reasons::HEAD_TOO_LARGE);
        return send(respond, refused, false, true).await;
    }
    let (is_head, is_grpc) = (head.method == Method::HEAD, headers::is_grpc(&head.headers));
    let answered = Told::default();
    let (body, socket) = if ask_for_websocket(&mut head) {
        (Incoming::Empty, Some(stream))
    } else if stream.is_end_stream() {
        (Incoming::Empty, None)
    } else {
        // Who waits for a 100 is not slow.
        let waits = head.headers.contains_key(header::EXPECT);
        let limits = if waits { pace::ANSWER } else { proxy.config.timeouts().body() };
        let patience = if is_grpc { Patience::endless() } else { Patience::until(limits, answered.clone()) };
        (Incoming::Http2(Received::new(stream, &head.headers, patience)), None)
    };
    let interim = Interim::default();
    let request = Request::from_parts(head, body);
    let answer = requests::answer(Arc::clone(&proxy), peer, request, Some(interim.clone()));
    let mut answer = std::pin::pin!(answer);
    let answer = poll_fn(|context| {
        let polled = answer.as_mut().poll(context);
        tell_interim(&interim, &mut respond);
        match polled {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => respond.poll_reset(context).map(|_| None),
        }
    })
    .await;
    answered.tell();
    let Some(Answer { response, tunnel, is_dropped }) = answer else {
        conduct.taken_back.fetch_add(1, Ordering::Relaxed);
        return;
    };
    if is_dropped {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    match (tunnel, socket) {
        (Some(ends), Some(socket)) => {
            if let Ok(stream) = respond.send_response(accept_websocket(response), false) {
                tunnel::run(StreamReader::new(socket), StreamWriter(stream), *ends, &proxy).await;
            }
        }
        (Some(_), None) => respond.send_reset(Reason::INTERNAL_ERROR),
        (None, _) => send(respond, response, is_head, !is_grpc).await,
    }
}

fn tell_interim(interim: &Interim, respond: &mut SendResponse<Bytes>) {
    for mut answer in interim.take() {
        headers::finish_interim(&mut answer);
        // The client may be gone; the answer itself finds out.
        let _ = respond.send_informational(answer);
    }
}

/// Sends an answer to its end. `hurries`: a client that does not take it is not waited for for ever.
async fn send(
    mut respond: SendResponse<Bytes>,
    response: Response<AnswerBody>,
    to_head: bool,
    hurries: bool,
) {
    let (mut head, body) = response.into_parts();
    let fields = &mut head.headers;
    fields.entry(header::DATE).or_insert_with(date);
    let bodiless = to_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let ended = bodiless || body.is_end_stream();
    if head.status == StatusCode::NO_CONTENT {
        fields.remove(header::CONTENT_LENGTH);
    } else if !ended && let Some(length) = body.size_hint().exact() {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ended) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    if ended {
        return;
    }
    let patience = if hurries { Patience::new(pace::ANSWER) } else { Patience::endless() };
    let mut sending = Sending::new(stream, body, patience, Reason::INTERNAL_ERROR);
    // However it ends: what is counted is counted when the body is dropped.
    let _ = poll_fn(|context| sending.poll(context)).await;
}

/// Makes of a WebSocket by HTTP/2 a request for one by HTTP/1; says whether it is one.
fn ask_for_websocket(head: &mut request::Parts) -> bool {
    let protocol = head.extensions.remove::<h2::ext::Protocol>();
    if head.method != Method::CONNECT || protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
        return false;
    }
    head.method = Method::GET;
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    // Never without: base64 is a field's value.
    if let Ok(key) = HeaderValue::try_from(key) {
        head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    true
}

/// What is 101 by HTTP/1 is 200 here, and the key is HTTP/1's.
fn accept_websocket(response: Response<AnswerBody>) -> Response<()> {
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::OK;
    headers::strip_hop_by_hop(&mut head.headers);
    head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.entry(header::DATE).or_insert_with(date);
    Response::from_parts(head, ())
}
