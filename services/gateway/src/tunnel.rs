//! WebSockets: bytes both ways once both sides have agreed.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// The client's side, if it asks for a WebSocket.
pub(crate) fn asked_for(request: &mut Request<Body>) -> Option<OnUpgrade> {
    is_websocket(request.headers()).then(|| hyper::upgrade::on(request))
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The service has agreed: joins both sides once the client has the answer.
pub(crate) fn join(client: Option<OnUpgrade>, mut response: hyper::Response<Incoming>) -> Response {
    let service = hyper::upgrade::on(&mut response);
    if let Some(client) = client {
        tokio::spawn(async move {
            let (Ok(client), Ok(service)) = tokio::join!(client, service) else { return };
            let (mut client, mut service) = (TokioIo::new(client), TokioIo::new(service));
            // Either side may go at any time.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut service).await;
        });
    }
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}
