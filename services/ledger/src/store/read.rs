//! What is read beside the writer, by many at a time. The SQL is the same for both databases, so it is written once, as a macro
//! over their types.

use futures::future::BoxFuture;

use super::{Audit, StoreError};
use crate::domain::{Item, Millis, Order, Recorded, Reservation, Sku};

/// The reading side of a store.
pub trait Reader: Send + Sync + 'static {
    /// One order.
    fn order(&self, id: i64) -> BoxFuture<'_, Result<Option<Order>, StoreError>>;
    /// The orders of a user with ids below `before`, the newest first.
    fn orders_of<'a>(
        &'a self,
        user: &'a str,
        before: i64,
        limit: i64,
    ) -> BoxFuture<'a, Result<Vec<Order>, StoreError>>;
    /// What happened to an order, in order.
    fn history(&self, order: i64) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>>;
    /// One item.
    fn item<'a>(&'a self, sku: &'a Sku) -> BoxFuture<'a, Result<Option<Item>, StoreError>>;
    /// One reservation.
    fn reservation(&self, id: i64) -> BoxFuture<'_, Result<Option<Reservation>, StoreError>>;
    /// Orders that were accepted for later, the oldest first.
    fn to_settle(&self, limit: i64) -> BoxFuture<'_, Result<Vec<i64>, StoreError>>;
    /// Orders whose deadline for paying has passed.
    fn due(&self, now: Millis, limit: i64) -> BoxFuture<'_, Result<Vec<i64>, StoreError>>;
    /// Reservations without an order whose time is over.
    fn due_reservations(&self, now: Millis, limit: i64) -> BoxFuture<'_, Result<Vec<i64>, StoreError>>;
    /// Checks all books. Reads everything.
    fn audit(&self) -> BoxFuture<'_, Result<Audit, StoreError>>;
}

/// The columns of an order, as [`reading`] takes them apart.
pub(super) const ORDER: &str = "id, user_id, status, reason, shipped, version, lines, total, currency, created_at, updated_at, pay_deadline";
/// The columns of an item.
pub(super) const ITEM: &str = "sku, price, currency, on_hand, reserved, confirmed, received";
/// The columns of a reservation.
pub(super) const RESERVATION: &str = "id, state, lines, expires_at";
/// The columns of an event.
pub(super) const EVENT: &str = "order_id, seq, event, from_status, to_status, actor, at, trace, release";

/// Rows of one database as the domain's types, and a [`Reader`] over its pool.
macro_rules! reading {
    ($row:ty, $pool:ty, $reader:ident) => {
        use std::sync::Arc;

        use bytes::Bytes;
        use futures::future::BoxFuture;
        use sqlx::Row as _;

        use crate::domain::ids::SlotRow;
        use crate::domain::order::{lines_from_row, Order, Recorded};
        use crate::domain::{
            Fingerprint, Item, Key, Known, Millis, Money, PricedLine, Reason, Reservation, ReservationState, Sku, Status, Stock,
        };
        use crate::store::audit::{Audit, Auditor};
        use crate::store::read::{EVENT, ITEM, ORDER, RESERVATION, Reader};

        fn text(row: &$row, column: usize) -> Result<Arc<str>, StoreError> {
            row.try_get::<&str, _>(column).map(Into::into).map_err(StoreError::Read)
        }

        fn number(row: &$row, column: usize) -> Result<i64, StoreError> {
            row.try_get(column).map_err(StoreError::Read)
        }

        fn maybe(row: &$row, column: usize) -> Result<Option<i64>, StoreError> {
            row.try_get(column).map_err(StoreError::Read)
        }

        fn bad(table: &str, id: impl std::fmt::Display) -> StoreError {
            StoreError::Row(format!("{id} of {table}"))
        }

        pub(super) fn order(row: &$row) -> Result<Order, StoreError> {
            let id = number(row, 0)?;
            let lines = row.try_get::<&str, _>(6).map_err(StoreError::Read)?;
            Ok(Order {
                id,
                user: text(row, 1)?,
                status: Status::from_number(number(row, 2)?).ok_or_else(|| bad("orders", id))?,
                reason: maybe(row, 3)?.and_then(Reason::from_number),
                shipped: number(row, 4)? != 0,
                version: number(row, 5)?,
                lines: lines_from_row(lines).ok_or_else(|| bad("orders", id))?,
                total: Money { cents: number(row, 7)?, currency: text(row, 8)? },
                created_at: number(row, 9)?,
                updated_at: number(row, 10)?,
                pay_deadline: maybe(row, 11)?,
            })
        }

        pub(super) fn item(row: &$row) -> Result<Item, StoreError> {
            let name = text(row, 0)?;
            Ok(Item {
                sku: Sku::parse(&name).ok_or_else(|| bad("items", name))?,
                price: number(row, 1)?,
                currency: text(row, 2)?,
                stock: Stock {
                    on_hand: number(row, 3)?,
                    reserved: number(row, 4)?,
                    confirmed: number(row, 5)?,
                    received: number(row, 6)?,
                },
                changed: false,
            })
        }

        pub(super) fn reservation(row: &$row) -> Result<Reservation, StoreError> {
            let id = number(row, 0)?;
            let lines = row.try_get::<&str, _>(2).map_err(StoreError::Read)?;
            let lines = lines_from_row(lines).ok_or_else(|| bad("reservations", id))?;
            Ok(Reservation {
                id,
                state: ReservationState::from_number(number(row, 1)?)
                    .ok_or_else(|| bad("reservations", id))?,
                lines: lines.into_iter().map(|PricedLine { line, .. }| line).collect(),
                expires_at: maybe(row, 3)?,
            })
        }

        /// A key and what it was answered, from key, fingerprint, target, status, time and answer.
        pub(super) fn request(row: &$row) -> Result<(Key, Known), StoreError> {
            let bytes = |column| row.try_get::<&[u8], _>(column).map_err(StoreError::Read);
            let bad = || StoreError::Row("of requests".to_owned());
            let key = Key(bytes(0)?.try_into().map_err(|_| bad())?);
            let known = Known {
                fingerprint: Fingerprint(bytes(1)?.try_into().map_err(|_| bad())?),
                target: number(row, 2)?,
                status: u16::try_from(number(row, 3)?).map_err(|_| bad())?,
                at: number(row, 4)?,
                answer: Bytes::copy_from_slice(bytes(5)?),
            };
            Ok((key, known))
        }

        /// A slot, from its number, epoch, end and last time.
        pub(super) fn slot(row: &$row) -> Result<SlotRow, StoreError> {
            let slot = number(row, 0)?;
            let slot = u16::try_from(slot).map_err(|_| bad("id_slots", slot))?;
            Ok(SlotRow { slot, epoch: number(row, 1)?, expires_at: number(row, 2)?, last: number(row, 3)? })
        }

        fn recorded(row: &$row) -> Result<Recorded, StoreError> {
            let order = number(row, 0)?;
            let optional = |column| {
                row.try_get::<Option<&str>, _>(column)
                    .map(|text| text.map(Into::into))
                    .map_err(StoreError::Read)
            };
            Ok(Recorded {
                order,
                seq: number(row, 1)?,
                event: text(row, 2)?,
                from: maybe(row, 3)?.and_then(Status::from_number),
                to: Status::from_number(number(row, 4)?).ok_or_else(|| bad("order_events", order))?,
                actor: text(row, 5)?,
                at: number(row, 6)?,
                trace: optional(7)?,
                release: optional(8)?,
            })
        }

        /// Reads by several connections.
        #[derive(Clone, Debug)]
        pub struct $reader {
            pool: $pool,
        }

        impl $reader {
            pub(super) const fn new(pool: $pool) -> Self {
                Self { pool }
            }

            async fn ids(
                &self,
                sql: &'static str,
                before: Option<Millis>,
                limit: i64,
            ) -> Result<Vec<i64>, StoreError> {
                let mut query = sqlx::query_scalar(sql).bind(limit);
                if let Some(before) = before {
                    query = query.bind(before);
                }
                query.fetch_all(&self.pool).await.map_err(StoreError::Read)
            }

            async fn sum(&self, sql: &'static str) -> Result<i64, StoreError> {
                sqlx::query_scalar(sql).fetch_one(&self.pool).await.map_err(StoreError::Read)
            }

            async fn each(
                &self,
                sql: String,
                mut take: impl FnMut(&$row) -> Result<(), StoreError>,
            ) -> Result<(), StoreError> {
                use futures::TryStreamExt as _;
                // Names of columns and tables only, nothing from outside.
                let mut rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch(&self.pool);
                while let Some(row) = rows.try_next().await.map_err(StoreError::Read)? {
                    take(&row)?;
                }
                Ok(())
            }

            async fn check_all(&self) -> Result<Audit, StoreError> {
                let mut auditor = Auditor::default();
                self.each(format!("SELECT {ITEM} FROM items"), |row| Ok(auditor.item(&item(row)?))).await?;
                self.each(format!("SELECT {RESERVATION} FROM reservations"), |row| {
                    Ok(auditor.reservation(&reservation(row)?))
                })
                .await?;
                self.each(format!("SELECT {ORDER} FROM orders ORDER BY id"), |row| {
                    Ok(auditor.order(&order(row)?))
                })
                .await?;
                for (fault, sql) in crate::store::audit::COUNTED {
                    auditor.counted(fault, self.sum(sql).await?);
                }
                Ok(auditor.finish())
            }
        }

        impl Reader for $reader {
            fn order(&self, id: i64) -> BoxFuture<'_, Result<Option<Order>, StoreError>> {
                Box::pin(async move {
                    let sql = concat!(
                        "SELECT id, user_id, status, reason, shipped, version, lines, total, currency, ",
                        "created_at, updated_at, pay_deadline FROM orders WHERE id = $1"
                    );
                    let row = sqlx::query(sql).bind(id).fetch_optional(&self.pool).await;
                    row.map_err(StoreError::Read)?.as_ref().map(order).transpose()
                })
            }

            fn orders_of<'a>(
                &'a self,
                user: &'a str,
                before: i64,
                limit: i64,
            ) -> BoxFuture<'a, Result<Vec<Order>, StoreError>> {
                Box::pin(async move {
                    let sql = format!(
                        "SELECT {ORDER} FROM orders WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
                    );
                    let query =
                        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user).bind(before).bind(limit);
                    let rows = query.fetch_all(&self.pool).await.map_err(StoreError::Read)?;
                    rows.iter().map(order).collect()
                })
            }

            fn history(&self, order: i64) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
                Box::pin(async move {
                    let sql = format!("SELECT {EVENT} FROM order_events WHERE order_id = $1 ORDER BY seq");
                    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(order);
                    let rows = query.fetch_all(&self.pool).await.map_err(StoreError::Read)?;
                    rows.iter().map(recorded).collect()
                })
            }

            fn item<'a>(&'a self, sku: &'a Sku) -> BoxFuture<'a, Result<Option<Item>, StoreError>> {
                Box::pin(async move {
                    let sql = format!("SELECT {ITEM} FROM items WHERE sku = $1");
                    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(sku.as_str());
                    let row = query.fetch_optional(&self.pool).await.map_err(StoreError::Read)?;
                    row.as_ref().map(item).transpose()
                })
            }

            fn reservation(&self, id: i64) -> BoxFuture<'_, Result<Option<Reservation>, StoreError>> {
                Box::pin(async move {
                    let sql = format!("SELECT {RESERVATION} FROM reservations WHERE id = $1");
                    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id);
                    let row = query.fetch_optional(&self.pool).await.map_err(StoreError::Read)?;
                    row.as_ref().map(reservation).transpose()
                })
            }

            fn to_settle(&self, limit: i64) -> BoxFuture<'_, Result<Vec<i64>, StoreError>> {
                Box::pin(self.ids("SELECT id FROM orders WHERE status = 0 ORDER BY id LIMIT $1", None, limit))
            }

            fn due(&self, now: Millis, limit: i64) -> BoxFuture<'_, Result<Vec<i64>, StoreError>> {
                let sql = "SELECT id FROM orders WHERE status = 1 AND pay_deadline <= $2 ORDER BY pay_deadline LIMIT $1";
                Box::pin(self.ids(sql, Some(now), limit))
            }

            fn due_reservations(
                &self,
                now: Millis,
                limit: i64,
            ) -> BoxFuture<'_, Result<Vec<i64>, StoreError>> {
                let sql = "SELECT id FROM reservations WHERE state = 0 AND expires_at IS NOT NULL AND expires_at <= $2 ORDER BY expires_at LIMIT $1";
                Box::pin(self.ids(sql, Some(now), limit))
            }

            fn audit(&self) -> BoxFuture<'_, Result<Audit, StoreError>> {
                Box::pin(self.check_all())
            }
        }
    };
}

pub(super) use reading;
