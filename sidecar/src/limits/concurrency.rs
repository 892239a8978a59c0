//! Places for requests that the app works on, by the gate of `shop-flow`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shop_flow::limit::gate::{Class, Gate, Next, Offer, Ticket, Why};
use tokio::sync::oneshot;

use crate::telemetry::Telemetry;

type Told = Result<Permit, Why>;

/// The places of a pod.
#[derive(Debug)]
pub(super) struct Places {
    gate: Mutex<Gate<oneshot::Sender<Told>>>,
    telemetry: Arc<Telemetry>,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    places: Arc<Places>,
    since: Duration,
}

/// Somebody in the queue, who leaves it when it is dropped.
struct Waiting {
    places: Arc<Places>,
    ticket: Ticket,
    told: oneshot::Receiver<Told>,
}

impl Places {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { gate: Mutex::new(Gate::new(1, 0)), telemetry }
    }

    /// Another number of places and waiters.
    pub(super) fn resize(self: &Arc<Self>, max: usize, queue: usize) {
        let next = self.gate().resize(self.now(), max, queue);
        self.tell(next, Why::QueueFull);
    }

    /// A place, if one is free.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let enters = self.gate().enter();
        enters.then(|| self.permit())
    }

    /// Waits for a place, no longer than until it would be of no use any more.
    pub(super) async fn wait(self: &Arc<Self>, class: Class, deadline: Option<Duration>) -> Told {
        let since = self.now();
        let (tell, told) = oneshot::channel();
        let (offer, service) = {
            let mut gate = self.gate();
            (gate.offer(since, class, deadline, tell), gate.service())
        };
        let mut waiting = match offer {
            Offer::Go(_) => return Ok(self.permit()),
            Offer::Refused(_, why) => return Err(why),
            Offer::Wait { ticket, displaced } => {
                self.count();
                if let Some(displaced) = displaced {
                    let _ = displaced.send(Err(Why::QueueFull));
                }
                Waiting { places: Arc::clone(self), ticket, told }
            }
        };
        let told = match deadline {
            None => (&mut waiting.told).await,
            Some(deadline) => {
                let latest = self.telemetry.clock.instant(deadline.saturating_sub(service));
                match tokio::time::timeout_at(latest, &mut waiting.told).await {
                    Ok(told) => told,
                    Err(_) => return Err(Why::WouldMissDeadline),
                }
            }
        };
        self.telemetry.metrics.queue_wait.observe(self.now().saturating_sub(since).as_secs_f64());
        // Nobody is forgotten: the other end is dropped only after it was used.
        told.unwrap_or(Err(Why::QueueFull))
    }

    /// When it makes sense to come again.
    pub(super) fn retry_after(&self) -> Duration {
        let now = self.now();
        self.gate().retry_after(now)
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { places: Arc::clone(self), since: self.now() }
    }

    /// Tells who waited what became of it. Who has gone in the meantime drops its place, and the next one gets it.
    fn tell(self: &Arc<Self>, next: Next<oneshot::Sender<Told>>, why: Why) {
        if next.go.is_empty() && next.missed.is_empty() {
            return;
        }
        self.count();
        for waiter in next.missed {
            let _ = waiter.send(Err(why));
        }
        for waiter in next.go {
            let _ = waiter.send(Ok(self.permit()));
        }
    }

    /// Shows how many wait.
    fn count(&self) {
        let waiting = self.gate().waiting();
        self.telemetry.metrics.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn gate(&self) -> MutexGuard<'_, Gate<oneshot::Sender<Told>>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.telemetry.clock.now()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = self.places.now();
        let next = self.places.gate().release(now, Some(now.saturating_sub(self.since)));
        self.places.tell(next, Why::WouldMissDeadline);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The lock is given back before the sender is dropped.
        let left = self.places.gate().leave(self.ticket);
        if left.is_some() {
            self.places.count();
        }
    }
}
