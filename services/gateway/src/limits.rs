//! How often somebody may ask, while no sidecar sees to it: the state machines are the sidecar's.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shop_common::{Code, Problem};
use shop_flow::limit::rate::{Rule, Verdict};
use shop_flow::limit::table::Table;

use crate::domain::Network;

/// Requests of one address in a minute.
pub const PER_ADDRESS: u32 = 100;
/// Requests of one user in a second, and at once.
pub const PER_USER: u32 = 10;
/// See [`PER_USER`].
pub const BURST: u32 = 20;
/// Requests of one user in a minute; who asks more often is not answered for [`SUSPENSION`].
pub const PER_USER_AND_MINUTE: u32 = 60;
/// See [`PER_USER_AND_MINUTE`].
pub const SUSPENSION: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);
/// Addresses and users that are remembered, for each rule.
const KEYS: usize = 100_000;

/// Who may ask how often, and who may not at all.
pub struct Limits {
    address: Counted,
    burst: Counted,
    minute: Counted,
    keys: RandomState,
    allow: Vec<Network>,
    deny: Vec<Network>,
    denied_users: Vec<String>,
}

struct Counted {
    rule: Rule,
    table: Mutex<Table>,
}

impl Counted {
    fn new(rule: Rule) -> Self {
        Self { rule, table: Mutex::new(Table::new(KEYS)) }
    }

    fn take(&self, key: u64, now: Duration) -> Result<(), Problem> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.state(key, now).take(&self.rule, now) {
            Verdict::Admitted { .. } => Ok(()),
            Verdict::Refused { retry_after } => {
                let detail = "slow down: `retry-after` says when the next request may come";
                Err(Problem::new(Code::RateLimited, detail).retry_after(retry_after))
            }
            Verdict::Suspends { retry_after } | Verdict::Suspended { retry_after } => {
                let detail = "far too many requests: nothing is answered until `retry-after`";
                Err(Problem::new(Code::Suspended, detail).retry_after(retry_after))
            }
        }
    }
}

impl Limits {
    /// Addresses that are not limited, and addresses and users that are not let in.
    pub fn new(allow: Vec<Network>, deny: Vec<Network>, denied_users: Vec<String>) -> Self {
        Self {
            address: Counted::new(Rule::window(PER_ADDRESS, MINUTE)),
            burst: Counted::new(Rule::bucket(PER_USER, Duration::from_secs(1), BURST)),
            minute: Counted::new(Rule::window(PER_USER_AND_MINUTE, MINUTE).suspending(SUSPENSION)),
            keys: RandomState::new(),
            allow,
            deny,
            denied_users,
        }
    }

    /// Before anything else of a request is looked at; `now` is a time since any fixed moment.
    pub fn address(&self, address: IpAddr, now: Duration) -> Result<(), Problem> {
        if self.allow.iter().any(|network| network.contains(address)) {
            return Ok(());
        }
        if self.deny.iter().any(|network| network.contains(address)) {
            return Err(Problem::new(Code::AddressDenied, "ask the shop why"));
        }
        let key = match address {
            IpAddr::V4(address) => self.keys.hash_one(address.octets()),
            // Whoever has one address of these has all of them.
            IpAddr::V6(address) => self.keys.hash_one(address.to_bits() >> 64),
        };
        self.address.take(key, now)
    }

    /// When it is known who asks.
    pub fn user(&self, user: &str, now: Duration) -> Result<(), Problem> {
        if self.denied_users.iter().any(|denied| denied == user) {
            return Err(Problem::new(Code::AddressDenied, "ask the shop why"));
        }
        let key = self.keys.hash_one(user);
        self.burst.take(key, now)?;
        self.minute.take(key, now)
    }
}
