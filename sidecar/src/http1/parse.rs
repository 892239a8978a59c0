//! Heads, from bytes to [`http`]'s types. Values stay where they are: they share the buffer that was read into.

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use shop_flow::http1::head::{self, Field};
use shop_flow::http1::{Bad, Framing};

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) request: Request<()>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// Reads the head of a request.
pub(crate) fn request_head(bytes: &Bytes) -> Result<RequestHead, Bad> {
    let mut slots = head::slots();
    let read = head::request(bytes, &mut slots)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(read.method.as_bytes()).map_err(|_| Bad::Malformed)?;
    *request.uri_mut() = target(bytes, read.target).ok_or(Bad::Malformed)?;
    *request.version_mut() = if read.is_http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = fields(bytes, read.fields)?;
    let (framing, keep_alive, expects_continue) = (read.framing, read.keep_alive, read.expects_continue);
    Ok(RequestHead { request, framing, keep_alive, expects_continue })
}

fn target(bytes: &Bytes, target: &str) -> Option<Uri> {
    let shared = bytes.slice_ref(target.as_bytes());
    if target.starts_with('/') {
        return PathAndQuery::from_maybe_shared(shared).ok().map(Uri::from);
    }
    Uri::from_maybe_shared(shared).ok()
}

/// An answer without its body.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) response: Response<()>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

/// Reads the head of an answer; `to_head`: to a HEAD request.
pub(crate) fn answer_head(bytes: &Bytes, to_head: bool) -> Result<AnswerHead, Bad> {
    let mut slots = head::slots();
    let read = head::response(bytes, &mut slots, to_head)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(read.status).map_err(|_| Bad::Malformed)?;
    *response.version_mut() = if read.is_http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *response.headers_mut() = fields(bytes, read.fields)?;
    Ok(AnswerHead { response, framing: read.framing, keep_alive: read.keep_alive })
}

/// Reads a trailer section. Fields that frame, route or change the message are no trailers (RFC 9110 section 6.5.1).
pub(crate) fn trailers(section: &Bytes) -> Result<HeaderMap, Bad> {
    let mut slots = head::empty();
    let read = head::trailers(section, &mut slots)?;
    let mut trailers = fields(section, read)?;
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::HOST,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
    ] {
        trailers.remove(name);
    }
    Ok(trailers)
}

fn fields(bytes: &Bytes, fields: &[Field<'_>]) -> Result<HeaderMap, Bad> {
    // Room for those that are added on the way.
    let mut map = HeaderMap::with_capacity(fields.len() + 8);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Bad::Malformed)?;
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).map_err(|_| Bad::Malformed)?
        };
        map.append(name, value);
    }
    Ok(map)
}
