//! Where users, sessions and keys are kept: a trait, and `SQLite` behind it. What a method does, it does in one transaction.

mod sqlite;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::domain::{Name, Roles, Session, User};

pub use sqlite::Sqlite;

/// Most users and revocations of one answer.
pub const MOST_LISTED: usize = 1_000;

/// Why the store did not do it; each names the step.
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
    /// A statement failed.
    #[error("the database failed: {0}")]
    Statement(#[from] sqlx::Error),
}

/// An answer of the store, when it comes.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A user that is not stored yet.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its id.
    pub id: String,
    /// What it logs in with.
    pub name: Name,
    /// How others call it.
    pub display_name: String,
    /// A PHC string.
    pub password: Option<String>,
    /// What it may do.
    pub roles: Roles,
    /// Now, in milliseconds since 1970.
    pub created_at: i64,
}

/// What changes of a user; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// How others call it.
    pub display_name: Option<String>,
    /// A PHC string; ends all tokens.
    pub password: Option<String>,
    /// What it may do; ends all tokens.
    pub roles: Option<Roles>,
}

impl Change {
    /// Whether tokens made before it would say or do something else than it wants.
    pub fn ends_tokens(&self) -> bool {
        self.password.is_some() || self.roles.is_some()
    }
}

/// An account at a provider.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Which provider.
    pub provider: &'static str,
    /// Which app of ours there.
    pub app: String,
    /// Who, there.
    pub subject: String,
}

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It was good, and is used now; the next one is stored.
    Next {
        /// The session that goes on.
        session: String,
        /// Its user as it is now.
        user: User,
    },
    /// It was used before: its session is over.
    Reused,
    /// It is unknown, expired, or of a user that is gone or has ended its tokens.
    Unknown,
}

/// An access token, a session or a user's older tokens that are not good any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The id of the token, session or user.
    pub subject: String,
    /// Of a user: tokens of a lower version; absent: all of them.
    pub below_version: Option<i64>,
    /// When it was revoked.
    pub created_at: i64,
    /// When the last such token ends by itself.
    pub until: i64,
}

/// A key that signs or signed tokens.
#[derive(Clone)]
pub struct StoredKey {
    /// Its id.
    pub kid: String,
    /// PKCS #8, in base64.
    pub pkcs8: String,
    /// When it was made.
    pub created_at: i64,
    /// Whether it signs now.
    pub live: bool,
}

/// Where users, sessions and keys are kept. Times are milliseconds since 1970.
pub trait Store: Send + Sync {
    /// Adds a user; `None`: another one has the name.
    fn add_user(&self, user: NewUser) -> Answer<'_, Option<User>>;
    /// The user of an account at a provider; makes it if it is the first time, once even if two come at a time.
    fn user_of(&self, identity: Identity, new: NewUser) -> Answer<'_, User>;
    /// A user.
    fn user<'a>(&'a self, id: &'a str) -> Answer<'a, Option<User>>;
    /// A user by name, with its PHC string.
    fn login<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<(User, Option<String>)>>;
    /// A user's PHC string.
    fn password<'a>(&'a self, id: &'a str) -> Answer<'a, Option<String>>;
    /// Users after this id, in the order in which they came.
    fn users<'a>(&'a self, after: &'a str, limit: usize) -> Answer<'a, Vec<User>>;
    /// Changes a user; tokens that it ends are revoked until `until`.
    fn change<'a>(&'a self, id: &'a str, change: Change, now: i64, until: i64) -> Answer<'a, Option<User>>;
    /// Stores a better hash of the same password; nothing else changes.
    fn rehash<'a>(&'a self, id: &'a str, old: &'a str, new: &'a str) -> Answer<'a, ()>;
    /// Removes a user with all that is its; its tokens are revoked until `until`.
    fn remove<'a>(&'a self, id: &'a str, now: i64, until: i64) -> Answer<'a, bool>;
    /// Stores the first refresh token of a session.
    fn begin(&self, session: Session) -> Answer<'_, ()>;
    /// Uses a refresh token for another one. A second use ends the session, whose access tokens are revoked until `until`.
    fn rotate<'a>(
        &'a self,
        used: &'a str,
        next: &'a str,
        now: i64,
        expires_at: i64,
        until: i64,
    ) -> Answer<'a, Rotated>;
    /// Ends a session: its refresh tokens go, these ids (of the session and of a token of it) are revoked until `until`.
    fn end<'a>(&'a self, session: &'a str, token: &'a str, now: i64, until: i64) -> Answer<'a, ()>;
    /// Whether one of these ids (of a token, of its session) is revoked.
    fn is_revoked<'a>(&'a self, token: &'a str, session: &'a str) -> Answer<'a, bool>;
    /// What was revoked since then and is not over, at most [`MOST_LISTED`].
    fn revoked_since(&self, since: i64, now: i64) -> Answer<'_, Vec<Revocation>>;
    /// Keys that sign, or signed tokens which may still be good: retired after `since`; the newest first.
    fn keys(&self, since: i64) -> Answer<'_, Vec<StoredKey>>;
    /// Makes this the key that signs, unless one made after `due` does already.
    fn rotate_key(&self, key: StoredKey, due: i64) -> Answer<'_, ()>;
    /// Forgets what is over: expired tokens and revocations, and keys retired before `since`.
    fn sweep(&self, now: i64, since: i64) -> Answer<'_, ()>;
}
