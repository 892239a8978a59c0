//! What is counted and logged of a connection when it has ended.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode};
use shop_contract::reasons;

use crate::config::Snapshot;
use crate::handover::Handover;
use crate::inbound::Proxy;
use crate::inbound::answer::{GONE, Way};
use crate::relay::{End, Passed};
use crate::telemetry::access_log::{self, Line};
use crate::telemetry::metrics::Spoken;

/// A connection from its beginning to its end. Counted when it is dropped, however it ends, as a request is that took as long.
#[derive(Debug)]
pub(super) struct Record {
    proxy: Arc<Proxy>,
    snapshot: Arc<Snapshot>,
    pub(super) began: Duration,
    /// Address of the client: of the connection, or what the sidecar says that handed it over.
    pub(super) client: IpAddr,
    /// The service that it is, by its certificate.
    pub(super) caller: Option<HeaderValue>,
    /// Which revisions had to do with it.
    pub(super) way: Way,
    pub(super) passed: Passed,
    status: u16,
    reason: Option<&'static str>,
}

impl Record {
    pub(super) fn begin(proxy: &Arc<Proxy>, snapshot: &Arc<Snapshot>, client: IpAddr) -> Self {
        let began = proxy.telemetry.clock.now();
        proxy.begun(began);
        Self {
            proxy: Arc::clone(proxy),
            snapshot: Arc::clone(snapshot),
            began,
            client,
            caller: None,
            way: Way::Own,
            passed: Passed::default(),
            status: GONE,
            reason: None,
        }
    }

    /// The first bytes have come, with or without a seal. `None`: there will be no more.
    pub(super) fn first(&mut self, first: io::Result<Option<Handover>>) -> Option<()> {
        if let Some(from) = first.ok()? {
            self.client = from.client;
            self.way = Way::TakenOver;
            self.proxy.telemetry.metrics.taken_over.inc();
        }
        Some(())
    }

    /// The sidecar itself ends it.
    pub(super) fn refuse<T>(&mut self, status: StatusCode, reason: &'static str) -> Option<T> {
        self.status = status.as_u16();
        self.reason = Some(reason);
        self.proxy.telemetry.metrics.answered_by_itself(reason);
        None
    }

    /// Why it has ended; `None`: the drain ended it.
    pub(super) fn ended(&mut self, end: Option<End>) {
        match end {
            Some(End::Done | End::Idle) | None => self.status = StatusCode::OK.as_u16(),
            Some(End::Near) => {}
            Some(End::Far) => {
                self.status = StatusCode::BAD_GATEWAY.as_u16();
                self.reason = Some(reasons::APP_RESET);
            }
        }
    }

    fn count(&self, took: Duration) {
        let telemetry = &self.proxy.telemetry;
        let metrics = &telemetry.metrics;
        match self.way {
            Way::HandedOver => return metrics.handed_over.inc(),
            Way::Lost => metrics.hand_over_lost.inc(),
            Way::Own | Way::TakenOver | Way::Copy => {
                // What the client broke off, and what it may not, says nothing about the app.
                if self.status == 200 || self.status >= 500 {
                    telemetry.window.count(self.status >= 500, None);
                }
            }
        }
        metrics.served.inc();
        if self.status >= 500 {
            metrics.errors.inc();
        }
        self.snapshot.metrics.count(self.status, Spoken::Tcp);
        metrics.tcp_duration.observe(took.as_secs_f64());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let telemetry = &self.proxy.telemetry;
        let took = telemetry.clock.now().saturating_sub(self.began);
        telemetry.metrics.in_flight.dec();
        self.count(took);
        let (snapshot, document) = (&self.snapshot, &self.snapshot.document);
        if !telemetry.access_log.wants(snapshot.observing.logged, self.status >= 500) {
            return;
        }
        let passed = access_log::Passed {
            received: self.passed.received.load(Ordering::Relaxed),
            sent: self.passed.sent.load(Ordering::Relaxed),
        };
        let logged = telemetry.access_log.log(Line {
            at: SystemTime::now(),
            took,
            method: Method::CONNECT,
            path: Box::default(),
            route: None,
            status: self.status,
            protocol: Spoken::Tcp.as_str(),
            client: Some(self.client),
            caller: self.caller.take(),
            trace_id: None,
            span_id: None,
            request_id: None,
            service: Arc::clone(&snapshot.service),
            revision: document.identity.revision,
            colour: document.colour.as_str(),
            handed_over: self.way == Way::HandedOver,
            taken_over: self.way == Way::TakenOver,
            mirrored: false,
            reason: self.reason,
            fault: None,
            passed: Some(passed),
        });
        if !logged {
            telemetry.metrics.log_dropped.inc();
        }
    }
}
