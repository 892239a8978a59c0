//! Who has asked how often: one table of keys for all rules, in parts, each under a lock of its own.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_flow::limit::rate::{Rule, Verdict};
use shop_flow::limit::table::Table;
use siphasher::sip::SipHasher13;

use crate::telemetry::Telemetry;

/// Keys that are remembered, in all.
pub const MAX_KEYS: usize = 100_000;
/// Parts of the table.
const PARTS: usize = 16;
/// Keys of a part: an even share, and a tenth more because chance is not even.
const KEYS_OF_PART: usize = MAX_KEYS / PARTS * 11 / 10;

/// The keys of a pod.
#[derive(Debug)]
pub(super) struct Keys {
    parts: [Mutex<Table>; PARTS],
    telemetry: Arc<Telemetry>,
}

/// Makes keys of what tells callers apart: 64 bits under a secret that all pods of the service share, so that nobody can
/// choose two that collide, and pods can tell each other a key without a name.
#[derive(Clone, Debug)]
pub(super) struct KeyMaker(SipHasher13);

impl KeyMaker {
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(secret))
    }

    /// The key of some bytes under a rule.
    pub(super) fn key(&self, rule: u64, bytes: &[u8]) -> u64 {
        let mut hasher = self.0;
        hasher.write(&rule.to_le_bytes());
        hasher.write(bytes);
        hasher.finish()
    }
}

impl Keys {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::new(Table::new(KEYS_OF_PART))), telemetry }
    }

    /// Decides on a request of a key, and counts it.
    pub(super) fn take(&self, key: u64, rule: &Rule, now: Duration) -> Verdict {
        self.with(key, |table| table.state(key, now).take(rule, now))
    }

    /// Suspends a key for at least so long.
    pub(super) fn suspend(&self, key: u64, span: Duration, now: Duration) {
        self.with(key, |table| table.state(key, now).suspend(span, now));
    }

    fn with<T>(&self, key: u64, does: impl FnOnce(&mut Table) -> T) -> T {
        // The table's index goes by the lowest and the highest bits.
        let part = usize::try_from(key >> 32).unwrap_or(0) % PARTS;
        let [first, ..] = &self.parts;
        let part = self.parts.get(part).unwrap_or(first);
        let mut table = part.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (table.len(), table.forgotten());
        let done = does(&mut table);
        let metrics = &self.telemetry.metrics;
        if table.len() != before.0 {
            metrics.limiter_keys.inc();
        }
        if table.forgotten() != before.1 {
            metrics.limiter_forgotten.inc();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pods of a service must make the same key of the same user, also while they run different versions.
    #[test]
    fn a_key_is_the_same_in_every_pod_and_version() {
        let maker = KeyMaker::new(&[7; 16]);
        assert_eq!(maker.key(1, b"user-1"), KeyMaker::new(&[7; 16]).key(1, b"user-1"));
        // SipHash-1-3 of the rule's eight bytes and these.
        assert_eq!(maker.key(1, b"user-1"), 16_950_977_422_225_573_378);
        assert_ne!(maker.key(1, b"user-1"), maker.key(2, b"user-1"));
        assert_ne!(maker.key(1, b"user-1"), KeyMaker::new(&[8; 16]).key(1, b"user-1"));
    }

    /// What 100,000 keys cost, as the resident memory of this process shows it.
    #[test]
    fn a_hundred_thousand_keys_are_remembered_in_little_memory() {
        let telemetry = Arc::new(Telemetry {
            metrics: crate::telemetry::Metrics::new().unwrap(),
            window: crate::telemetry::Window::default(),
            mirrored: crate::telemetry::Window::default(),
            access_log: crate::telemetry::AccessLog::start(crate::settings::AccessLogSetting::Off).unwrap(),
            clock: crate::clock::Clock::start(),
            traces: crate::telemetry::trace::Traces::new().0,
        });
        let (keys, maker) = (Keys::new(Arc::clone(&telemetry)), KeyMaker::new(&[7; 16]));
        let rule = Rule::window(60, Duration::from_mins(1)).suspending(Duration::from_mins(5));
        let before = resident();
        for user in 0..MAX_KEYS as u64 {
            keys.take(maker.key(1, &user.to_le_bytes()), &rule, Duration::from_secs(1));
        }
        let each = resident().saturating_sub(before) / MAX_KEYS;
        println!("{each} bytes of memory for each of {MAX_KEYS} keys");
        assert_eq!(telemetry.metrics.limiter_keys.get(), i64::try_from(MAX_KEYS).unwrap());
        assert_eq!(telemetry.metrics.limiter_forgotten.get(), 0);
        // Other tests of this process need some, too.
        assert!(each <= 300, "{each} bytes");
    }

    /// In bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1_024
    }
}
