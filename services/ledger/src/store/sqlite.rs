//! The ledger in a `SQLite` file: WAL, every commit synced to the disk, one writer, many readers.

mod bulk;
mod load;
mod open;
mod write;

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection, SqlitePool};

use super::read::reading;
use super::{Decide, Offer, Store, StoreError, schema};
use crate::command::{Outcome, Refusal};
use crate::decide::Keys;
use crate::domain::Millis;
use crate::domain::ids::{LEASE, Lease, free_slot};

mod rows {
    use super::{SqlitePool, SqliteRow, StoreError, reading};
    reading!(SqliteRow, SqlitePool, SqliteReader);
}

pub use open::open;
pub use rows::SqliteReader;

/// The writing side.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
}

/// Takes the only write lock at the beginning, so that what is loaded is what is written to.
const BEGIN: &str = "BEGIN IMMEDIATE";
const FENCE: &str = "background";

impl Store for SqliteStore {
    async fn transact(
        &mut self,
        keys: &Keys,
        decide: Decide<'_>,
    ) -> Result<Vec<Result<Outcome, Refusal>>, StoreError> {
        let mut transaction = self.connection.begin_with(BEGIN).await.map_err(StoreError::Write)?;
        let loaded = load::load(&mut transaction, keys).await?;
        let decided = decide(loaded);
        if decided.writes.is_empty() {
            transaction.rollback().await.map_err(StoreError::Write)?;
        } else {
            write::write(&mut transaction, &decided.writes).await?;
            transaction.commit().await.map_err(StoreError::Write)?;
        }
        Ok(decided.outcomes)
    }

    async fn offer(&mut self, offers: &[Offer]) -> Result<(), StoreError> {
        let mut transaction = self.connection.begin_with(BEGIN).await.map_err(StoreError::Write)?;
        for offer in offers {
            let first = i64::from(offer.first_stock);
            sqlx::query(
                "INSERT INTO items (sku, price, currency, on_hand, reserved, confirmed, received) \
                 VALUES ($1, $2, $3, $4, 0, 0, $4) \
                 ON CONFLICT (sku) DO UPDATE SET price = excluded.price, currency = excluded.currency",
            )
            .bind(offer.sku.as_str())
            .bind(offer.price)
            .bind(offer.currency.as_str())
            .bind(first)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::Write)?;
        }
        transaction.commit().await.map_err(StoreError::Write)
    }

    async fn lease(&mut self, holder: &str, now: Millis) -> Result<Option<Lease>, StoreError> {
        let mut transaction = self.connection.begin_with(BEGIN).await.map_err(StoreError::Write)?;
        let rows = sqlx::query("SELECT slot, epoch, expires_at, last_ms FROM id_slots")
            .fetch_all(&mut *transaction)
            .await
            .map_err(StoreError::Read)?;
        let rows = rows.iter().map(rows::slot).collect::<Result<Vec<_>, _>>()?;
        let Some(lease) = free_slot(&rows, now) else { return Ok(None) };
        sqlx::query(
            "INSERT INTO id_slots (slot, holder, epoch, expires_at, last_ms) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (slot) DO UPDATE SET holder = excluded.holder, epoch = excluded.epoch, \
             expires_at = excluded.expires_at, last_ms = excluded.last_ms",
        )
        .bind(i64::from(lease.slot))
        .bind(holder)
        .bind(lease.epoch)
        .bind(now + LEASE)
        .bind(lease.last)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::Write)?;
        transaction.commit().await.map_err(StoreError::Write)?;
        Ok(Some(lease))
    }

    async fn renew(&mut self, lease: Lease, now: Millis) -> Result<bool, StoreError> {
        self.keep_slot(lease, now + LEASE).await
    }

    async fn give_back(&mut self, lease: Lease) -> Result<(), StoreError> {
        self.keep_slot(lease, 0).await.map(drop)
    }

    async fn next_epoch(&mut self) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "INSERT INTO fences (name, epoch) VALUES ($1, 1) \
             ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
        )
        .bind(FENCE)
        .fetch_one(&mut self.connection)
        .await
        .map_err(StoreError::Write)
    }

    async fn check_schema(&mut self) -> Result<(), StoreError> {
        let row = sqlx::query(schema::SELECT).fetch_one(&mut self.connection).await;
        let row = row.map_err(StoreError::Read)?;
        let read = |column| row.try_get(column).map_err(StoreError::Read);
        schema::check(read(0)?, read(1)?)
    }
}

impl SqliteStore {
    async fn keep_slot(&mut self, lease: Lease, until: Millis) -> Result<bool, StoreError> {
        let kept = sqlx::query(
            "UPDATE id_slots SET expires_at = $3, last_ms = max(last_ms, $4) WHERE slot = $1 AND epoch = $2",
        )
        .bind(i64::from(lease.slot))
        .bind(lease.epoch)
        .bind(until)
        .bind(lease.last)
        .execute(&mut self.connection)
        .await
        .map_err(StoreError::Write)?;
        Ok(kept.rows_affected() == 1)
    }
}
