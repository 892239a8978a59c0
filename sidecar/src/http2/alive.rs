//! Signs of life of a connection, and how long it has had no stream.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Shortest time between two looks at a connection.
const SHORTEST: Duration = Duration::from_secs(1);
/// How often the other side is asked for a sign of life.
const EVERY: Duration = Duration::from_secs(30);

/// Asks the other side for signs of life.
pub(crate) struct Alive {
    pings: Option<PingPong>,
    ticks: Interval,
    unanswered: bool,
    idle_since: Option<Instant>,
    /// When it was asked last.
    asked: Instant,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The other side did not answer.
    Dead,
    /// It has had no stream for so long.
    Idle(Duration),
}

impl Alive {
    /// `idle` is how long it may have no stream: it is looked at four times in that time, or more often.
    pub(crate) fn new(pings: Option<PingPong>, idle: Duration) -> Self {
        let (now, every) = (Instant::now(), (idle / 4).clamp(SHORTEST, EVERY));
        let mut ticks = interval_at(now + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pings, ticks, unanswered: false, idle_since: None, asked: now }
    }

    /// Ready when it is time to look at the connection. `is_busy`: whether it has streams, asked only then;
    /// `ping_idle`: whether to ask for signs of life without one too.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        is_busy: impl FnOnce() -> bool,
        ping_idle: bool,
    ) -> Poll<State> {
        if let Some(pings) = self.pings.as_mut().filter(|_| self.unanswered)
            && pings.poll_pong(context).is_ready()
        {
            self.unanswered = false;
        }
        if self.ticks.poll_tick(context).is_pending() {
            return Poll::Pending;
        }
        // The next tick must wake the task too.
        let _ = self.ticks.poll_tick(context);
        // Ticks may be a little early or late.
        let is_due = self.asked.elapsed() > EVERY / 10 * 9;
        if self.unanswered && is_due {
            return Poll::Ready(State::Dead);
        }
        let is_busy = is_busy();
        if let Some(pings) = self.pings.as_mut().filter(|_| is_due && (is_busy || ping_idle)) {
            self.asked = Instant::now();
            self.unanswered =
                pings.send_ping(Ping::opaque()).is_ok() && pings.poll_pong(context).is_pending();
        }
        if is_busy {
            self.idle_since = None;
            return Poll::Pending;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        Poll::Ready(State::Idle(since.elapsed()))
    }
}
