//! The span of a call: the caller's side of it, retries included.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use shop_flow::sampling::Rates;

use crate::config::Snapshot;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Spoken;
use crate::telemetry::trace::{self, Kind, Place, Span};
use crate::upstream::Outbound;

/// A call's place in its trace; nothing while no spans are made.
#[derive(Debug, Default)]
pub(super) struct CallSpan {
    place: Place,
    rates: Option<Rates>,
    method: Method,
    revision: i64,
    colour: &'static str,
    /// Why the sidecar itself answered.
    pub(super) reason: Option<&'static str>,
}

impl CallSpan {
    /// Makes the call a child of what the app says, and whoever answers a child of it. Other sidecars are asked to tell.
    pub(super) fn begin(&mut self, snapshot: &Snapshot, outbound: &mut Outbound, asks: bool) {
        let Some(rates) = snapshot.observing.rates else { return };
        self.method = outbound.request.method().clone();
        (self.revision, self.colour) =
            (snapshot.document.identity.revision, snapshot.document.colour.as_str());
        let fields = outbound.request.headers_mut();
        self.place = Place::find(fields, Some(&rates));
        self.place.pass_on(fields);
        if asks {
            trace::ask(fields);
        }
        self.rates = Some(rates);
    }

    /// The head or the trailers of an answer: what is kept below or failed keeps the request that the call is made for.
    pub(super) fn answered(&mut self, fields: &mut HeaderMap, telemetry: &Telemetry, failed: bool) {
        let Some(rates) = &self.rates else { return };
        let chain = &telemetry.traces.chain;
        self.place.mark(fields, rates, chain, failed, false);
        if let Some(trace_id) = self.place.told() {
            chain.keep(trace_id);
        }
    }

    /// The call has ended: its span is sent if it is kept.
    pub(super) fn end(
        &self,
        telemetry: &Telemetry,
        dependency: &str,
        took: Duration,
        status: Option<u16>,
        spoken: Spoken,
        failed: bool,
    ) {
        let Some(rates) = &self.rates else { return };
        let Some(why) = self.place.end(rates, &telemetry.traces.chain, failed, false) else { return };
        let Some((trace_id, span_id, parent, flags)) = self.place.identity() else { return };
        telemetry.keep(Span {
            kind: Kind::Client(dependency.into()),
            trace_id,
            span_id,
            parent,
            flags,
            ended: SystemTime::now(),
            took,
            method: self.method.clone(),
            route: None,
            path: Box::default(),
            status,
            spoken,
            failed,
            reason: self.reason,
            fault: None,
            caller: None,
            revision: self.revision,
            colour: self.colour,
            way: None,
            why,
        });
    }
}
