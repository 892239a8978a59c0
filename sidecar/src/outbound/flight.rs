//! One call from its head to the end of its answer: what it holds, and what is counted when it ends.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use shop_contract::reasons;
use shop_flow::breaker::{Outcome, Ticket};

use super::dependency::{Dependency, Place};
use super::span::CallSpan;
use crate::config::Snapshot;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Spoken;
use crate::upstream::Outbound;

/// Status of a call whose caller went away before an answer began; it is only counted, never sent.
const GONE: u16 = 499;
/// Statuses of gRPC that say that the server cannot, whatever was asked: `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `INTERNAL`,
/// `UNAVAILABLE`, `DATA_LOSS`.
const GRPC_FAILURES: [&[u8]; 5] = [b"4", b"8", b"13", b"14", b"15"];

/// Why a call is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Of the closed list.
    pub(super) reason: &'static str,
    /// When it may be better.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, retry_after: None }
    }
}

/// A call. Counted when it is dropped, however it ends.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) dependency: Arc<Dependency>,
    telemetry: Arc<Telemetry>,
    began: Duration,
    ticket: Option<Ticket>,
    /// Given back when the call has ended.
    #[allow(dead_code)]
    place: Place,
    is_grpc: bool,
    is_upgraded: bool,
    status: u16,
    failed: bool,
    span: CallSpan,
}

impl Flight {
    /// Begins a call, if dependency and rules take one more.
    pub(super) fn begin(
        dependency: &Arc<Dependency>,
        telemetry: &Arc<Telemetry>,
        is_grpc: bool,
    ) -> Result<Self, Refusal> {
        let now = telemetry.clock.now();
        let refused = |refusal: Refusal| {
            dependency.shared.metrics.count(refusal.status.as_u16());
            refusal
        };
        let unavailable = |reason, retry_after| {
            refused(Refusal { retry_after, ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason) })
        };
        let place = dependency
            .take_place()
            .ok_or_else(|| unavailable(reasons::BULKHEAD_FULL, Some(Duration::from_secs(1))))?;
        let ticket = match &dependency.breaker {
            Some(rules) => {
                let admitted = dependency.shared.breaker().admit(rules, now);
                Some(admitted.map_err(|left| unavailable(reasons::CIRCUIT_OPEN, Some(left)))?)
            }
            None => None,
        };
        dependency.shared.begun(now);
        Ok(Self {
            dependency: Arc::clone(dependency),
            telemetry: Arc::clone(telemetry),
            began: now,
            ticket,
            place,
            is_grpc,
            is_upgraded: false,
            status: GONE,
            failed: false,
            span: CallSpan::default(),
        })
    }

    /// The head of an answer has come, from the dependency or from here.
    pub(super) fn answered(&mut self, status: StatusCode, fields: &HeaderMap) {
        self.status = status.as_u16();
        if !self.is_grpc || status.is_server_error() {
            let cannot = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            self.tell(if cannot { Outcome::Bad } else { Outcome::Good });
        } else {
            self.trailers(fields);
        }
    }

    /// A gRPC call tells its status in trailers, or in the head when it has no message.
    pub(super) fn trailers(&mut self, fields: &HeaderMap) {
        if let Some(status) = fields.get("grpc-status").filter(|_| self.is_grpc) {
            let failed = GRPC_FAILURES.contains(&status.as_bytes());
            self.tell(if failed { Outcome::Bad } else { Outcome::Good });
        }
    }

    /// Reads in the head or the trailers of an answer whether the trace is kept below.
    pub(super) fn note_mark(&mut self, fields: &mut HeaderMap) {
        self.span.answered(fields, &self.telemetry, self.failed);
    }

    /// Makes the call a span of its trace, if spans are made.
    pub(super) fn trace(&mut self, snapshot: &Snapshot, outbound: &mut Outbound) {
        self.span.begin(snapshot, outbound, self.dependency.is_of_shop());
    }

    /// There is no answer of the dependency.
    pub(super) fn refused(&mut self, reason: &'static str) {
        self.span.reason = Some(reason);
        self.note_mark(&mut HeaderMap::new());
    }

    /// Nobody waits for the answer any more: that says nothing about the dependency.
    pub(super) fn given_up(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.tell(Outcome::Unknown);
    }

    /// The answer broke off.
    pub(super) fn broke_off(&mut self) {
        self.tell(Outcome::Bad);
    }

    /// It is no HTTP any more.
    pub(super) fn upgraded(&mut self) {
        self.is_upgraded = true;
    }

    fn tell(&mut self, outcome: Outcome) {
        self.failed |= outcome == Outcome::Bad;
        let (Some(ticket), Some(rules)) = (self.ticket.take(), &self.dependency.breaker) else { return };
        let now = self.telemetry.clock.now();
        let shared = &self.dependency.shared;
        let mut breaker = shared.breaker();
        breaker.ended(rules, &ticket, outcome, now);
        if outcome != Outcome::Unknown {
            shared.metrics.open.set(i64::from(breaker.is_open(now)));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.tell(Outcome::Unknown);
        let took = self.telemetry.clock.now().saturating_sub(self.began);
        let status = Some(self.status).filter(|status| *status != GONE);
        let spoken = if self.is_grpc { Spoken::Grpc } else { Spoken::Http1 };
        self.span.end(&self.telemetry, &self.dependency.rules.name, took, status, spoken, self.failed);
        let metrics = &self.dependency.shared.metrics;
        metrics.count(self.status);
        if !self.is_upgraded {
            metrics.duration.observe(took.as_secs_f64());
        }
    }
}
