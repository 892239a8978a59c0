//! The versions of the schema. Steps only add (expand) until no service needs what goes (contract): the store keeps its version
//! beside the oldest one whose services still work with it.

use super::StoreError;

/// The oldest schema that this version of the service can work with.
pub const OLDEST_SCHEMA: i64 = 1;
/// The newest schema that this version of the service knows, to which it migrates.
pub const KNOWN_SCHEMA: i64 = 1;

/// One step of the schema. It is never changed once it has been released; another one is added.
pub(super) struct Step {
    /// The version it leads to.
    pub(super) version: i64,
    /// The oldest version whose services work with it: raised by a step that takes something away.
    pub(super) oldest: i64,
    /// What it does to `SQLite`.
    pub(super) sqlite: &'static str,
    /// What it does to `PostgreSQL`.
    pub(super) postgres: &'static str,
}

/// All steps, in order.
pub(super) const STEPS: [Step; 1] = [Step {
    version: 1,
    oldest: 1,
    sqlite: include_str!("../../migrations/sqlite/0001_ledger.sql"),
    postgres: include_str!("../../migrations/postgres/0001_ledger.sql"),
}];

/// Where the two numbers are.
pub(super) const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS ledger_schema (version BIGINT NOT NULL, oldest BIGINT NOT NULL)";
/// Reads the two numbers.
pub(super) const SELECT: &str = "SELECT version, oldest FROM ledger_schema";

/// Whether a service that knows [`OLDEST_SCHEMA`] to [`KNOWN_SCHEMA`] can work with this store. Older ones are migrated first.
pub(super) fn check(found: i64, oldest: i64) -> Result<(), StoreError> {
    if found < OLDEST_SCHEMA || oldest > KNOWN_SCHEMA {
        return Err(StoreError::Schema { found, oldest });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_end_at_what_is_known() {
        for (place, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version, i64::try_from(place).unwrap() + 1);
            assert!(step.oldest <= step.version);
        }
        assert_eq!(STEPS.last().unwrap().version, KNOWN_SCHEMA);
    }

    #[test]
    fn a_newer_store_serves_as_long_as_it_only_added() {
        assert!(check(KNOWN_SCHEMA, 1).is_ok());
        assert!(check(KNOWN_SCHEMA + 5, KNOWN_SCHEMA).is_ok());
        let error = check(KNOWN_SCHEMA + 5, KNOWN_SCHEMA + 1).unwrap_err().to_string();
        assert!(error.contains("start a newer version"), "{error}");
        assert!(check(OLDEST_SCHEMA - 1, 0).is_err());
    }
}
