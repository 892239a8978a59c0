//! What a batch needs to be decided, in one statement per table, its rows locked in the order of their keys.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::FENCE;
use super::rows;
use crate::decide::{Keys, Loaded};
use crate::store::StoreError;

const REQUESTS: &str = "SELECT q.key, q.fingerprint, q.target, q.status, q.at, coalesce(q.answer, o.answer) \
     FROM requests q LEFT JOIN orders o ON q.answer IS NULL AND o.id = q.target WHERE q.key = ANY($1)";
const ORDERS: &str = "SELECT id, user_id, status, reason, shipped, version, lines, total, currency, created_at, \
     updated_at, pay_deadline FROM orders WHERE id = ANY($1) ORDER BY id FOR UPDATE";
const RESERVATIONS: &str =
    "SELECT id, state, lines, expires_at FROM reservations WHERE id = ANY($1) ORDER BY id FOR UPDATE";
const ITEMS: &str = "SELECT sku, price, currency, on_hand, reserved, confirmed, received FROM items \
     WHERE sku = ANY($1) ORDER BY sku FOR UPDATE";

/// Loads `keys`, and the items of the orders and reservations among them. What is not asked for costs no round trip.
pub(super) async fn load(connection: &mut PgConnection, keys: &Keys) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let mut skus = keys.skus.clone();
    if keys.fenced {
        // First, and locked: who has an older epoch waits here and is refused.
        let fence = sqlx::query_scalar("SELECT epoch FROM fences WHERE name = $1 FOR UPDATE").bind(FENCE);
        let fence: Option<i64> = fence.fetch_optional(&mut *connection).await.map_err(StoreError::Read)?;
        loaded.fence = fence.unwrap_or_default();
    }
    for row in by_ids(connection, ORDERS, keys.orders.iter().copied().collect()).await? {
        let order = rows::order(&row)?;
        skus.extend(order.lines.iter().map(|line| line.line.sku.clone()));
        loaded.orders.insert(order.id, order);
    }
    for row in by_ids(connection, RESERVATIONS, keys.reservations.iter().copied().collect()).await? {
        let reservation = rows::reservation(&row)?;
        skus.extend(reservation.lines.iter().map(|line| line.sku.clone()));
        loaded.reservations.insert(reservation.id, reservation);
    }
    if !skus.is_empty() {
        let skus: Vec<_> = skus.iter().map(|sku| sku.as_str().to_owned()).collect();
        let rows = sqlx::query(ITEMS).bind(skus).fetch_all(&mut *connection).await;
        for row in rows.map_err(StoreError::Read)? {
            let item = rows::item(&row)?;
            loaded.items.insert(item.sku.clone(), item);
        }
    }
    // After the locks: a twin of this request in another process has committed, or has not begun.
    if !keys.requests.is_empty() {
        let requests: Vec<_> = keys.requests.iter().map(|key| key.0.to_vec()).collect();
        let rows = sqlx::query(REQUESTS).bind(requests).fetch_all(&mut *connection).await;
        for row in rows.map_err(StoreError::Read)? {
            let (key, known) = rows::request(&row)?;
            loaded.requests.insert(key, known);
        }
    }
    Ok(loaded)
}

async fn by_ids(
    connection: &mut PgConnection,
    sql: &'static str,
    ids: Vec<i64>,
) -> Result<Vec<PgRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query(sql).bind(ids).fetch_all(connection).await.map_err(StoreError::Read)
}
