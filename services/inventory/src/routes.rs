//! Everything under `/inventory`. Reading an item is for everybody; the rest is for the shop and its services.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use shop_common::{Caller, Code, Problem, Strict};
use shop_ledger::domain::order::{lines_to_row, to_json};
use shop_ledger::domain::{Lines, Sku};
use shop_ledger::{Command, Ledger, Refusal, web};

/// How long pieces are held when nothing is said, in seconds.
const DEFAULT_TTL: i64 = 15 * 60;
/// The longest that pieces are held.
const MAX_TTL: i64 = 24 * 60 * 60;
/// The most pieces of one delivery.
const MAX_RESTOCK: i64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewReservation {
    lines: Vec<NewLine>,
    #[serde(default)]
    ttl_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLine {
    sku: String,
    quantity: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delivery {
    quantity: i64,
}

#[derive(Serialize)]
struct ShownItem<'a> {
    sku: &'a str,
    on_hand: i64,
    reserved: i64,
    available: i64,
}

pub(super) async fn reserve(
    State(ledger): State<Ledger>,
    caller: Caller,
    headers: HeaderMap,
    Strict(new): Strict<NewReservation>,
) -> Result<Response, Problem> {
    caller.staff()?;
    let lines = Lines::new(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)))
        .map_err(|error| Problem::new(Code::InvalidField, error.to_string()).field("lines"))?;
    let seconds = new.ttl_seconds.unwrap_or(DEFAULT_TTL);
    if !(1..=MAX_TTL).contains(&seconds) {
        return Err(Problem::new(Code::InvalidField, "1 to 86400 seconds").field("ttl_seconds"));
    }
    let canonical = || format!("{seconds}{}", lines_to_row(lines.as_slice().iter().map(|line| (line, 0))));
    let once = web::once(&headers, &caller.user, "POST /inventory/reservations", canonical)?;
    let command = Command::Reserve { lines, keep: seconds * 1000, once };
    web::submit(&ledger, command).await.map(web::answer)
}

pub(super) async fn confirm(
    State(ledger): State<Ledger>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    close(&ledger, &caller, &id, Command::Confirm).await
}

pub(super) async fn release(
    State(ledger): State<Ledger>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    close(&ledger, &caller, &id, Command::Release).await
}

async fn close(
    ledger: &Ledger,
    caller: &Caller,
    id: &str,
    command: fn(i64) -> Command,
) -> Result<Response, Problem> {
    caller.staff()?;
    let id = web::id(id).ok_or_else(|| web::refused(Refusal::NoReservation))?;
    web::submit(ledger, command(id)).await.map(web::answer)
}

pub(super) async fn reservation(
    State(ledger): State<Ledger>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.staff()?;
    let none = || web::refused(Refusal::NoReservation);
    let id = web::id(&id).ok_or_else(none)?;
    let found = ledger.read().reservation(id).await.map_err(|error| web::unread(&error))?;
    Ok(([(header::CONTENT_TYPE, web::JSON)], found.ok_or_else(none)?.to_json()).into_response())
}

pub(super) async fn item(State(ledger): State<Ledger>, Path(sku): Path<String>) -> Result<Response, Problem> {
    let none = || Problem::new(Code::ItemNotFound, "`GET /products` lists what there is");
    let sku = Sku::parse(&sku).ok_or_else(none)?;
    let found = ledger.read().item(&sku).await.map_err(|error| web::unread(&error))?;
    let stock = found.ok_or_else(none)?.stock;
    let shown = ShownItem {
        sku: sku.as_str(),
        on_hand: stock.on_hand,
        reserved: stock.reserved,
        available: stock.available(),
    };
    Ok(([(header::CONTENT_TYPE, web::JSON)], to_json(&shown)).into_response())
}

pub(super) async fn restock(
    State(ledger): State<Ledger>,
    caller: Caller,
    Path(sku): Path<String>,
    headers: HeaderMap,
    Strict(delivery): Strict<Delivery>,
) -> Result<Response, Problem> {
    caller.staff()?;
    let none = || Problem::new(Code::ItemNotFound, "`GET /products` lists what there is");
    let sku = Sku::parse(&sku).ok_or_else(none)?;
    let is_allowed = (1..=MAX_RESTOCK).contains(&delivery.quantity);
    let quantity = u32::try_from(delivery.quantity).ok().filter(|_| is_allowed).ok_or_else(|| {
        Problem::new(Code::InvalidField, "a whole number from 1 to 1000000").field("quantity")
    })?;
    let canonical = || format!("{} {quantity}", sku.as_str());
    let once = web::once(&headers, &caller.user, "POST /inventory/restock", canonical)?;
    web::submit(&ledger, Command::Restock { sku, quantity, once }).await.map(web::answer)
}
