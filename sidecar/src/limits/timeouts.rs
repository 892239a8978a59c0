//! How long callers are waited for. Read where a wait begins, so that a new document counts on open connections too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shop_flow::pace;

/// How long a head may take from its first byte.
const HEADER: Duration = Duration::from_secs(10);
/// How long a connection may have no request.
const IDLE: Duration = Duration::from_hours(1);

/// In milliseconds; 0: as it is by itself.
#[derive(Debug, Default)]
pub struct Timeouts {
    header: AtomicU64,
    body: AtomicU64,
    idle: AtomicU64,
}

impl Timeouts {
    pub(super) fn set(&self, told: shop_contract::Timeouts) {
        let set = |slot: &AtomicU64, told: Option<u64>| slot.store(told.unwrap_or(0), Ordering::Relaxed);
        set(&self.header, told.header_ms);
        set(&self.body, told.body_ms);
        set(&self.idle, told.idle_ms);
    }

    /// From the first byte of a head to its last.
    pub(crate) fn header(&self) -> Duration {
        read(&self.header).unwrap_or(HEADER)
    }

    /// Of a connection without a request.
    pub(crate) fn idle(&self) -> Duration {
        read(&self.idle).unwrap_or(IDLE)
    }

    /// Of a body, before an answer to it has begun.
    pub(crate) fn body(&self) -> pace::Limits {
        // Who may wait so long for a byte may do so at the begin, too.
        read(&self.body).map_or(pace::BODY, |wait| pace::Limits { grace: wait, pause: wait })
    }
}

fn read(slot: &AtomicU64) -> Option<Duration> {
    Some(slot.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Duration::from_millis)
}
