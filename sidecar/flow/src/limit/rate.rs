//! How often one key may ask: a sliding window or a token bucket, and a suspension for who asks more often.
//!
//! **Sliding window** ([`Rule::window`]): never more than `requests` are admitted in any span of the window's length, wherever it
//! begins. It is counted in [`SLOTS`] slots of a seventh of the window: seven of them and the one that is still open cover every
//! such span whole. The price: what was admitted counts for up to 8/7 of the window.
//!
//! **Token bucket** ([`Rule::bucket`]), as GCRA (ITU-T I.371): in any span `t` at most `burst + t * requests / window` are admitted.
//!
//! A key's state is 56 bytes. All zeros is a key that was never seen, and one that is full again decides as such a key does: it
//! may be forgotten without anybody noticing.

use std::time::Duration;

/// Slots of a sliding window: seven that are over, and the open one.
pub const SLOTS: usize = 8;
/// Slots that make a whole window.
const PARTS: u64 = SLOTS as u64 - 1;

/// How often a key may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    kind: Kind,
    /// Nanoseconds; 0: nobody is suspended.
    suspend: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `part`: a seventh of the window, in nanoseconds.
    Window { requests: u32, part: u64 },
    /// `interval`: nanoseconds after which one more may come.
    Bucket { interval: u64, burst: u32 },
}

impl Rule {
    /// At most so many in any span of this length.
    pub fn window(requests: u32, window: Duration) -> Self {
        let part = nanos(window).div_ceil(PARTS).max(1);
        Self { kind: Kind::Window { requests: requests.max(1), part }, suspend: 0 }
    }

    /// At this pace, and at most `burst` at once.
    pub fn bucket(requests: u32, window: Duration, burst: u32) -> Self {
        let interval = nanos(window).div_ceil(u64::from(requests.max(1))).max(1);
        Self { kind: Kind::Bucket { interval, burst: burst.max(1) }, suspend: 0 }
    }

    /// Who asks more often is refused for this long.
    #[must_use]
    pub fn suspending(self, suspend: Duration) -> Self {
        Self { suspend: nanos(suspend), ..self }
    }

    /// What each of so many pods admits for all of them to admit this: the limit over their number, rounded up. All together
    /// admit at most `pods - 1` more than one alone would.
    #[must_use]
    pub fn shared(self, pods: u32) -> Self {
        let pods = pods.max(1);
        let kind = match self.kind {
            Kind::Window { requests, part } => Kind::Window { requests: requests.div_ceil(pods), part },
            Kind::Bucket { interval, burst } => {
                Kind::Bucket { interval: interval.saturating_mul(pods.into()), burst: burst.div_ceil(pods) }
            }
        };
        Self { kind, ..self }
    }

    /// Most that are admitted at once.
    pub fn most(&self) -> u32 {
        match self.kind {
            Kind::Window { requests, .. } => requests,
            Kind::Bucket { burst, .. } => burst,
        }
    }

    /// How long a suspension takes; zero: there is none.
    pub fn suspension(&self) -> Duration {
        Duration::from_nanos(self.suspend)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may come.
    Admitted {
        /// So many more may come at once.
        left: u32,
        /// When the key may do all it might at first.
        whole_in: Duration,
    },
    /// It came too soon.
    Refused {
        /// When one may come again.
        retry_after: Duration,
    },
    /// It came too soon, and the key is suspended from now on.
    Suspends {
        /// When that ends.
        retry_after: Duration,
    },
    /// The key is suspended.
    Suspended {
        /// When that ends.
        retry_after: Duration,
    },
}

/// What is remembered of one key. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// From when on the key is as if it had never been seen.
    fresh_at: u64,
    /// End of the suspension.
    suspended_until: u64,
    /// Of a window: number of the newest slot. Of a bucket: when it is full again.
    mark: u64,
    /// Of a window: what was admitted in the slots up to `mark`, each at its number modulo [`SLOTS`].
    slots: [u32; SLOTS],
}

impl State {
    /// Decides on a request, and counts it if it is admitted.
    pub fn take(&mut self, rule: &Rule, now: Duration) -> Verdict {
        let now = nanos(now);
        if now < self.suspended_until {
            return Verdict::Suspended { retry_after: until(self.suspended_until, now) };
        }
        let taken = match rule.kind {
            Kind::Window { requests, part } => self.take_slot(requests, part, now),
            Kind::Bucket { interval, burst } => self.take_token(interval, burst, now),
        };
        match taken {
            Ok(left) => Verdict::Admitted { left, whole_in: until(self.fresh_at, now) },
            Err(again) if rule.suspend == 0 => Verdict::Refused { retry_after: until(again, now) },
            Err(_) => {
                self.suspend_until(now.saturating_add(rule.suspend));
                Verdict::Suspends { retry_after: rule.suspension() }
            }
        }
    }

    /// Suspends the key for at least so long: another pod has.
    pub fn suspend(&mut self, suspend: Duration, now: Duration) {
        self.suspend_until(nanos(now).saturating_add(nanos(suspend)));
    }

    /// From when on the key is as if it had never been seen.
    pub fn fresh_at(&self) -> Duration {
        Duration::from_nanos(self.fresh_at)
    }

    fn suspend_until(&mut self, until: u64) {
        self.suspended_until = self.suspended_until.max(until);
        self.fresh_at = self.fresh_at.max(until);
    }

    /// How many more may come, or when one may.
    fn take_slot(&mut self, requests: u32, part: u64, now: u64) -> Result<u32, u64> {
        let current = now / part;
        self.roll(current);
        let counted: u64 = self.slots.iter().map(|count| u64::from(*count)).sum();
        let limit = u64::from(requests);
        if counted >= limit {
            return Err(self.frees_at(counted - limit, current, part));
        }
        if let Some(slot) = self.slots.get_mut(index(current)) {
            *slot += 1;
        }
        self.fresh_at = self.fresh_at.max((current + SLOTS as u64).saturating_mul(part));
        Ok(u32::try_from(limit - counted - 1).unwrap_or(u32::MAX))
    }

    /// Forgets slots that are over for longer than a window.
    fn roll(&mut self, current: u64) {
        if current < self.mark || current - self.mark >= SLOTS as u64 {
            self.slots = [0; SLOTS];
        } else {
            for over in self.mark + 1..=current {
                if let Some(slot) = self.slots.get_mut(index(over)) {
                    *slot = 0;
                }
            }
        }
        self.mark = current;
    }

    /// When more than `excess` of what is counted is forgotten.
    fn frees_at(&self, excess: u64, current: u64, part: u64) -> u64 {
        let mut freed = 0;
        // The slot after the open one is the oldest.
        for age in (0..SLOTS as u64).rev() {
            let Some(number) = current.checked_sub(age) else { continue };
            freed += self.slots.get(index(number)).copied().map_or(0, u64::from);
            if freed > excess {
                return (number + SLOTS as u64).saturating_mul(part);
            }
        }
        (current + SLOTS as u64).saturating_mul(part)
    }

    fn take_token(&mut self, interval: u64, burst: u32, now: u64) -> Result<u32, u64> {
        let full_at = self.mark.max(now);
        let whole = interval.saturating_mul(burst.into());
        let tolerance = whole - interval.min(whole);
        if full_at - now > tolerance {
            return Err(full_at - tolerance);
        }
        self.mark = full_at.saturating_add(interval);
        self.fresh_at = self.fresh_at.max(self.mark);
        let left = whole.saturating_sub(self.mark - now) / interval;
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

fn index(slot: u64) -> usize {
    // Below the number of slots.
    usize::try_from(slot % SLOTS as u64).unwrap_or(0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn until(at: u64, now: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(now))
}

#[cfg(test)]
mod tests;
