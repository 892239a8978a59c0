//! How many requests are worked on at once, and who waits meanwhile.
//!
//! A request that cannot end before its deadline is refused when it comes, not when the deadline has passed: the wait is what
//! lies before it times the observed time between two that ended, and then its own turn takes the observed time of one.
//! With a free place nothing is predicted: the request is tried, so that a wrong estimate never keeps everybody out.
//!
//! Waiters are let in by class, and within a class in the order in which they came. When the oldest of a class has waited
//! for [`OVERLOADED`], the newest comes first: most of the old ones will be given up by their callers anyhow, and
//! serving them first would make everybody late (as in "Fail at Scale", ACM Queue 13.8). A full queue makes room for who is more important
//! than the least important in it, and under overload for who is newer.

use std::collections::VecDeque;
use std::time::Duration;

/// A wait after which the newest is let in first.
pub const OVERLOADED: Duration = Duration::from_millis(100);
/// One observation counts for this part of an estimate.
const GAIN: u32 = 8;
/// An observation counts for at most so many times the estimate: one long stream must not refuse everybody.
const OUTLIER: u32 = 8;
/// Longest time that who is refused is asked to wait.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// How important a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Let in first, given up last.
    High,
    /// What is not said otherwise.
    #[default]
    Normal,
    /// Let in when nobody else waits, given up first.
    Low,
}

impl Class {
    /// All, the most important first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// As many wait as may, or somebody newer or more important took the place.
    QueueFull,
    /// It could not have ended in time.
    WouldMissDeadline,
}

/// A waiter's number, to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    class: Class,
    number: u64,
}

/// What becomes of a request that comes.
#[derive(Debug)]
pub enum Offer<T> {
    /// It is let in.
    Go(T),
    /// It waits.
    Wait {
        /// To take it back.
        ticket: Ticket,
        /// Who lost its place for it.
        displaced: Option<T>,
    },
    /// It is not let in.
    Refused(T, Why),
}

/// What follows when a place is free.
#[derive(Debug)]
pub struct Next<T> {
    /// Who is let in; each has a place from now on.
    pub go: Vec<T>,
    /// Who cannot end in time any more.
    pub missed: Vec<T>,
}

/// Places and a queue.
#[derive(Debug)]
pub struct Gate<T> {
    max: usize,
    most_waiting: usize,
    busy: usize,
    queues: [VecDeque<Waiter<T>>; Class::ALL.len()],
    next_number: u64,
    /// How long a place is taken; zero before the first observation.
    service: Duration,
    /// Between two that ended while others waited; zero before the first observation.
    interval: Duration,
    /// When one ended last with somebody waiting for its place.
    handed_on: Option<Duration>,
}

#[derive(Debug)]
struct Waiter<T> {
    number: u64,
    since: Duration,
    deadline: Option<Duration>,
    who: T,
}

impl<T> Gate<T> {
    /// With so many places, and so many who may wait.
    pub fn new(max: usize, most_waiting: usize) -> Self {
        Self {
            max: max.max(1),
            most_waiting,
            busy: 0,
            queues: [const { VecDeque::new() }; Class::ALL.len()],
            next_number: 0,
            service: Duration::ZERO,
            interval: Duration::ZERO,
            handed_on: None,
        }
    }

    /// Places that are taken.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// Who waits.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// How long one is expected to take once it is let in.
    pub fn service(&self) -> Duration {
        self.service
    }

    /// When it makes sense to come again.
    pub fn retry_after(&self, now: Duration) -> Duration {
        self.wait(self.waiting(), now).min(LONGEST_RETRY)
    }

    /// Takes a place if one is free.
    pub fn enter(&mut self) -> bool {
        let enters = self.busy < self.max && self.waiting() == 0;
        self.busy += usize::from(enters);
        enters
    }

    /// Somebody comes; `deadline` is when it must have ended.
    pub fn offer(&mut self, now: Duration, class: Class, deadline: Option<Duration>, who: T) -> Offer<T> {
        if self.enter() {
            return Offer::Go(who);
        }
        if deadline
            .is_some_and(|deadline| now + self.wait(self.ahead(class, now), now) + self.service > deadline)
        {
            return Offer::Refused(who, Why::WouldMissDeadline);
        }
        let displaced = if self.waiting() < self.most_waiting {
            None
        } else {
            let Some(displaced) = self.displace(class, now) else {
                return Offer::Refused(who, Why::QueueFull);
            };
            Some(displaced)
        };
        let number = self.next_number;
        self.next_number += 1;
        self.queue(class).push_back(Waiter { number, since: now, deadline, who });
        Offer::Wait { ticket: Ticket { class, number }, displaced }
    }

    /// Somebody gives its place back after so long; `None`: it says nothing about how long others take.
    pub fn release(&mut self, now: Duration, took: Option<Duration>) -> Next<T> {
        if let Some(took) = took {
            self.service = learn(self.service, took);
        }
        self.busy = self.busy.saturating_sub(1);
        let was_waited_for = self.waiting() > 0;
        if was_waited_for && let Some(before) = self.handed_on {
            self.interval = learn(self.interval, now.saturating_sub(before));
        }
        let next = self.let_in(now);
        self.handed_on = was_waited_for.then_some(now);
        next
    }

    /// Somebody does not wait any more. `None`: it has been let in, or displaced, already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let queue = self.queue(ticket.class);
        let at = queue.binary_search_by_key(&ticket.number, |waiter| waiter.number).ok()?;
        queue.remove(at).map(|waiter| waiter.who)
    }

    /// Other limits. Who finds a place by that goes, who finds no place in the queue any more comes in `missed`.
    pub fn resize(&mut self, now: Duration, max: usize, most_waiting: usize) -> Next<T> {
        self.max = max.max(1);
        self.most_waiting = most_waiting;
        let mut next = self.let_in(now);
        while self.waiting() > most_waiting {
            let Some(class) = self.least() else { break };
            next.missed.extend(self.queue(class).pop_front().map(|waiter| waiter.who));
        }
        next
    }

    fn let_in(&mut self, now: Duration) -> Next<T> {
        let mut next = Next { go: Vec::new(), missed: Vec::new() };
        while self.busy < self.max
            && let Some(waiter) = self.pop(now)
        {
            if waiter.deadline.is_some_and(|deadline| now + self.service > deadline) {
                next.missed.push(waiter.who);
            } else {
                self.busy += 1;
                next.go.push(waiter.who);
            }
        }
        next
    }

    fn pop(&mut self, now: Duration) -> Option<Waiter<T>> {
        let queue = self.queues.iter_mut().find(|queue| !queue.is_empty())?;
        if is_overloaded(queue, now) { queue.pop_back() } else { queue.pop_front() }
    }

    /// Takes the place of somebody less important, or older under overload.
    fn displace(&mut self, class: Class, now: Duration) -> Option<T> {
        let least = self.least().filter(|least| *least >= class)?;
        let queue = self.queue(least);
        let gives_way = least > class || is_overloaded(queue, now);
        gives_way.then(|| queue.pop_front())?.map(|waiter| waiter.who)
    }

    /// The least important class of which somebody waits.
    fn least(&self) -> Option<Class> {
        Class::ALL
            .into_iter()
            .rev()
            .find(|class| self.queues.get(*class as usize).is_some_and(|queue| !queue.is_empty()))
    }

    /// Who is let in before a newcomer.
    fn ahead(&self, class: Class, now: Duration) -> usize {
        let before = self.queues.iter().take(class as usize).map(VecDeque::len).sum::<usize>();
        let own = self
            .queues
            .get(class as usize)
            .filter(|queue| !is_overloaded(queue, now))
            .map_or(0, VecDeque::len);
        before + own
    }

    /// How long it takes until so many and one more were let in.
    fn wait(&self, ahead: usize, now: Duration) -> Duration {
        let places = u32::try_from(self.max).unwrap_or(u32::MAX);
        let usual = if self.interval.is_zero() { self.service / places } else { self.interval };
        // Nothing has ended for much longer than usual: it takes longer now.
        let lately = self.handed_on.map_or(Duration::ZERO, |before| now.saturating_sub(before) / 4);
        usual.max(lately).saturating_mul(u32::try_from(ahead + 1).unwrap_or(u32::MAX))
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<Waiter<T>> {
        let [high, normal, low] = &mut self.queues;
        match class {
            Class::High => high,
            Class::Normal => normal,
            Class::Low => low,
        }
    }
}

fn is_overloaded<T>(queue: &VecDeque<Waiter<T>>, now: Duration) -> bool {
    queue.front().is_some_and(|oldest| now.saturating_sub(oldest.since) >= OVERLOADED)
}

/// An estimate after one more observation.
fn learn(known: Duration, seen: Duration) -> Duration {
    if known.is_zero() {
        return seen;
    }
    let seen = seen.min(known.saturating_mul(OUTLIER));
    (known.saturating_mul(GAIN - 1) + seen) / GAIN
}

#[cfg(test)]
mod tests;
