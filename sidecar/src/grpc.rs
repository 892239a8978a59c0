//! What gRPC says in fields where HTTP says it otherwise: why there is no answer, and how long there is time for one.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shop_contract::reasons;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The specification has at most so many digits.
const DIGITS: usize = 8;

/// What a refusal is to a gRPC caller: the codes of its specification.
fn code(status: StatusCode, reason: &'static str) -> &'static str {
    match (status, reason) {
        (_, reasons::QUEUE_FULL) => "8",
        (_, reasons::WOULD_MISS_DEADLINE) | (StatusCode::GATEWAY_TIMEOUT, _) => "4",
        (StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS, _) => "8",
        (StatusCode::FORBIDDEN, _) => "7",
        (StatusCode::UNAUTHORIZED, _) => "16",
        (StatusCode::NOT_IMPLEMENTED, _) => "12",
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY, _) => "14",
        _ => "13",
    }
}

/// Says why there is no answer where the caller of gRPC looks for it: in the head of an answer without messages.
pub(crate) fn tell(fields: &mut HeaderMap, status: StatusCode, reason: &'static str) {
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(STATUS, HeaderValue::from_static(code(status, reason)));
    fields.insert(MESSAGE, HeaderValue::from_static(reason));
}

/// Of `grpc-timeout`: digits and a unit.
pub(crate) fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, number) = text.split_last()?;
    let number = digits(number, DIGITS)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A number of digits alone, and not more than so many.
pub(crate) fn digits(text: &[u8], most: usize) -> Option<u64> {
    if text.is_empty() || text.len() > most {
        return None;
    }
    text.iter()
        .try_fold(0_u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}
