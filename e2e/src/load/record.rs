//! Takes down what happened to each request, within bounded memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    outcome::{Connections, Failure, Kind, Sample, VersionId},
    report::{KindCount, Report},
};

/// Versions told apart; answers of further ones count as the last.
const MAX_VERSIONS: usize = 64;

/// The clock of one load: microseconds since it began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: Timestamp,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), wall: Timestamp::now() }
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        micros(self.origin.elapsed())
    }

    /// The instant that is so many microseconds after the beginning.
    pub fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_micros(at)
    }

    /// Microseconds since the beginning of a time of day; 0 for one before it.
    pub fn at(&self, time: Timestamp) -> u64 {
        u64::try_from(time.duration_since(self.wall).as_micros()).unwrap_or(0)
    }
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where the workers of a load put their samples.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) clock: Clock,
    kept: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    samples: Vec<Sample>,
    not_kept: u64,
    versions: Vec<String>,
    kinds: BTreeMap<Kind, KindCount>,
    failures: BTreeMap<Failure, u64>,
    seen: usize,
    late: u64,
}

/// What happened since the load was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Microseconds since the load began.
    pub at: u64,
    /// Requests that have ended, over all.
    pub requests: u64,
    /// Failed ones, over all.
    pub failed: u64,
    /// Requests that have ended since the last look.
    pub recent: u64,
    /// Answers since the last look, by version.
    pub versions: BTreeMap<String, u64>,
    /// The 95th percentile of the latency since the last look, in milliseconds.
    pub p95_ms: f64,
}

impl Recorder {
    pub(crate) fn new(clock: Clock, kept: usize) -> Self {
        let state = State {
            samples: Vec::new(),
            not_kept: 0,
            versions: vec![String::new()],
            kinds: BTreeMap::new(),
            failures: BTreeMap::new(),
            seen: 0,
            late: 0,
        };
        Self { clock, kept, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a version, new or known.
    pub(crate) fn version(&self, name: &str) -> VersionId {
        let mut state = self.state();
        let known = state.versions.iter().position(|version| version == name);
        let index = known.unwrap_or_else(|| {
            if state.versions.len() < MAX_VERSIONS {
                state.versions.push(name.chars().take(64).collect());
            }
            state.versions.len() - 1
        });
        VersionId(u8::try_from(index).unwrap_or(u8::MAX))
    }

    pub(crate) fn take(&self, sample: Sample) {
        let mut state = self.state();
        let count = state.kinds.entry(sample.kind).or_default();
        count.requests += 1;
        if let Some(failure) = sample.failure {
            count.failed += 1;
            *state.failures.entry(failure).or_default() += 1;
        }
        if state.samples.len() < self.kept {
            state.samples.push(sample);
        } else {
            state.not_kept += 1;
        }
    }

    /// Changes what is counted about a kind's connections.
    pub(crate) fn connections(&self, kind: Kind, change: impl FnOnce(&mut Connections)) {
        change(&mut self.state().kinds.entry(kind).or_default().connections);
    }

    /// Notes how late the generator itself was.
    pub(crate) fn late(&self, micros: u64) {
        let mut state = self.state();
        state.late = state.late.max(micros);
    }

    /// Requests that have ended.
    pub(crate) fn requests(&self) -> u64 {
        self.state().kinds.values().map(|count| count.requests).sum()
    }

    pub(crate) fn live(&self) -> Live {
        let at = self.clock.now();
        let mut state = self.state();
        let mut live = Live { at, ..Live::default() };
        for count in state.kinds.values() {
            live.requests += count.requests;
            live.failed += count.failed;
        }
        let recent = state.samples.get(state.seen..).unwrap_or_default();
        live.recent = recent.len() as u64;
        let mut latencies: Vec<u64> = Vec::with_capacity(recent.len());
        for sample in recent {
            latencies.push(sample.latency());
            if sample.version != VersionId::NONE
                && let Some(name) = state.versions.get(usize::from(sample.version.0))
            {
                *live.versions.entry(name.clone()).or_default() += 1;
            }
        }
        latencies.sort_unstable();
        let p95 = latencies.get((latencies.len() * 95 / 100).min(latencies.len().saturating_sub(1)));
        live.p95_ms = p95.map_or(0.0, |micros| *micros as f64 / 1_000.0);
        state.seen = state.samples.len();
        live
    }

    /// When the first answer of a version since then was complete.
    pub(crate) fn first_answer(&self, version: &str, since: u64) -> Option<u64> {
        let state = self.state();
        let index = state.versions.iter().position(|name| name == version)?;
        let answers = state.samples.iter().rev().take_while(|sample| sample.ended + SLACK >= since);
        answers
            .filter(|sample| usize::from(sample.version.0) == index && sample.ended >= since)
            .map(|sample| sample.ended)
            .min()
    }

    pub(crate) fn report(&self) -> Report {
        let ended = self.clock.now();
        let state = self.state();
        Report {
            clock: self.clock,
            ended,
            samples: state.samples.clone(),
            not_kept: state.not_kept,
            versions: state.versions.clone(),
            kinds: state.kinds.clone(),
            failures: state.failures.clone(),
            late: state.late,
        }
    }
}

/// Samples are taken down in the order in which workers get the lock, which differs from that of their ends by far less than this.
const SLACK: u64 = 10_000_000;
