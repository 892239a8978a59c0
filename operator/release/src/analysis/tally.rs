//! Requests of a revision, added up over its pods: from counters that start anew with each sidecar to numbers that only rise.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// Requests that were counted. Counters of a sidecar only rise while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that ended.
    pub requests: u64,
    /// Of those, failed.
    pub failures: u64,
    /// Upper bounds of the buckets of durations, in microseconds, rising.
    pub bounds_us: Vec<u64>,
    /// Requests in each bucket; the last, one more than bounds, is beyond all of them.
    pub counts: Vec<u64>,
}

impl Counters {
    /// Requests whose duration was counted.
    pub fn timed(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Requests that took longer than the bound.
    pub fn beyond(&self, bound_us: u64) -> u64 {
        let bounds = self.bounds_us.iter().copied().chain([u64::MAX]);
        let slow = bounds.zip(&self.counts).filter(|(upper, _)| *upper > bound_us);
        slow.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The first bound that is not below a duration, so that nothing within the duration counts as beyond it.
    pub fn bound_at(&self, duration_us: u64) -> Option<u64> {
        self.bounds_us.iter().copied().find(|bound| *bound >= duration_us)
    }

    /// The bound within which 99 of 100 requests ended; `None` where there is none.
    pub fn p99_bound_us(&self) -> Option<u64> {
        let timed = self.timed();
        let within = |bound: &u64| self.beyond(*bound).saturating_mul(100) <= timed;
        self.bounds_us.iter().copied().find(within).filter(|_| timed > 0)
    }

    /// What came since an earlier reading; `None`: this is another sidecar's, or one's after its restart.
    fn since(&self, earlier: &Self) -> Option<Self> {
        if self.bounds_us != earlier.bounds_us || self.counts.len() != earlier.counts.len() {
            return None;
        }
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.checked_sub(*then));
        Some(Self {
            requests: self.requests.checked_sub(earlier.requests)?,
            failures: self.failures.checked_sub(earlier.failures)?,
            bounds_us: self.bounds_us.clone(),
            counts: counts.collect::<Option<_>>()?,
        })
    }

    /// Adds more. Durations in other buckets than the first ones had are left out: they cannot be compared.
    fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.failures = self.failures.saturating_add(more.failures);
        if self.counts.is_empty() {
            self.bounds_us.clone_from(&more.bounds_us);
            self.counts.clone_from(&more.counts);
        } else if self.bounds_us == more.bounds_us && self.counts.len() == more.counts.len() {
            for (sum, count) in self.counts.iter_mut().zip(&more.counts) {
                *sum = sum.saturating_add(*count);
            }
        }
    }
}

/// What one pod's sidecar has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests of users.
    pub users: Counters,
    /// Copies of requests.
    pub mirrored: Counters,
    /// Requests that it handed over to the other revision, and that none of its pods answered: in no other number.
    pub unanswered: u64,
}

impl Reading {
    /// What came since an earlier reading; `None`: this is another sidecar's, or one's after its restart.
    fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            users: self.users.since(&earlier.users)?,
            mirrored: self.mirrored.since(&earlier.mirrored)?,
            unanswered: self.unanswered.checked_sub(earlier.unanswered)?,
        })
    }

    fn add(&mut self, more: &Self) {
        self.users.add(&more.users);
        self.mirrored.add(&more.mirrored);
        self.unanswered = self.unanswered.saturating_add(more.unanswered);
    }
}

/// What a revision's pods have counted since an analysis began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of the revision.
    pub revision: i64,
    /// When the analysis began that this is counted for: `since` in its status.
    pub run: Timestamp,
    /// Since then, pods that are gone included.
    pub counted: Reading,
    /// What its pods had counted before, as long as they live.
    pub before: Reading,
    /// Ready pods whose sidecar did not answer the last time.
    pub silent: u32,
    /// When a pod left last and has not come back, or its sidecar started anew: what it counted after the last reading is unknown.
    pub lost: Option<Timestamp>,
}

/// Adds readings of pods up. Never counts anything twice, and never forgets what a pod that is gone has counted.
#[derive(Debug, Default)]
pub struct Ledger {
    run: Timestamp,
    revisions: BTreeMap<i64, Page>,
}

#[derive(Debug, Default)]
struct Page {
    tally: Tally,
    // The last reading of each pod, by uid.
    last: BTreeMap<String, Reading>,
    // Pods that were there at the first round and have not been read: what they counted before does not count.
    unread: BTreeSet<String>,
    present: BTreeSet<String>,
    // Pods that have left, and when: what they counted after their last reading is unknown, unless they come back.
    gone: BTreeMap<String, Timestamp>,
    // When a sidecar was last seen to have started anew.
    reset: Option<Timestamp>,
    begun: bool,
}

/// Pods that are remembered to have left, at most.
const GONE: usize = 256;

impl Ledger {
    /// An empty one, for the analysis that began then.
    pub fn new(run: Timestamp) -> Self {
        Self { run, revisions: BTreeMap::new() }
    }

    /// The analysis that is counted for.
    pub fn run(&self) -> Timestamp {
        self.run
    }

    /// Takes a round of readings of a revision's ready pods, by uid; `None`: its sidecar did not answer.
    pub fn round(&mut self, revision: i64, readings: &[(String, Option<Reading>)], at: Timestamp) {
        let run = self.run;
        let page = self.revisions.entry(revision).or_default();
        page.tally.revision = revision;
        page.tally.run = run;
        let present: BTreeSet<String> = readings.iter().map(|(uid, _)| uid.clone()).collect();
        if !std::mem::replace(&mut page.begun, true) {
            page.unread.clone_from(&present);
        }
        let left = page.present.difference(&present).cloned();
        page.gone.extend(left.map(|uid| (uid, at)));
        page.present = present;
        page.tally.silent = 0;
        for (uid, reading) in readings {
            match reading {
                Some(reading) => page.read(uid, reading, at),
                None => page.tally.silent += 1,
            }
        }
        if page.gone.len() > GONE {
            page.reset = page.gone.values().copied().max();
            page.gone.clear();
        }
        page.tally.lost = page.gone.values().copied().max().max(page.reset);
    }

    /// What has been counted of each revision.
    pub fn tallies(&self) -> Vec<Tally> {
        self.revisions.values().map(|page| page.tally.clone()).collect()
    }
}

impl Page {
    fn read(&mut self, uid: &str, reading: &Reading, at: Timestamp) {
        self.gone.remove(uid);
        let old = self.unread.remove(uid);
        let more = match self.last.insert(uid.to_owned(), reading.clone()) {
            None if old => {
                self.tally.before.add(reading);
                return;
            }
            None => reading.clone(),
            Some(known) => reading.since(&known).unwrap_or_else(|| {
                self.reset = Some(at);
                reading.clone()
            }),
        };
        self.tally.counted.add(&more);
    }
}

#[cfg(test)]
mod tests;
