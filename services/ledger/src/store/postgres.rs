//! The ledger in `PostgreSQL`: every batch a few statements over arrays, prepared once; its rows locked in one order by everybody.

mod load;
mod open;
mod write;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use super::read::reading;
use super::{Decide, Offer, Store, StoreError, schema};
use crate::command::{Outcome, Refusal};
use crate::decide::Keys;
use crate::domain::Millis;
use crate::domain::ids::{LEASE, Lease, free_slot};

mod rows {
    use super::{PgPool, PgRow, StoreError, reading};
    reading!(PgRow, PgPool, PostgresReader);
}

pub use open::open;
pub use rows::PostgresReader;

/// The writing side: a pool of one connection, which opens another one when the server was restarted.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

const FENCE: &str = "background";
/// Any number that nothing else locks: one process at a time looks for a free slot.
const SLOTS_LOCK: i64 = 0x5348_4f50;

impl Store for PostgresStore {
    async fn transact(
        &mut self,
        keys: &Keys,
        decide: Decide<'_>,
    ) -> Result<Vec<Result<Outcome, Refusal>>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::Write)?;
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
        let column = |of: fn(&Offer) -> String| offers.iter().map(of).collect::<Vec<_>>();
        sqlx::query(
            "INSERT INTO items (sku, price, currency, on_hand, reserved, confirmed, received) \
             SELECT sku, price, currency, first, 0, 0, first \
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS v (sku, price, currency, first) \
             ORDER BY sku \
             ON CONFLICT (sku) DO UPDATE SET price = excluded.price, currency = excluded.currency",
        )
        .bind(column(|offer| offer.sku.as_str().to_owned()))
        .bind(offers.iter().map(|offer| offer.price).collect::<Vec<_>>())
        .bind(column(|offer| offer.currency.clone()))
        .bind(offers.iter().map(|offer| i64::from(offer.first_stock)).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::Write)
    }

    async fn lease(&mut self, holder: &str, now: Millis) -> Result<Option<Lease>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::Write)?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(SLOTS_LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::Read)?;
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
             ON CONFLICT (name) DO UPDATE SET epoch = fences.epoch + 1 RETURNING epoch",
        )
        .bind(FENCE)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::Write)
    }

    async fn check_schema(&mut self) -> Result<(), StoreError> {
        let row = sqlx::query(schema::SELECT).fetch_one(&self.pool).await.map_err(StoreError::Read)?;
        let read = |column| row.try_get(column).map_err(StoreError::Read);
        schema::check(read(0)?, read(1)?)
    }
}

impl PostgresStore {
    async fn keep_slot(&mut self, lease: Lease, until: Millis) -> Result<bool, StoreError> {
        let kept = sqlx::query(
            "UPDATE id_slots SET expires_at = $3, last_ms = greatest(last_ms, $4) WHERE slot = $1 AND epoch = $2",
        )
        .bind(i64::from(lease.slot))
        .bind(lease.epoch)
        .bind(until)
        .bind(lease.last)
        .execute(&self.pool)
        .await
        .map_err(StoreError::Write)?;
        Ok(kept.rows_affected() == 1)
    }
}
