//! Drives the drain's state machine: counts connections, keeps its clock, and tells those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shop_flow::drain::{Drain, Hook, Outcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// Longest drain before a document says otherwise.
const MAX: Duration = Duration::from_mins(10);

/// The drain of this pod.
#[derive(Debug)]
pub struct DrainControl {
    state: Mutex<Drain>,
    changed: watch::Sender<()>,
    begun: CancellationToken,
    deadline: CancellationToken,
    /// The same as the tokens, without their lock: these are read at every request and every wake-up of a connection.
    draining: AtomicBool,
    overdue: AtomicBool,
    telemetry: Arc<Telemetry>,
}

impl DrainControl {
    /// Not begun.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            state: Mutex::new(Drain::new(MAX)),
            changed: watch::channel(()).0,
            begun: CancellationToken::new(),
            deadline: CancellationToken::new(),
            draining: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            telemetry,
        }
    }

    /// Takes over the longest drain of a document.
    pub fn set_max(&self, max: Duration) {
        self.state().set_max(max);
        self.changed.send_replace(());
    }

    /// Begins the drain; a second time changes nothing.
    pub fn begin(self: &Arc<Self>) {
        if !self.state().begin(self.telemetry.clock.now()) {
            return;
        }
        tracing::info!(connections = self.connections(), "drain begun");
        self.telemetry.metrics.draining.set(1);
        self.draining.store(true, Ordering::Release);
        self.begun.cancel();
        self.changed.send_replace(());
        tokio::spawn(Arc::clone(self).end_at_deadline());
    }

    async fn end_at_deadline(self: Arc<Self>) {
        let mut changes = self.changed.subscribe();
        loop {
            let Some(deadline) = self.state().deadline() else { return };
            tokio::select! {
                () = tokio::time::sleep_until(self.telemetry.clock.instant(deadline)) => break,
                _ = changes.changed() => {}
            }
        }
        tracing::info!(
            connections = self.connections(),
            "drain has taken as long as it may: closing what is open"
        );
        self.give_up();
    }

    /// Closes what is still open, now.
    pub fn give_up(&self) {
        self.overdue.store(true, Ordering::Release);
        self.deadline.cancel();
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether connections are closed whatever they do.
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    /// When it began.
    pub fn begun_at(&self) -> Option<Duration> {
        self.state().begun()
    }

    /// Returns when the drain begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Returns when connections are closed whatever they do.
    pub async fn deadline(&self) {
        self.deadline.cancelled().await;
    }

    /// Returns when a WebSocket is to be ended: each at another moment.
    pub async fn socket_deadline(&self) {
        self.begun().await;
        let place = rand::random::<f64>();
        let at = self.state().socket_deadline(place).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep_until(self.telemetry.clock.instant(at)) => {}
            () = self.deadline() => {}
        }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.state().connections()
    }

    /// Counts a connection until the guard is dropped.
    pub fn open(self: &Arc<Self>) -> OpenConnection {
        self.state().opened(self.telemetry.clock.now());
        self.telemetry.metrics.connections.inc();
        if self.is_draining() {
            self.changed.send_replace(());
        }
        OpenConnection { drain: Arc::clone(self) }
    }

    /// The app's preStop hook: waits, and changes nothing.
    pub async fn hook(&self) -> Outcome {
        let asked = self.telemetry.clock.now();
        let mut changes = self.changed.subscribe();
        loop {
            // Before looking, so that a change after the look is not missed.
            changes.mark_unchanged();
            let until = match self.state().hook(asked, self.telemetry.clock.now()) {
                Hook::Done(outcome) => return outcome,
                Hook::WaitUntil(until) => until,
            };
            tokio::select! {
                () = tokio::time::sleep_until(self.telemetry.clock.instant(until)) => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Returns when no connection is open.
    pub async fn all_closed(&self) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if self.connections() == 0 {
                return;
            }
            let _ = changes.changed().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, Drain> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection, counted.
#[derive(Debug)]
pub struct OpenConnection {
    drain: Arc<DrainControl>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.drain.state().closed();
        self.drain.telemetry.metrics.connections.dec();
        if self.drain.is_draining() {
            self.drain.changed.send_replace(());
        }
    }
}
