//! Bodies of writes: JSON objects, bounded, with the fields that are expected and no others.

use axum::body::{Body, to_bytes};
use axum::extract::FromRequest;
use http::{Request, header};
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};

/// Longest body that is read.
pub const MAX_BODY: usize = 64 * 1024;

/// The JSON body of a write. Its type should refuse unknown fields (`#[serde(deny_unknown_fields)]`).
#[derive(Clone, Copy, Debug)]
pub struct Strict<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Strict<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Problem> {
        if !request.headers().get(header::CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes())) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "send the body with `content-type: application/json`",
            ));
        }
        let bytes = to_bytes(request.into_body(), MAX_BODY)
            .await
            .map_err(|_| Problem::new(Code::BodyTooLarge, "send at most 64 KiB"))?;
        parse(&bytes).map(Self)
    }
}

/// `application/json`, alone or with parameters.
fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Reads a body; what is said of a wrong one repeats none of its values: they may be secrets.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if !error.is_data() {
            return Problem::new(Code::InvalidBody, "send a whole JSON object (RFC 8259)");
        }
        let said = error.to_string();
        let field = said.split('`').nth(1).map(str::to_owned);
        let place = format!("line {}, column {}", error.line(), error.column());
        if let (true, Some(field)) = (is_about_a_field(&said), field) {
            let (what, _) = said.split_once('`').unwrap_or((&said, ""));
            return Problem::new(Code::InvalidBody, format!("{}: {place}", what.trim_end())).field(field);
        }
        let expected = said.split_once(", expected ").map_or("another value", |(_, expected)| expected);
        let expected = expected.split(" at line ").next().unwrap_or(expected);
        Problem::new(Code::InvalidBody, format!("{place}: expected {expected}"))
    })
}

/// serde's words for what names a field and no value.
fn is_about_a_field(said: &str) -> bool {
    ["unknown field `", "missing field `", "duplicate field `"].iter().any(|words| said.starts_with(words))
}
