//! What the services over the ledger share towards their clients: keys of requests, where a change comes from, and refusals as
//! problem details.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shop_common::logs::trace_ids;
use shop_common::{Caller, Code, Problem};

use axum::response::{IntoResponse, Response};

use crate::command::{Actor, Fence, Once, Origin, Outcome, Refusal};
use crate::domain::idempotency::MAX_KEY;
use crate::domain::{Fingerprint, Key, Sku};
use crate::ledger::{Ledger, Unavailable};
use crate::store::StoreError;

/// The header of a request that may be sent twice.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const RELEASE: HeaderName = HeaderName::from_static("x-shop-release");

/// The longest release that a request is pinned to.
const MAX_RELEASE: usize = 64;
/// When a client whose change found no room may come again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// JSON as it is answered.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The key of a request in its scope, with the fingerprint of its body as it is understood.
pub fn once(
    headers: &HeaderMap,
    user: &str,
    route: &str,
    canonical: impl FnOnce() -> String,
) -> Result<Option<Once>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let (Some(text), None) = (text, keys.next()) else {
        let detail = "send one Idempotency-Key of 1 to 255 visible ASCII characters";
        return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
    };
    let fingerprint = Fingerprint::of(canonical().as_bytes());
    Ok(Some(Once { key: Key::new(user, route, text), fingerprint }))
}

/// Where a request comes from.
pub fn origin(headers: &HeaderMap, caller: &Caller) -> Origin {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let trace =
        text(HeaderName::from_static("traceparent")).and_then(trace_ids).map(|(trace, _)| trace.into());
    let release = text(RELEASE).filter(|release| release.len() <= MAX_RELEASE).map(Into::into);
    Origin { actor: if caller.is_staff { Actor::Staff } else { Actor::User }, trace, release }
}

/// The number of an id, which is a text in paths and JSON.
pub fn id(text: &str) -> Option<i64> {
    text.parse().ok().filter(|id| *id > 0)
}

/// Does a change, and makes a problem of whatever keeps it from being done.
pub async fn submit(ledger: &Ledger, command: crate::Command) -> Result<Outcome, Problem> {
    match ledger.submit(command).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(refusal)) => Err(refused(refusal)),
        Err(unavailable) => Err(failed(&unavailable)),
    }
}

/// The answer of an outcome.
pub fn answer(outcome: Outcome) -> Response {
    match outcome {
        Outcome::Made { status, body, replayed, .. } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let mut response = (status, [(header::CONTENT_TYPE, JSON)], body).into_response();
            if replayed {
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            }
            response
        }
        Outcome::Order(order) => ([(header::CONTENT_TYPE, JSON)], order.to_json()).into_response(),
        Outcome::Reservation(reservation) => {
            ([(header::CONTENT_TYPE, JSON)], reservation.to_json()).into_response()
        }
    }
}

/// Why nothing could be decided.
pub fn failed(unavailable: &Unavailable) -> Problem {
    let code = match unavailable {
        Unavailable::Full => Code::Busy,
        Unavailable::Failed(_) | Unavailable::Closed => Code::StoreUnavailable,
    };
    // What the store says of itself is in the log; a client can do nothing with it.
    let detail = match unavailable {
        Unavailable::Full => "too many changes wait for the disk; nothing was done",
        _ => "whether it was done is not known; send it again with the same Idempotency-Key",
    };
    Problem::new(code, detail).retry_after(COME_AGAIN)
}

/// Why nothing could be read.
pub fn unread(error: &StoreError) -> Problem {
    tracing::error!(%error, "the ledger could not be read");
    Problem::new(Code::StoreUnavailable, "the ledger cannot be read now").retry_after(COME_AGAIN)
}

/// A refusal as a problem.
pub fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown(skus) => {
            Problem::new(Code::ItemNotFound, list("code -1: not sold here: ", &skus)).field("sku")
        }
        Refusal::SoldOut(skus) => {
            Problem::new(Code::SoldOut, list("code 0: not enough of: ", &skus)).field("sku")
        }
        Refusal::NoTotal => Problem::new(
            Code::AmountMismatch,
            "all lines of an order have one currency and a sum that can be paid",
        ),
        Refusal::KeyReused => {
            Problem::new(Code::IdempotencyKeyReused, "send another Idempotency-Key with another request")
        }
        Refusal::NoOrder => Problem::new(Code::OrderNotFound, "`GET /orders` lists your orders"),
        Refusal::NotNow(status) => {
            let detail = format!("the order is {}; nothing was done", status.as_str());
            Problem::new(Code::InvalidTransition, detail)
        }
        Refusal::WrongAmount(total) => {
            let detail = format!("{} {} are to be paid; nothing was done", total.cents, total.currency);
            Problem::new(Code::AmountMismatch, detail).field("amount")
        }
        Refusal::NoReservation => Problem::new(Code::ReservationNotFound, "no reservation has this id"),
        Refusal::Closed(state) => {
            Problem::new(Code::ReservationClosed, format!("the reservation is {}", state.as_str()))
        }
        Refusal::Over => Problem::new(Code::ReservationClosed, "the time of the reservation is over"),
        Refusal::OfAnOrder => {
            Problem::new(Code::ReservationClosed, "the pieces are held by an order and end with it")
        }
        Refusal::TooMany => {
            Problem::new(Code::InvalidField, "there would be too many pieces").field("quantity")
        }
        Refusal::Ids(error) => {
            tracing::error!(%error, "no id can be made");
            let detail = "no id can be made now; nothing was done";
            Problem::new(Code::StoreUnavailable, detail).retry_after(COME_AGAIN)
        }
        Refusal::Fenced(Fence(epoch)) => {
            Problem::new(Code::StoreUnavailable, format!("another release is active, epoch {epoch}"))
        }
    }
}

fn list(words: &str, skus: &[Sku]) -> String {
    let mut detail = words.to_owned();
    for (place, sku) in skus.iter().enumerate() {
        let _ = write!(detail, "{}{}", if place > 0 { ", " } else { "" }, sku.as_str());
    }
    detail
}
