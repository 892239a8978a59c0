//! What a request tells of itself to its trace: the mark on its answer, and its span.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::answer::{Flight, GONE, Way};
use crate::telemetry::access_log::shown_path;
use crate::telemetry::metrics::Spoken;
use crate::telemetry::trace::{Kind, Span};

impl Flight {
    /// Reads and writes the mark on the head or the trailers of an answer.
    pub(super) fn mark(&mut self, fields: &mut HeaderMap) {
        let Some(snapshot) = &self.snapshot else { return };
        let Some(rates) = &snapshot.observing.rates else { return };
        let telemetry = &self.proxy.telemetry;
        let slow = self.is_slow(telemetry.clock.now().saturating_sub(self.began));
        self.place.mark(fields, rates, &telemetry.traces.chain, self.has_failed(), slow);
    }

    /// The request has ended: sends its span if it is kept. Answers the trace's id then.
    pub(super) fn traced(&self, took: Duration, now: Duration) -> Option<u128> {
        let snapshot = self.snapshot.as_ref()?;
        let rates = snapshot.observing.rates.as_ref()?;
        let telemetry = &self.proxy.telemetry;
        let slow = self.is_slow(took);
        if let Some(route) = self.route.as_ref().filter(|_| self.is_timed()) {
            route.latency.observe(took, now);
        }
        let why = self.place.end(rates, &telemetry.traces.chain, self.has_failed(), slow)?;
        let (trace_id, span_id, parent, flags) = self.place.identity()?;
        let span = Span {
            kind: Kind::Server,
            trace_id,
            span_id,
            parent,
            flags,
            ended: SystemTime::now(),
            took,
            method: self.method.clone(),
            route: self.route.as_ref().and_then(|route| route.template.as_ref()).map(Arc::clone),
            path: shown_path(self.path.as_ref()),
            status: Some(self.status).filter(|status| *status != GONE),
            spoken: self.spoken,
            failed: self.has_failed(),
            reason: self.reason,
            fault: self.fault.clone(),
            caller: self.caller.clone(),
            revision: snapshot.document.identity.revision,
            colour: snapshot.document.colour.as_str(),
            way: self.way_word(),
            why,
        };
        telemetry.keep(span);
        Some(trace_id)
    }

    fn has_failed(&self) -> bool {
        self.failed || self.status >= 500
    }

    /// Whether its duration says anything.
    fn is_timed(&self) -> bool {
        self.spoken != Spoken::WebSocket && self.status != GONE
    }

    fn is_slow(&self, took: Duration) -> bool {
        self.is_timed() && self.route.as_ref().is_some_and(|route| route.latency.is_slow(took))
    }

    fn way_word(&self) -> Option<&'static str> {
        match self.way {
            Way::Own => None,
            Way::TakenOver => Some("taken-over"),
            Way::Copy => Some("copy"),
            Way::HandedOver => Some("handed-over"),
            Way::Lost => Some("lost"),
        }
    }
}
