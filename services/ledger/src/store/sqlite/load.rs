//! What a batch needs to be decided, in one statement per table.

use sqlx::SqliteConnection;

use super::FENCE;
use super::bulk::Rows;
use super::rows;
use crate::decide::{Keys, Loaded};
use crate::domain::Key;
use crate::store::StoreError;

static REQUESTS: Rows = Rows::new(
    "SELECT q.key, q.fingerprint, q.target, q.status, q.at, coalesce(q.answer, o.answer) \
     FROM requests q LEFT JOIN orders o ON q.answer IS NULL AND o.id = q.target WHERE q.key IN (",
    "?",
    ")",
);
static ORDERS: Rows = Rows::new(
    "SELECT id, user_id, status, reason, shipped, version, lines, total, currency, created_at, updated_at, \
     pay_deadline FROM orders WHERE id IN (",
    "?",
    ")",
);
static RESERVATIONS: Rows =
    Rows::new("SELECT id, state, lines, expires_at FROM reservations WHERE id IN (", "?", ")");
static ITEMS: Rows = Rows::new(
    "SELECT sku, price, currency, on_hand, reserved, confirmed, received FROM items WHERE sku IN (",
    "?",
    ")",
);

/// Loads `keys`, and the items of the orders and reservations among them.
pub(super) async fn load(connection: &mut SqliteConnection, keys: &Keys) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let mut skus = keys.skus.clone();
    let requests: Vec<_> = keys.requests.iter().copied().collect();
    let put_key = |key: &Key, bound: &mut super::bulk::Bound| {
        bound.put(key.0.to_vec());
    };
    REQUESTS
        .select(connection, &requests, put_key, |row| {
            let (key, known) = rows::request(row)?;
            loaded.requests.insert(key, known);
            Ok(())
        })
        .await?;
    let put_id = |id: &i64, bound: &mut super::bulk::Bound| {
        bound.put(*id);
    };
    let orders: Vec<_> = keys.orders.iter().copied().collect();
    ORDERS
        .select(connection, &orders, put_id, |row| {
            let order = rows::order(row)?;
            skus.extend(order.lines.iter().map(|line| line.line.sku.clone()));
            loaded.orders.insert(order.id, order);
            Ok(())
        })
        .await?;
    let reservations: Vec<_> = keys.reservations.iter().copied().collect();
    RESERVATIONS
        .select(connection, &reservations, put_id, |row| {
            let reservation = rows::reservation(row)?;
            skus.extend(reservation.lines.iter().map(|line| line.sku.clone()));
            loaded.reservations.insert(reservation.id, reservation);
            Ok(())
        })
        .await?;
    let put_sku = |sku: &crate::domain::Sku, bound: &mut super::bulk::Bound| {
        bound.put(sku.as_str().to_owned());
    };
    let skus: Vec<_> = skus.into_iter().collect();
    ITEMS
        .select(connection, &skus, put_sku, |row| {
            let item = rows::item(row)?;
            loaded.items.insert(item.sku.clone(), item);
            Ok(())
        })
        .await?;
    if keys.fenced {
        let fence = sqlx::query_scalar("SELECT epoch FROM fences WHERE name = $1").bind(FENCE);
        let fence: Option<i64> = fence.fetch_optional(connection).await.map_err(StoreError::Read)?;
        loaded.fence = fence.unwrap_or_default();
    }
    Ok(loaded)
}
