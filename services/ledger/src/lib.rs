//! The shop's ledger: orders, stock, answers that may be asked for twice, and what is announced of all this. Whatever belongs
//! together is one transaction, and many of them are one commit.
//!
//! [`domain`] knows the rules, [`decide`] decides a batch in memory, [`store`] keeps it, [`ledger`] is the one writer that all of a
//! process' requests go through, [`background`] is what happens without a request, [`web`] is what services over it tell their clients.

pub mod background;
pub mod command;
pub mod decide;
pub mod domain;
pub mod ledger;
pub mod open;
pub mod role;
pub mod store;
pub mod web;

pub use command::{Actor, Command, Fence, Once, Origin, Outcome, Refusal};
pub use ledger::{Ledger, Unavailable};
pub use open::{StoreSettings, close, open};
pub use store::{Offer, Reader, StoreError};

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use domain::Millis;

/// Now, by the machine's clock.
pub fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// Where a ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a `SQLite` file.
    File(PathBuf),
    /// In a `PostgreSQL` database.
    Server(String),
}

impl std::str::FromStr for Place {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Server(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            // What is before the address may be a password: it is not repeated.
            return Err(StoreError::Address("it is no path and no postgres:// address".to_owned()));
        }
        Ok(Self::File(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_or_a_server() {
        let read = |text: &str| text.parse::<Place>();
        assert_eq!(read("data/ledger.sqlite").unwrap(), Place::File("data/ledger.sqlite".into()));
        assert_eq!(read("sqlite:x").unwrap(), Place::File("x".into()));
        assert!(matches!(read("postgres://shop@db/shop").unwrap(), Place::Server(_)));
        let error = read("mysql://root:secret@db").unwrap_err().to_string();
        assert!(error.contains("postgres://user@host/database") && !error.contains("secret"), "{error}");
    }
}
