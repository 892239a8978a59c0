//! Opening the file: its settings, and its schema brought up to date.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::{BEGIN, SqliteReader, SqliteStore};
use crate::store::StoreError;
use crate::store::schema::{self, CREATE, KNOWN_SCHEMA, SELECT, STEPS};

/// How long a write waits for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read at a time.
const READERS: u32 = 4;
/// What the writer keeps of the file in memory, in KiB (a negative number of pages says so).
const WRITER_CACHE: &str = "-32768";
/// The WAL is copied into the file when it has this many pages: 64 MiB, so that pages written often are copied once.
const CHECKPOINT_PAGES: &str = "16384";
/// Statements that the writer keeps prepared: every table's, for each number of rows.
const STATEMENTS: usize = 200;
/// Results that the writer's thread may be ahead with: all rows that a batch loads.
const ROWS_AHEAD: usize = 1024;

/// Opens the ledger in a file, made if it is missing.
pub async fn open(path: &Path) -> Result<(SqliteStore, SqliteReader), StoreError> {
    let failed = |source| StoreError::Open { place: path.display().to_string(), source };
    let base = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let writer = base
        .clone()
        .create_if_missing(true)
        .pragma("cache_size", WRITER_CACHE)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .statement_cache_capacity(STATEMENTS)
        .row_buffer_size(ROWS_AHEAD);
    let mut connection = writer.connect().await.map_err(failed)?;
    migrate(&mut connection).await?;
    let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(base.read_only(true));
    Ok((SqliteStore { connection }, SqliteReader::new(readers)))
}

/// Runs the steps that are missing, all in one transaction that excludes other writers from its beginning.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |step| move |source| StoreError::Migrate { step, source };
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed(0))?;
    sqlx::raw_sql(CREATE).execute(&mut *transaction).await.map_err(failed(0))?;
    let row = sqlx::query(SELECT).fetch_optional(&mut *transaction).await.map_err(failed(0))?;
    let mut found = (0_i64, 0_i64);
    if let Some(row) = row {
        found = (row.try_get(0).map_err(failed(0))?, row.try_get(1).map_err(failed(0))?);
    }
    if found.0 < KNOWN_SCHEMA {
        let before = found.0;
        for step in STEPS.iter().filter(|step| step.version > before) {
            sqlx::raw_sql(step.sqlite).execute(&mut *transaction).await.map_err(failed(step.version))?;
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
