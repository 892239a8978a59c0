//! Header fields that a proxy takes away, keeps or adds.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use shop_contract::headers::REQUEST_ID;
use shop_contract::reasons;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");
/// [`REQUEST_ID`] as a header's name.
pub(super) const REQUEST_ID_NAME: HeaderName = HeaderName::from_static(REQUEST_ID);

/// Removes what is meant for this connection only (RFC 9110 section 7.6.1), and what `Connection` lists.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in listed(headers) {
            // Fields that frame or address the message are not a hop's to remove.
            if name != header::CONTENT_LENGTH && name != header::HOST {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
}

/// Names in `Connection`, without those that are options of the connection itself.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let tokens = values.flat_map(|value| value.split(',')).map(str::trim);
    let options = ["", "close", "keep-alive", "upgrade"];
    tokens
        .filter(|token| !options.iter().any(|option| token.eq_ignore_ascii_case(option)))
        .filter_map(|token| HeaderName::try_from(token).ok())
        .collect()
}

/// The protocol a request wants to change to. `h2c` is left out: it is spoken with prior knowledge, or not at all.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked = connection
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let h2c = wanted.as_bytes().eq_ignore_ascii_case(b"h2c");
    (asked && !h2c && headers.get_all(header::UPGRADE).iter().count() == 1).then(|| wanted.clone())
}

/// Whether the request says that its sender takes trailers.
pub(crate) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("trailers"))
}

/// Whether the request is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// Says that the message came through here, and what it was received by (RFC 9110 section 7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => "1.0 shop",
        Version::HTTP_2 => "2.0 shop",
        _ => "1.1 shop",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// Leaves of an interim answer what is for the caller.
pub(super) fn finish_interim(answer: &mut Response<()>) {
    let received = answer.version();
    let fields = answer.headers_mut();
    strip_hop_by_hop(fields);
    fields.remove(header::CONTENT_LENGTH);
    add_via(fields, received);
}

/// Counts `Max-Forwards` down, which only OPTIONS and TRACE have (RFC 9110 section 7.6.2). `Err`: how to answer here.
pub(super) fn spend_max_forwards(
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return Ok(());
    }
    let mut values = headers.get_all(MAX_FORWARDS).iter();
    let Some(value) = values.next() else { return Ok(()) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    // One with more digits would be far beyond any way there is.
    let left = digits.filter(|_| values.next().is_none()).and_then(|text| text.parse::<u32>().ok());
    match left {
        None => Err((StatusCode::BAD_REQUEST, reasons::BAD_REQUEST)),
        // A TRACE would be answered with the fields that the caller sent, its secrets too.
        Some(0) if *method == Method::TRACE => Err((StatusCode::METHOD_NOT_ALLOWED, reasons::MAX_FORWARDS)),
        Some(0) => Err((StatusCode::OK, reasons::MAX_FORWARDS)),
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(())
        }
    }
}

/// The request's id; made if it is missing.
pub(crate) fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let made =
        || HeaderValue::try_from(format!("{:032x}", rand::random::<u128>())).expect("hexadecimal digits");
    headers.entry(REQUEST_ID_NAME).or_insert_with(made).clone()
}

/// HTTP/2 may split `Cookie` for compression; HTTP/1 has it once (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_is_for_one_hop_stays_there() {
        let mut all = map(&[
            ("connection", "close, X-Private"),
            ("connection", "content-length"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("content-length", "3"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
        ]);
        strip_hop_by_hop(&mut all);
        assert_eq!(all, headers(&[("x-public", "2"), ("content-length", "3"), ("trailer", "x-sum")]));
    }

    #[test]
    fn an_upgrade_must_be_asked_for_twice() {
        let asked = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&asked), Some(HeaderValue::from_static("websocket")));
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&map(&[("connection", "upgrade"), ("upgrade", "h2c")])), None);
        assert_eq!(upgrade(&map(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")])), None);
    }

    #[test]
    fn forwards_are_counted_down() {
        for (method, value, expected) in [
            (Method::OPTIONS, "3", Ok("2")),
            (Method::TRACE, "1", Ok("0")),
            (Method::OPTIONS, "0", Err(200)),
            (Method::TRACE, "0", Err(405)),
            (Method::OPTIONS, "-1", Err(400)),
            (Method::OPTIONS, "", Err(400)),
            (Method::GET, "0", Ok("0")),
        ] {
            let mut fields = map(&[("max-forwards", value)]);
            let spent = spend_max_forwards(&method, &mut fields).map_err(|(status, _)| status.as_u16());
            let left = fields.get("max-forwards").and_then(|left| left.to_str().ok()).expect("a value");
            assert_eq!(spent.map(|()| left), expected, "{method} {value}");
        }
    }

    #[test]
    fn ids_are_kept_or_made() {
        let mut none = HeaderMap::new();
        let made = request_id(&mut none);
        assert_eq!((made.len(), none.get(REQUEST_ID)), (32, Some(&made)));
        assert_eq!(request_id(&mut none), made);
    }

    #[test]
    fn cookies_are_joined() {
        let mut cookies = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut cookies);
        assert_eq!(cookies, headers(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn grpc_by_content_type() {
        for (value, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_grpc(&headers(&[("content-type", value)])), grpc, "{value}");
        }
    }
}
