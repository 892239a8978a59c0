//! How often one may try to log in with a name: a few times without success, then not for a while. Whether there is such a name
//! makes no difference. Each replica counts for itself, in bounded memory.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shop_flow::limit::rate::{Rule, State, Verdict};
use shop_flow::limit::table::Table;

use crate::domain::Name;

/// Attempts without a success that are looked at in [`WINDOW`].
pub const ATTEMPTS: u32 = 5;
const WINDOW: Duration = Duration::from_mins(15);
/// How long none is looked at then.
pub const PAUSE: Duration = Duration::from_mins(5);
/// Names that are remembered.
const NAMES: usize = 20_000;

/// The attempts of all names.
pub struct Attempts {
    rule: Rule,
    /// Nobody can choose names that share a place.
    keys: RandomState,
    table: Mutex<Table>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            rule: Rule::window(ATTEMPTS, WINDOW).suspending(PAUSE),
            keys: RandomState::new(),
            table: Mutex::new(Table::new(NAMES)),
        }
    }
}

impl Attempts {
    /// Counts an attempt before it is looked at; if it must not be, says when the next one may.
    pub fn begin(&self, name: &Name, now: Duration) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.state(self.keys.hash_one(name.as_str()), now).take(&self.rule, now) {
            Verdict::Admitted { .. } => Ok(()),
            Verdict::Refused { retry_after }
            | Verdict::Suspends { retry_after }
            | Verdict::Suspended { retry_after } => Err(retry_after),
        }
    }

    /// One succeeded: those before it do not count any more.
    pub fn succeeded(&self, name: &Name, now: Duration) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table.state(self.keys.hash_one(name.as_str()), now) = State::default();
    }
}
