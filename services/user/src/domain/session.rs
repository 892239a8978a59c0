//! Sessions: a login, and the tokens that come from it until it ends.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

/// How long an access token is good.
pub const ACCESS_LIFE: Duration = Duration::from_hours(24);
/// How long a refresh token is good; each use gives another one.
pub const REFRESH_LIFE: Duration = Duration::from_hours(24 * 30);

/// A session as it is stored with its newest refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, `sid` in access tokens.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The user's token version when it began.
    pub token_version: i64,
    /// The fingerprint of its refresh token.
    pub fingerprint: String,
    /// When that ends, in milliseconds since 1970.
    pub expires_at: i64,
}

/// What is stored of a refresh token: SHA-256. The token has 256 random bits; nothing slower is needed.
pub fn fingerprint(token: &str) -> String {
    let hash = digest(&SHA256, token.as_bytes());
    hash.as_ref().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}
