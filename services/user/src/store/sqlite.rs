//! The store in `SQLite`, in memory or in a file. A commit is on the disk when it is answered.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, SqlitePool, Transaction};

use super::{
    Answer, Change, Identity, MOST_LISTED, NewUser, Revocation, Rotated, Store, StoreError, StoredKey,
};
use crate::domain::{Name, Roles, Session, User};

/// The steps of the schema, in order; the database's `user_version` counts those it has. A step is never changed, only added.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_users.sql")];
/// How long a write waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to a file; one of them writes at a time.
const CONNECTIONS: u32 = 4;

/// The columns of a user.
macro_rules! user {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, display_name, roles, token_version, created_at, password FROM users ",
            $rest
        )
    };
}

/// The store in `SQLite`.
pub struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens a file, made if it is missing, or a database in memory; brings its schema up to date.
    pub async fn open(path: Option<&Path>) -> Result<Self, StoreError> {
        let options = match path {
            Some(path) => SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal),
            None => SqliteConnectOptions::new().in_memory(true),
        };
        let options = options.synchronous(SqliteSynchronous::Full).busy_timeout(BUSY_TIMEOUT);
        let shown = path.unwrap_or(Path::new(":memory:")).to_owned();
        // What is in memory is in one connection, and gone with it.
        let pool = SqlitePoolOptions::new()
            .max_connections(if path.is_some() { CONNECTIONS } else { 1 })
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open { path: shown, source })?;
        let store = Self { pool };
        store.migrate().await?;
        Ok(store)
    }

    /// Runs the steps that are missing, all in one transaction that excludes other writers from its beginning.
    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |step| move |source| StoreError::Migrate { step, source };
        let mut transaction = self.write().await?;
        let found: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed(0))?;
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

    /// A transaction that excludes other writers from its beginning: none fails half-way because another one was quicker.
    async fn write(&self) -> Result<Transaction<'_, sqlx::Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

type Writing<'a> = Transaction<'a, sqlx::Sqlite>;

async fn insert(transaction: &mut Writing<'_>, user: &NewUser) -> Result<Option<User>, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO users (id, name, display_name, password, roles, token_version, created_at)
         VALUES ($1, $2, $3, $4, $5, 1, $6) ON CONFLICT DO NOTHING",
    )
    .bind(&user.id)
    .bind(user.name.as_str())
    .bind(&user.display_name)
    .bind(user.password.as_deref())
    .bind(user.roles.joined())
    .bind(user.created_at)
    .execute(&mut **transaction)
    .await?;
    Ok((done.rows_affected() == 1).then(|| User {
        id: user.id.clone(),
        name: user.name.as_str().to_owned(),
        display_name: user.display_name.clone(),
        roles: user.roles.clone(),
        token_version: 1,
        created_at: user.created_at,
    }))
}

async fn find(transaction: &mut Writing<'_>, id: &str) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query(user!("WHERE id = $1")).bind(id).fetch_optional(&mut **transaction).await?;
    row.as_ref().map(to_user).transpose()
}

async fn revoke(
    transaction: &mut Writing<'_>,
    subject: &str,
    below: Option<i64>,
    now: i64,
    until: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO revocations (subject, below_version, created_at, until) VALUES ($1, $2, $3, $4)
         ON CONFLICT (subject) DO UPDATE SET below_version = excluded.below_version,
         created_at = excluded.created_at, until = excluded.until",
    )
    .bind(subject)
    .bind(below)
    .bind(now)
    .bind(until)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn store_refresh(transaction: &mut Writing<'_>, session: &Session) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO refresh_tokens (fingerprint, session, user_id, token_version, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&session.fingerprint)
    .bind(&session.id)
    .bind(&session.user)
    .bind(session.token_version)
    .bind(session.expires_at)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Statements that take one value and answer nothing.
async fn run(
    transaction: &mut Writing<'_>,
    statement: &'static str,
    value: &str,
) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(statement).bind(value).execute(&mut **transaction).await?.rows_affected())
}

impl Store for Sqlite {
    fn add_user(&self, user: NewUser) -> Answer<'_, Option<User>> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            let added = insert(&mut transaction, &user).await?;
            transaction.commit().await?;
            Ok(added)
        })
    }

    fn user_of(&self, identity: Identity, new: NewUser) -> Answer<'_, User> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            let claimed = sqlx::query(
                "INSERT INTO identities (provider, app, subject, user_id) VALUES ($1, $2, $3, $4)
                 ON CONFLICT DO NOTHING",
            )
            .bind(identity.provider)
            .bind(&identity.app)
            .bind(&identity.subject)
            .bind(&new.id)
            .execute(&mut *transaction)
            .await?;
            let user = if claimed.rows_affected() == 1 {
                insert(&mut transaction, &new).await?
            } else {
                let id: String = sqlx::query_scalar(
                    "SELECT user_id FROM identities WHERE provider = $1 AND app = $2 AND subject = $3",
                )
                .bind(identity.provider)
                .bind(&identity.app)
                .bind(&identity.subject)
                .fetch_one(&mut *transaction)
                .await?;
                find(&mut transaction, &id).await?
            };
            let user = user.ok_or(sqlx::Error::RowNotFound)?;
            transaction.commit().await?;
            Ok(user)
        })
    }

    fn user<'a>(&'a self, id: &'a str) -> Answer<'a, Option<User>> {
        Box::pin(async move {
            let row = sqlx::query(user!("WHERE id = $1")).bind(id).fetch_optional(&self.pool).await?;
            Ok(row.as_ref().map(to_user).transpose()?)
        })
    }

    fn login<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<(User, Option<String>)>> {
        Box::pin(async move {
            let row =
                sqlx::query(user!("WHERE name = $1")).bind(name.as_str()).fetch_optional(&self.pool).await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some((to_user(&row)?, row.try_get("password")?)))
        })
    }

    fn password<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let found: Option<Option<String>> =
                sqlx::query_scalar("SELECT password FROM users WHERE id = $1")
                    .bind(id)
                    .fetch_optional(&self.pool)
                    .await?;
            Ok(found.flatten())
        })
    }

    fn users<'a>(&'a self, after: &'a str, limit: usize) -> Answer<'a, Vec<User>> {
        Box::pin(async move {
            let rows = sqlx::query(user!("WHERE id > $1 ORDER BY id LIMIT $2"))
                .bind(after)
                .bind(count(limit))
                .fetch_all(&self.pool)
                .await?;
            Ok(rows.iter().map(to_user).collect::<Result<_, _>>()?)
        })
    }

    fn change<'a>(&'a self, id: &'a str, change: Change, now: i64, until: i64) -> Answer<'a, Option<User>> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            sqlx::query(
                "UPDATE users SET display_name = COALESCE($2, display_name), password = COALESCE($3, password),
                 roles = COALESCE($4, roles), token_version = token_version + $5 WHERE id = $1",
            )
            .bind(id)
            .bind(change.display_name.as_deref())
            .bind(change.password.as_deref())
            .bind(change.roles.as_ref().map(Roles::joined))
            .bind(i64::from(change.ends_tokens()))
            .execute(&mut *transaction)
            .await?;
            let user = find(&mut transaction, id).await?;
            if let Some(user) = user.as_ref().filter(|_| change.ends_tokens()) {
                revoke(&mut transaction, id, Some(user.token_version), now, until).await?;
                run(&mut transaction, "DELETE FROM refresh_tokens WHERE user_id = $1", id).await?;
            }
            transaction.commit().await?;
            Ok(user)
        })
    }

    fn rehash<'a>(&'a self, id: &'a str, old: &'a str, new: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE users SET password = $3 WHERE id = $1 AND password = $2")
                .bind(id)
                .bind(old)
                .bind(new)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn remove<'a>(&'a self, id: &'a str, now: i64, until: i64) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            let removed = run(&mut transaction, "DELETE FROM users WHERE id = $1", id).await? == 1;
            if removed {
                run(&mut transaction, "DELETE FROM identities WHERE user_id = $1", id).await?;
                run(&mut transaction, "DELETE FROM refresh_tokens WHERE user_id = $1", id).await?;
                revoke(&mut transaction, id, None, now, until).await?;
            }
            transaction.commit().await?;
            Ok(removed)
        })
    }

    fn begin(&self, session: Session) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            store_refresh(&mut transaction, &session).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn rotate<'a>(
        &'a self,
        shown: &'a str,
        next: &'a str,
        now: i64,
        expires_at: i64,
        until: i64,
    ) -> Answer<'a, Rotated> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "SELECT session, user_id, token_version, used_at FROM refresh_tokens
                 WHERE fingerprint = $1 AND expires_at > $2",
            )
            .bind(shown)
            .bind(now)
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(Rotated::Unknown) };
            let (session, owner): (String, String) = (row.try_get("session")?, row.try_get("user_id")?);
            if row.try_get::<Option<i64>, _>("used_at")?.is_some() {
                end_session(&mut transaction, &session, now, until).await?;
                transaction.commit().await?;
                return Ok(Rotated::Reused);
            }
            let token_version: i64 = row.try_get("token_version")?;
            let user = find(&mut transaction, &owner).await?;
            let Some(user) = user.filter(|user| user.token_version == token_version) else {
                return Ok(Rotated::Unknown);
            };
            sqlx::query("UPDATE refresh_tokens SET used_at = $2 WHERE fingerprint = $1")
                .bind(shown)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
            let fingerprint = next.to_owned();
            let next = Session { id: session.clone(), user: owner, token_version, fingerprint, expires_at };
            store_refresh(&mut transaction, &next).await?;
            transaction.commit().await?;
            Ok(Rotated::Next { session, user })
        })
    }

    fn end<'a>(&'a self, session: &'a str, token: &'a str, now: i64, until: i64) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            end_session(&mut transaction, session, now, until).await?;
            revoke(&mut transaction, token, None, now, until).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn is_revoked<'a>(&'a self, token: &'a str, session: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM revocations WHERE subject IN ($1, $2)")
                .bind(token)
                .bind(session)
                .fetch_one(&self.pool)
                .await?;
            Ok(found > 0)
        })
    }

    fn revoked_since(&self, since: i64, now: i64) -> Answer<'_, Vec<Revocation>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT subject, below_version, created_at, until FROM revocations
                 WHERE created_at >= $1 AND until > $2 ORDER BY created_at, subject LIMIT $3",
            )
            .bind(since)
            .bind(now)
            .bind(count(MOST_LISTED))
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(to_revocation).collect::<Result<_, _>>()?)
        })
    }

    fn keys(&self, since: i64) -> Answer<'_, Vec<StoredKey>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT kid, pkcs8, created_at, live FROM signing_keys
                 WHERE live = 1 OR retired_at > $1 ORDER BY created_at DESC",
            )
            .bind(since)
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(to_key).collect::<Result<_, _>>()?)
        })
    }

    fn rotate_key(&self, key: StoredKey, due: i64) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut transaction = self.write().await?;
            sqlx::query(
                "UPDATE signing_keys SET live = NULL, retired_at = $1 WHERE live = 1 AND created_at <= $2",
            )
            .bind(key.created_at)
            .bind(due)
            .execute(&mut *transaction)
            .await?;
            // If one is live, another replica has made it.
            sqlx::query(
                "INSERT INTO signing_keys (kid, pkcs8, created_at, live) VALUES ($1, $2, $3, 1)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&key.kid)
            .bind(&key.pkcs8)
            .bind(key.created_at)
            .execute(&mut *transaction)
            .await?;
            Ok(transaction.commit().await?)
        })
    }

    fn sweep(&self, now: i64, since: i64) -> Answer<'_, ()> {
        Box::pin(async move {
            for (statement, before) in [
                ("DELETE FROM refresh_tokens WHERE expires_at <= $1", now),
                ("DELETE FROM revocations WHERE until <= $1", now),
                ("DELETE FROM signing_keys WHERE retired_at <= $1", since),
            ] {
                sqlx::query(statement).bind(before).execute(&self.pool).await?;
            }
            Ok(())
        })
    }
}

async fn end_session(
    transaction: &mut Writing<'_>,
    session: &str,
    now: i64,
    until: i64,
) -> Result<(), sqlx::Error> {
    run(transaction, "DELETE FROM refresh_tokens WHERE session = $1", session).await?;
    revoke(transaction, session, None, now, until).await
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit.min(MOST_LISTED)).unwrap_or(0)
}

fn to_user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        display_name: row.try_get("display_name")?,
        roles: Roles::split(row.try_get("roles")?),
        token_version: row.try_get("token_version")?,
        created_at: row.try_get("created_at")?,
    })
}

fn to_revocation(row: &SqliteRow) -> Result<Revocation, sqlx::Error> {
    Ok(Revocation {
        subject: row.try_get("subject")?,
        below_version: row.try_get("below_version")?,
        created_at: row.try_get("created_at")?,
        until: row.try_get("until")?,
    })
}

fn to_key(row: &SqliteRow) -> Result<StoredKey, sqlx::Error> {
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        pkcs8: row.try_get("pkcs8")?,
        created_at: row.try_get("created_at")?,
        live: row.try_get::<Option<i64>, _>("live")? == Some(1),
    })
}
