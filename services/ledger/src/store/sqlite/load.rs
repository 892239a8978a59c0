//! What a batch needs to be decided, in one statement per table.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::FENCE;
use super::bulk::Rows;
use super::rows::{read_item, read_order, read_reservation};
use crate::decide::{Keys, Loaded};
use crate::domain::{Fingerprint, Key, Known};
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
            let (key, known) = request(row)?;
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
            let order = read_order(row)?;
            skus.extend(order.lines.iter().map(|line| line.line.sku.clone()));
            loaded.orders.insert(order.id, order);
            Ok(())
        })
        .await?;
    let reservations: Vec<_> = keys.reservations.iter().copied().collect();
    RESERVATIONS
        .select(connection, &reservations, put_id, |row| {
            let reservation = read_reservation(row)?;
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
            let item = read_item(row)?;
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

fn request(row: &SqliteRow) -> Result<(Key, Known), StoreError> {
    let bytes = |column| row.try_get::<&[u8], _>(column).map_err(StoreError::Read);
    let bad = || StoreError::Row("of requests".to_owned());
    let key = Key(bytes(0)?.try_into().map_err(|_| bad())?);
    let status = row.try_get::<i64, _>(3).map_err(StoreError::Read)?;
    let known = Known {
        fingerprint: Fingerprint(bytes(1)?.try_into().map_err(|_| bad())?),
        target: row.try_get(2).map_err(StoreError::Read)?,
        status: u16::try_from(status).map_err(|_| bad())?,
        at: row.try_get(4).map_err(StoreError::Read)?,
        answer: Bytes::copy_from_slice(bytes(5)?),
    };
    Ok((key, known))
}
