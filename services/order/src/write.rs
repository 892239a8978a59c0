//! `POST /orders`.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use shop_common::{Caller, Code, Problem, Strict};
use shop_ledger::domain::Lines;
use shop_ledger::domain::order::lines_to_row;
use shop_ledger::{Command, Outcome, web};

use crate::App;

const ROUTE: &str = "POST /orders";
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: HeaderValue = HeaderValue::from_static("respond-async");

/// A new order. Prices are the catalogue's: there is no field for them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    lines: Vec<NewLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    sku: String,
    quantity: i64,
}

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Strict(new): Strict<NewOrder>,
) -> Result<Response, Problem> {
    let lines = Lines::new(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)))
        .map_err(|error| Problem::new(Code::InvalidField, error.to_string()).field("lines"))?;
    let canonical = || lines_to_row(lines.as_slice().iter().map(|line| (line, 0)));
    let once = web::once(&headers, &caller.user, ROUTE, canonical)?;
    if once.is_none() && app.require_key {
        let detail = "send an Idempotency-Key, so that the order can be sent again safely";
        return Err(Problem::new(Code::InvalidIdempotencyKey, detail));
    }
    let later = prefers_async(&headers);
    let origin = web::origin(&headers, &caller);
    let command = Command::Create { user: caller.user, lines, once, later, origin };
    let outcome = web::submit(&app.ledger, command).await?;
    let location = match &outcome {
        Outcome::Made { id, .. } => HeaderValue::try_from(format!("/orders/{id}")).ok(),
        _ => None,
    };
    let mut response = web::answer(outcome);
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if response.status() == http::StatusCode::ACCEPTED {
        response.headers_mut().insert(PREFERENCE_APPLIED, RESPOND_ASYNC);
    }
    Ok(response)
}

/// Whether the client would rather have an answer before its stock is held (RFC 7240).
fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    })
}
