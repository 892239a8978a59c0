//! The catalogue's database: `SQLite`, in memory or in a file. It is read once, at start; nothing writes to it while it serves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::domain::{Catalogue, CatalogueError, Money, Product};

/// The steps of the schema, in order; the database's `user_version` counts those it has. A step is never changed, only added.
const MIGRATIONS: [&str; 2] =
    [include_str!("../migrations/0001_products.sql"), include_str!("../migrations/0002_seed.sql")];

const SELECT: &str = "SELECT sku, name, category, description, price_cents, currency FROM products";

/// How long a start waits for another one that migrates the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the catalogue could not be read; each names the step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the database {}: {source}; leave out --database to keep it in memory", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database to step {step}: {source}")]
    Migrate {
        /// The step, counted from 1.
        step: usize,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A newer version of the service has migrated the database.
    #[error(
        "the database has schema {found}, this version knows {known}: start a newer version, or use another file"
    )]
    Newer {
        /// The database's step.
        found: i64,
        /// The last step known here.
        known: usize,
    },
    /// The products cannot be read.
    #[error("cannot read the products: {0}")]
    Read(#[source] sqlx::Error),
    /// The products are not a catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Opens the database (in memory without a path), brings its schema up to date and reads all products.
pub async fn load(path: Option<&Path>) -> Result<Catalogue, StoreError> {
    let mut connection = open(path).await?;
    migrate(&mut connection).await?;
    let rows = sqlx::query(SELECT).fetch_all(&mut connection).await.map_err(StoreError::Read)?;
    let products = rows.iter().map(to_product).collect::<Result<_, _>>().map_err(StoreError::Read)?;
    connection.close().await.map_err(StoreError::Read)?;
    Ok(Catalogue::new(products)?)
}

async fn open(path: Option<&Path>) -> Result<SqliteConnection, StoreError> {
    let options = match path {
        Some(path) => SqliteConnectOptions::new().filename(path).create_if_missing(true),
        None => SqliteConnectOptions::new().in_memory(true),
    };
    let shown = path.unwrap_or(Path::new(":memory:")).to_owned();
    options
        .busy_timeout(BUSY_TIMEOUT)
        .connect()
        .await
        .map_err(|source| StoreError::Open { path: shown, source })
}

/// Runs the steps that are missing, all in one transaction that excludes other writers from its beginning.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |step| move |source| StoreError::Migrate { step, source };
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed(0))?;
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(failed(0))?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreError::Newer { found, known: MIGRATIONS.len() });
    }
    for (index, migration) in MIGRATIONS.iter().copied().enumerate().skip(done) {
        sqlx::raw_sql(migration).execute(&mut *transaction).await.map_err(failed(index + 1))?;
    }
    // A pragma takes no parameters. The text is the number of steps, nothing from outside.
    let counted = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", MIGRATIONS.len()));
    sqlx::raw_sql(counted).execute(&mut *transaction).await.map_err(failed(MIGRATIONS.len()))?;
    transaction.commit().await.map_err(failed(MIGRATIONS.len()))
}

fn to_product(row: &SqliteRow) -> Result<Product, sqlx::Error> {
    Ok(Product {
        sku: row.try_get("sku")?,
        name: row.try_get("name")?,
        category: row.try_get("category")?,
        description: row.try_get("description")?,
        price: Money { cents: row.try_get("price_cents")?, currency: row.try_get("currency")? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_seed_is_a_catalogue() {
        let catalogue = load(None).await.unwrap();
        assert_eq!(catalogue.products().len(), 120);
        let mug = catalogue.find("MUG-0001").unwrap();
        assert_eq!((mug.name.as_str(), mug.category.as_str(), mug.price.cents), ("Oak mug", "kitchen", 1666));
    }

    #[tokio::test]
    async fn a_file_is_migrated_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.sqlite");
        let first = load(Some(&path)).await.unwrap();
        let second = load(Some(&path)).await.unwrap();
        assert_eq!(first.products(), second.products());
    }

    #[tokio::test]
    async fn a_newer_schema_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.sqlite");
        let mut connection = open(Some(&path)).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        assert!(matches!(load(Some(&path)).await, Err(StoreError::Newer { found: 99, .. })));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_opened_is_named() {
        let error = load(Some(Path::new("/nowhere/at/all.sqlite"))).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.sqlite") && error.contains("--database"), "{error}");
    }
}
