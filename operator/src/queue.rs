//! The work queue: which service is looked at next.
//!
//! A key is in it at most once, is handed out to one worker at a time, and comes back when it changed meanwhile. More urgent keys
//! go first; among equally urgent ones, namespaces take turns, so that a large one cannot starve a small one. It is bounded by
//! the number of services.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::key::ServiceKey;

/// How soon a service must be looked at, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Users are to be taken back to the stable revision.
    Abort,
    /// A release runs.
    Release,
    /// Something changed.
    Change,
    /// Nothing is known to have changed: start of the operator, checks that come due.
    Routine,
}

impl Urgency {
    /// All of them, most urgent first.
    pub const ALL: [Self; 4] = [Self::Abort, Self::Release, Self::Change, Self::Routine];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Release => "release",
            Self::Change => "change",
            Self::Routine => "routine",
        }
    }
}

/// The queue. Shared by reference; every method may be called from anywhere.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

/// What is handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The service.
    pub key: ServiceKey,
    /// Since when it is due.
    pub since: Instant,
}

#[derive(Debug, Default)]
struct State {
    // Due now: why, and since when.
    ready: HashMap<ServiceKey, (Urgency, Instant)>,
    turns: BTreeMap<Urgency, Turns>,
    // Due later, each key once, at the earliest time asked for.
    later: BTreeSet<(Instant, ServiceKey)>,
    times: HashMap<ServiceKey, (Instant, Urgency)>,
    // Handed out; the value says whether it changed since.
    busy: HashMap<ServiceKey, Option<Urgency>>,
}

// Namespaces in the order of their turns, and the keys of each.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<String>,
    keys: HashMap<String, VecDeque<ServiceKey>>,
}

impl Queue {
    /// The service is due now.
    pub fn add(&self, key: ServiceKey, urgency: Urgency) {
        self.state().add(key, urgency, Instant::now());
        self.changed.notify_one();
    }

    /// The service is due at `at`, or earlier when something else asks for it.
    pub fn add_at(&self, key: ServiceKey, urgency: Urgency, at: Instant) {
        self.state().add_at(key, urgency, at);
        self.changed.notify_one();
    }

    /// The next due service. It is not handed out again before [`Self::done`].
    pub async fn next(&self) -> Due {
        loop {
            let wake = {
                let mut state = self.state();
                state.mature(Instant::now());
                if let Some(due) = state.take() {
                    // One waiting worker at least knows of what is left.
                    if !state.ready.is_empty() || !state.later.is_empty() {
                        self.changed.notify_one();
                    }
                    return due;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match wake {
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(at) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// The worker has finished with the service.
    pub fn done(&self, key: &ServiceKey) {
        let mut state = self.state();
        if let Some(Some(urgency)) = state.busy.remove(key) {
            state.add(key.clone(), urgency, Instant::now());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The service is gone: nothing is due for it any more.
    pub fn forget(&self, key: &ServiceKey) {
        let mut state = self.state();
        if let Some((at, _)) = state.times.remove(key) {
            state.later.remove(&(at, key.clone()));
        }
    }

    /// How many services are due now, by urgency.
    pub fn depth(&self, urgency: Urgency) -> usize {
        self.state().ready.values().filter(|(of, _)| *of == urgency).count()
    }

    // A panic of another thread leaves the queue as it was between two statements; it is usable.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, key: ServiceKey, urgency: Urgency, now: Instant) {
        if let Some(again) = self.busy.get_mut(&key) {
            *again = Some(again.map_or(urgency, |before| before.min(urgency)));
            return;
        }
        let since = match self.ready.get(&key) {
            Some((before, _)) if *before <= urgency => return,
            // The entry under the lesser urgency stays where it is and is skipped when its turn comes.
            Some((_, since)) => *since,
            None => now,
        };
        self.ready.insert(key.clone(), (urgency, since));
        self.turns.entry(urgency).or_default().push(key);
    }

    fn add_at(&mut self, key: ServiceKey, urgency: Urgency, at: Instant) {
        let (at, urgency) = match self.times.get(&key) {
            Some((before, of)) => {
                self.later.remove(&(*before, key.clone()));
                (at.min(*before), urgency.min(*of))
            }
            None => (at, urgency),
        };
        self.times.insert(key.clone(), (at, urgency));
        self.later.insert((at, key));
    }

    fn mature(&mut self, now: Instant) {
        while let Some((at, key)) = self.later.first().filter(|(at, _)| *at <= now).cloned() {
            self.later.remove(&(at, key.clone()));
            let urgency = self.times.remove(&key).map_or(Urgency::Routine, |(_, urgency)| urgency);
            self.add(key, urgency, at);
        }
    }

    fn take(&mut self) -> Option<Due> {
        for urgency in Urgency::ALL {
            let Some(turns) = self.turns.get_mut(&urgency) else { continue };
            while let Some(key) = turns.pop() {
                let Some((of, since)) = self.ready.get(&key).copied() else { continue };
                if of != urgency {
                    continue;
                }
                self.ready.remove(&key);
                self.busy.insert(key.clone(), None);
                return Some(Due { key, since });
            }
        }
        None
    }
}

impl Turns {
    fn push(&mut self, key: ServiceKey) {
        let namespace = key.namespace.clone();
        let keys = self.keys.entry(namespace.clone()).or_default();
        if keys.is_empty() {
            self.order.push_back(namespace);
        }
        keys.push_back(key);
    }

    fn pop(&mut self) -> Option<ServiceKey> {
        let namespace = self.order.pop_front()?;
        let keys = self.keys.get_mut(&namespace)?;
        let key = keys.pop_front();
        if keys.is_empty() {
            self.keys.remove(&namespace);
        } else {
            self.order.push_back(namespace);
        }
        key
    }
}

#[cfg(test)]
mod tests;
