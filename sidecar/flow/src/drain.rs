//! When a pod that stops is free of inbound traffic, and when an idle connection of it may be closed.
//!
//! Two hooks run when the kubelet stops a pod. The sidecar's begins the drain and returns. The app's only waits: as long as it
//! has not returned, the app gets no SIGTERM and answers everything that still comes. It changes nothing itself, because
//! the kubelet also runs it when a liveness probe kills the app alone, and then the pod lives on.

use core::time::Duration;

/// How long no connection must have come before the pod counts as drained: load balancers learn of its end with a delay.
pub const QUIET: Duration = Duration::from_secs(2);
/// How long the hook waits for a drain to begin. The kubelet starts both hooks together; a liveness restart starts none.
pub const NO_DRAIN: Duration = Duration::from_secs(3);
/// How long an HTTP/1 connection must have been idle in a drain before it is closed: clients that reuse it sooner are told
/// by `Connection: close`.
pub const IDLE: Duration = Duration::from_secs(5);

/// Longest time before the deadline over which the ends of WebSockets are spread: their clients come back at once, and all of
/// them together would be more than the other pods can take.
pub const SPREAD: Duration = Duration::from_mins(1);

/// The inbound side of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    begun: Option<Duration>,
    max: Duration,
    connections: usize,
    last_opened: Option<Duration>,
}

/// What the app's hook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Ask again then, or when something has changed.
    WaitUntil(Duration),
    /// Return.
    Done(Outcome),
}

/// Why the app's hook returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No connection is open, and none has come for a while.
    Idle,
    /// The drain has taken as long as it may.
    Deadline,
    /// The pod does not stop: only the app is restarted.
    NoDrain,
}

impl Drain {
    /// Not begun. `max` is the longest drain.
    pub fn new(max: Duration) -> Self {
        Self { begun: None, max, connections: 0, last_opened: None }
    }

    /// Changes the longest drain, one that is under way too.
    pub fn set_max(&mut self, max: Duration) {
        self.max = max;
    }

    /// A connection was accepted.
    pub fn opened(&mut self, now: Duration) {
        self.connections += 1;
        self.last_opened = Some(now);
    }

    /// A connection, upgraded ones too, has ended.
    pub fn closed(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// Begins the drain; a second time changes nothing. Says whether this was the first time.
    pub fn begin(&mut self, now: Duration) -> bool {
        let first = self.begun.is_none();
        self.begun.get_or_insert(now);
        first
    }

    /// When the drain began.
    pub fn begun(&self) -> Option<Duration> {
        self.begun
    }

    /// When connections that are still open are closed whatever they do; `None` before the drain.
    pub fn deadline(&self) -> Option<Duration> {
        self.begun.map(|begun| begun.saturating_add(self.max))
    }

    /// When a WebSocket is ended: at a place between 0 and 1 of the last quarter of the drain, a minute at most; `None` before
    /// the drain.
    pub fn socket_deadline(&self, place: f64) -> Option<Duration> {
        let spread = (self.max / 4).min(SPREAD);
        self.deadline().map(|deadline| deadline.saturating_sub(spread.mul_f64(1.0 - place.clamp(0.0, 1.0))))
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// What to tell a hook that has been waiting since `asked`.
    pub fn hook(&self, asked: Duration, now: Duration) -> Hook {
        let (Some(begun), Some(deadline)) = (self.begun, self.deadline()) else {
            let until = asked.saturating_add(NO_DRAIN);
            return if now < until { Hook::WaitUntil(until) } else { Hook::Done(Outcome::NoDrain) };
        };
        if now >= deadline {
            return Hook::Done(Outcome::Deadline);
        }
        if self.connections > 0 {
            return Hook::WaitUntil(deadline);
        }
        let quiet_since = self.last_opened.map_or(begun, |opened| opened.max(begun));
        let until = quiet_since.saturating_add(QUIET);
        if now < until { Hook::WaitUntil(until.min(deadline)) } else { Hook::Done(Outcome::Idle) }
    }
}

/// One HTTP/1 connection: whether it is idle, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    in_flight: usize,
    /// Whether bytes came that do not belong to a request which has begun: a head on its way.
    head_since: Option<Duration>,
    idle_since: Duration,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It answers a request or receives one.
    Busy,
    /// Look again then.
    WaitUntil(Duration),
    /// Close it, unless bytes have come in the meantime.
    Close,
}

impl Connection {
    /// Accepted, and silent so far.
    pub fn new(now: Duration) -> Self {
        Self { in_flight: 0, head_since: None, idle_since: now }
    }

    /// Bytes were read from the client.
    pub fn received(&mut self, now: Duration) {
        if self.in_flight == 0 {
            self.head_since.get_or_insert(now);
        }
    }

    /// A request's head is complete.
    pub fn request_begun(&mut self) {
        self.in_flight += 1;
        self.head_since = None;
    }

    /// A request's answer is complete, or given up.
    pub fn request_ended(&mut self, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.idle_since = now;
    }

    /// Whether no request is being received or answered.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.head_since.is_none()
    }

    /// Since when a head has been on its way, for a limit on slow ones.
    pub fn head_since(&self) -> Option<Duration> {
        self.head_since
    }

    /// Whether to close the connection in a drain that began at `begun`.
    ///
    /// Time before the drain does not count: a connection that has been idle for a minute may be about to be used, and its
    /// client learns of the drain only now.
    pub fn idle(&self, begun: Duration, now: Duration) -> Idle {
        if !self.is_idle() {
            return Idle::Busy;
        }
        let until = self.idle_since.max(begun).saturating_add(IDLE);
        if now < until { Idle::WaitUntil(until) } else { Idle::Close }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_drain_the_hook_returns_after_three_seconds_and_changes_nothing() {
        let mut drain = Drain::new(s(600));
        drain.opened(s(0));
        let before = drain.clone();
        assert_eq!(drain.hook(s(10), s(10)), Hook::WaitUntil(s(13)));
        assert_eq!(drain.hook(s(10), s(13)), Hook::Done(Outcome::NoDrain));
        assert_eq!(drain, before);
        assert_eq!(drain.deadline(), None);
    }

    #[test]
    fn a_drain_that_begins_while_the_hook_waits_is_waited_for() {
        let mut drain = Drain::new(s(600));
        drain.opened(s(0));
        assert_eq!(drain.hook(s(10), s(11)), Hook::WaitUntil(s(13)));
        assert!(drain.begin(s(12)));
        assert!(!drain.begin(s(12)));
        assert_eq!(drain.hook(s(10), s(13)), Hook::WaitUntil(s(612)));
        drain.closed();
        assert_eq!(
            drain.hook(s(10), s(13)),
            Hook::WaitUntil(s(14)),
            "two quiet seconds from the drain's begin"
        );
        assert_eq!(drain.hook(s(10), s(14)), Hook::Done(Outcome::Idle));
    }

    #[test]
    fn websockets_end_one_after_the_other() {
        let mut drain = Drain::new(s(600));
        assert_eq!(drain.socket_deadline(0.5), None);
        drain.begin(s(100));
        assert_eq!(
            [0.0, 0.5, 1.0, 7.0].map(|place| drain.socket_deadline(place)),
            [640, 670, 700, 700].map(|at| Some(s(at)))
        );
        drain.set_max(s(20));
        assert_eq!(drain.socket_deadline(0.0), Some(s(115)));
    }

    #[test]
    fn a_late_connection_starts_the_quiet_time_again() {
        let mut drain = Drain::new(s(600));
        drain.begin(s(0));
        drain.opened(s(1));
        drain.closed();
        assert_eq!(drain.hook(s(0), s(2)), Hook::WaitUntil(s(3)));
        assert_eq!(drain.hook(s(0), s(3)), Hook::Done(Outcome::Idle));
    }

    #[test]
    fn the_deadline_ends_it_with_connections_open() {
        let mut drain = Drain::new(s(1));
        drain.begin(s(0));
        assert_eq!(drain.hook(s(0), s(0)), Hook::WaitUntil(s(1)), "never past the deadline");
        drain.opened(s(0));
        assert_eq!(drain.hook(s(0), s(1)), Hook::Done(Outcome::Deadline));
        drain.set_max(s(5));
        assert_eq!(drain.hook(s(0), s(1)), Hook::WaitUntil(s(5)));
    }

    #[test]
    fn an_idle_connection_is_closed_after_five_seconds_of_drain() {
        let mut connection = Connection::new(s(0));
        assert_eq!(
            connection.idle(s(60), s(60)),
            Idle::WaitUntil(s(65)),
            "idle time before the drain does not count"
        );
        assert_eq!(connection.idle(s(60), s(65)), Idle::Close);
        connection.received(s(65));
        assert_eq!(connection.idle(s(60), s(65)), Idle::Busy, "a head is on its way");
        assert_eq!(connection.head_since(), Some(s(65)));
        connection.request_begun();
        connection.received(s(66));
        assert_eq!(connection.idle(s(60), s(90)), Idle::Busy);
        connection.request_ended(s(90));
        assert_eq!(connection.idle(s(60), s(91)), Idle::WaitUntil(s(95)));
        assert_eq!(connection.idle(s(60), s(95)), Idle::Close);
    }

    proptest! {
        #[test]
        fn the_hook_always_ends(max in 0_u64..100, opened in 0_u64..50, closed in 0_u64..50, begin in prop::option::of(0_u64..50)) {
            let mut drain = Drain::new(s(max));
            for at in 0..opened { drain.opened(s(at)); }
            for _ in 0..closed { drain.closed(); }
            if let Some(begin) = begin { drain.begin(s(begin)); }
            let mut now = s(50);
            // Every wait is for a later moment, and there are only a few of them.
            for _ in 0..3 {
                match drain.hook(s(50), now) {
                    Hook::WaitUntil(until) => { prop_assert!(until > now); now = until; }
                    Hook::Done(_) => return Ok(()),
                }
            }
            prop_assert!(matches!(drain.hook(s(50), now), Hook::Done(_)));
        }

        #[test]
        fn idle_only_when_nothing_is_open(opened in 1_usize..50, closed in 0_usize..50, after in 0_u64..1_000) {
            let mut drain = Drain::new(s(500));
            drain.begin(s(0));
            for _ in 0..opened { drain.opened(s(0)); }
            for _ in 0..closed { drain.closed(); }
            if drain.hook(s(0), s(after)) == Hook::Done(Outcome::Idle) {
                prop_assert!(closed >= opened && (2..500).contains(&after));
            }
        }
    }
}
