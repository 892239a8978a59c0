//! Connecting to the server, and its schema brought up to date.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Row as _};

use super::{PostgresReader, PostgresStore};
use crate::store::StoreError;
use crate::store::schema::{self, CREATE, KNOWN_SCHEMA, SELECT, STEPS};

/// Connections that read at a time.
const READERS: u32 = 4;
/// How long is waited for a connection, a restart of the server included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Any number that nothing else locks: one process at a time migrates.
const MIGRATION_LOCK: i64 = 0x4d49_4752;

/// Opens the ledger in a database.
pub async fn open(url: &str) -> Result<(PostgresStore, PostgresReader), StoreError> {
    // What the parser says may repeat the address with its password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Address("it is no postgres:// address".to_owned()))?
        .application_name("shop-ledger");
    let place = format!("{}/{}", options.get_host(), options.get_database().unwrap_or("postgres"));
    let pool = |connections| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_WITHIN)
            // One round trip less per batch; a connection that is gone fails one batch and is opened anew.
            .test_before_acquire(false)
    };
    let writer = pool(1).connect_with(options.clone()).await;
    let writer = writer.map_err(|source| StoreError::Open { place, source })?;
    migrate(&writer).await?;
    let readers = pool(READERS).connect_lazy_with(options);
    Ok((PostgresStore { pool: writer }, PostgresReader::new(readers)))
}

/// Runs the steps that are missing, all in one transaction, one process at a time.
async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let failed = |step| move |source| StoreError::Migrate { step, source };
    let mut transaction = pool.begin().await.map_err(failed(0))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed(0))?;
    sqlx::raw_sql(CREATE).execute(&mut *transaction).await.map_err(failed(0))?;
    let row = sqlx::query(SELECT).fetch_optional(&mut *transaction).await.map_err(failed(0))?;
    let mut found = (0_i64, 0_i64);
    if let Some(row) = row {
        found = (row.try_get(0).map_err(failed(0))?, row.try_get(1).map_err(failed(0))?);
    }
    if found.0 < KNOWN_SCHEMA {
        let before = found.0;
        for step in STEPS.iter().filter(|step| step.version > before) {
            sqlx::raw_sql(step.postgres).execute(&mut *transaction).await.map_err(failed(step.version))?;
            found = (step.version, step.oldest);
        }
        sqlx::raw_sql("DELETE FROM ledger_schema")
            .execute(&mut *transaction)
            .await
            .map_err(failed(found.0))?;
        sqlx::query("INSERT INTO ledger_schema (version, oldest) VALUES ($1, $2)")
            .bind(found.0)
            .bind(found.1)
            .execute(&mut *transaction)
            .await
            .map_err(failed(found.0))?;
    }
    transaction.commit().await.map_err(failed(found.0))?;
    schema::check(found.0, found.1)
}
