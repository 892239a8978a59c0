//! What happens to an order: each route is one event of the state machine, and who may cause it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use http::HeaderMap;
use serde::Deserialize;
use shop_common::{Caller, Code, Problem, Strict};
use shop_ledger::domain::{Event, Money};
use shop_ledger::{Command, Refusal, web};

use crate::App;

/// What was paid.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payment {
    amount: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    cents: i64,
    currency: String,
}

/// The buyer causes it, or the shop for them.
pub(super) fn by_buyer(event: Event) -> MethodRouter<App> {
    post(async move |State(app): State<App>, caller: Caller, Path(id): Path<String>, headers: HeaderMap| {
        happen(&app, &caller, &id, &headers, event, None).await
    })
}

/// The shop causes it.
pub(super) fn by_staff(event: Event) -> MethodRouter<App> {
    post(async move |State(app): State<App>, caller: Caller, Path(id): Path<String>, headers: HeaderMap| {
        caller.staff()?;
        happen(&app, &caller, &id, &headers, event, None).await
    })
}

/// The shop: who says that an order is paid has looked at the provider's signature.
pub(super) async fn pay(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Strict(payment): Strict<Payment>,
) -> Result<Response, Problem> {
    caller.staff()?;
    let Amount { cents, currency } = payment.amount;
    if cents <= 0 || currency.len() != 3 {
        let detail = "`cents` is a whole number above 0, `currency` three letters";
        return Err(Problem::new(Code::InvalidField, detail).field("amount"));
    }
    let paid = Money { cents, currency: currency.into() };
    happen(&app, &caller, &id, &headers, Event::Pay, Some(paid)).await
}

async fn happen(
    app: &App,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    event: Event,
    paid: Option<Money>,
) -> Result<Response, Problem> {
    let order = web::id(id).ok_or_else(|| web::refused(Refusal::NoOrder))?;
    let whose = (!caller.is_staff).then(|| Arc::clone(&caller.user));
    let command = Command::Move { order, event, whose, paid, origin: web::origin(headers, caller) };
    web::submit(&app.ledger, command).await.map(web::answer)
}
