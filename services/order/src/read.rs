//! `GET /orders`, `GET /orders/{id}` and `GET /orders/{id}/events`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::{Deserialize, Serialize};
use shop_common::{Caller, Code, Problem};
use shop_ledger::domain::order::to_json;
use shop_ledger::domain::{Order, Recorded};
use shop_ledger::{Refusal, web};

use crate::App;

const MAX_LIMIT: i64 = 100;
const DEFAULT_LIMIT: i64 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// The caller's orders, the newest first. The cursor is the last order of the page before.
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|_| {
        Problem::new(Code::InvalidRequest, "the query is `limit` and `cursor`, each at most once")
    })?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let limit = given(query.limit).map_or(Some(DEFAULT_LIMIT), |text| {
        text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
    });
    let limit = limit.ok_or_else(|| {
        Problem::new(Code::InvalidLimit, "write a whole number from 1 to 100, or leave it out for 20")
    })?;
    let before = given(query.cursor).map_or(Some(i64::MAX), |text| web::id(&text));
    let before = before.ok_or_else(|| {
        Problem::new(Code::InvalidCursor, "send `next` of the page before, or leave it out to start again")
    })?;
    let read = app.ledger.read();
    let mut items =
        read.orders_of(&caller.user, before, limit + 1).await.map_err(|error| web::unread(&error))?;
    let size = usize::try_from(limit).unwrap_or_default();
    let has_more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| has_more).map(|order| order.id.to_string());
    Ok(json(&List { items, next }))
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    find(&app, &caller, &id).await.map(|order| json(&order))
}

/// What happened to an order, in order.
pub(super) async fn history(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let order = find(&app, &caller, &id).await?;
    let items: Vec<Recorded> =
        app.ledger.read().history(order.id).await.map_err(|error| web::unread(&error))?;
    Ok(json(&List { items, next: None }))
}

/// An order that the caller may see. That of somebody else is not there.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Order, Problem> {
    let none = || web::refused(Refusal::NoOrder);
    let id = web::id(id).ok_or_else(none)?;
    let order = app.ledger.read().order(id).await.map_err(|error| web::unread(&error))?;
    order.filter(|order| caller.is_staff || *order.user == *caller.user).ok_or_else(none)
}

fn json(shown: &impl Serialize) -> Response {
    ([(header::CONTENT_TYPE, web::JSON)], to_json(shown)).into_response()
}
