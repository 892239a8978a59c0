//! The dependencies of the document in use: its rules for each, and what outlives a change of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shop_contract::{DependencyCalls, DependencyProtocol, DependencyTls, Document, ports};
use shop_flow::breaker::{Breaker, Rules};
use shop_flow::retry::Budget;

use super::context::Traces;
use super::endpoints::Endpoints;
use super::last_good::LastGood;
use super::names;
use super::resolver::Resolver;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::telemetry::Metrics;
use crate::telemetry::dependencies::DependencyMetrics;
use crate::tls::{Dial, Holder};

/// All of them.
#[derive(Debug)]
pub(crate) struct Dependencies {
    namespace: String,
    all: Vec<Arc<Dependency>>,
    /// Requests that may make calls.
    pub(crate) traces: Arc<Traces>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// What is wanted.
    pub(super) rules: shop_contract::Dependency,
    pub(super) breaker: Option<Rules>,
    /// Faults on calls to it; `None`: there are none.
    pub(super) faults: Option<Faults>,
    pub(super) shared: Arc<Shared>,
}

/// Name, host, and port unless the host says another one.
type Where = (String, Option<String>, u16);

/// What outlives a change of the rules.
#[derive(Debug)]
pub(super) struct Shared {
    /// What the document says of where it is.
    place: Where,
    pub(super) endpoints: Endpoints,
    breaker: Mutex<Breaker>,
    budget: Mutex<Budget>,
    pub(super) in_flight: AtomicUsize,
    pub(super) last_good: LastGood,
    pub(super) metrics: DependencyMetrics,
}

impl Dependencies {
    /// Those of a document; `None` without any. What is known of them is taken over.
    pub(crate) fn new(
        document: &Document,
        metrics: &Metrics,
        holder: &Arc<Holder>,
        before: Option<&Self>,
    ) -> Option<Self> {
        if document.depends_on.is_empty() {
            return None;
        }
        let namespace = document.identity.namespace.clone();
        let all = document.depends_on.iter().map(|rules| {
            let place = place(rules);
            let dial = Dial::of(rules.tls.as_ref(), holder);
            let known = before.and_then(|before| before.all.iter().find(|one| one.shared.place == place));
            let shared = known.map_or_else(
                || Arc::new(Shared::new(rules, &namespace, metrics, dial.clone())),
                |known| {
                    known.shared.endpoints.dial(&dial);
                    Arc::clone(&known.shared)
                },
            );
            let breaker = rules.circuit_breaker.as_ref().map(|breaker| Rules {
                requests: breaker.requests,
                error_percent: breaker.error_percent,
                window: Duration::from_millis(breaker.window_ms),
                open: Duration::from_millis(breaker.open_ms),
                trials: breaker.trials,
            });
            let faults = Faults::new(&document.faults, Some(&rules.name));
            Arc::new(Dependency { rules: rules.clone(), breaker, faults, shared })
        });
        let all = all.collect();
        let traces = before.map(|before| Arc::clone(&before.traces)).unwrap_or_default();
        Some(Self { namespace, all, traces })
    }

    /// The one that a host names.
    pub(super) fn named(&self, host: &str) -> Option<&Arc<Dependency>> {
        self.all.iter().find(|one| !one.is_bytes() && names::names(&one.rules, &self.namespace, host))
    }

    /// The one with this port.
    pub(super) fn at_port(&self, port: u16) -> Option<&Arc<Dependency>> {
        self.all.iter().find(|one| one.rules.local_port == Some(port))
    }

    /// Ports to listen on.
    pub(super) fn local_ports(&self) -> impl Iterator<Item = u16> {
        self.all.iter().filter_map(|one| one.rules.local_port)
    }

    /// Each, for its addresses to be followed.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.all.iter().map(|one| &one.shared)
    }

    /// What the operator is told.
    pub(crate) fn calls(&self) -> Vec<DependencyCalls> {
        let calls = |one: &Arc<Dependency>| {
            let (calls, failures) = one.shared.metrics.counted();
            DependencyCalls { name: one.rules.name.clone(), calls, failures }
        };
        self.all.iter().map(calls).collect()
    }
}

impl Dependency {
    /// Whether it is another ShopService: its sidecar answers, and understands ours.
    pub(super) fn is_of_shop(&self) -> bool {
        self.rules.host.is_none()
    }

    /// Whether it is spoken to as bytes.
    pub(super) fn is_bytes(&self) -> bool {
        self.rules.protocol == DependencyProtocol::Tcp
    }

    /// Takes a place among the requests under way; `None` if there is none.
    pub(super) fn take_place(&self) -> Option<Place> {
        let before = self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place { shared: Arc::clone(&self.shared) };
        let most = self.rules.max_in_flight.and_then(|most| usize::try_from(most).ok());
        most.is_none_or(|most| before < most).then_some(place)
    }

    /// Takes a retry out of the budget.
    pub(super) fn may_retry(&self, now: Duration) -> bool {
        let may = self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner).take(now);
        if may {
            self.shared.metrics.retries.inc();
        }
        may
    }
}

fn place(rules: &shop_contract::Dependency) -> Where {
    let port = match (&rules.host, &rules.tls) {
        (None, _) => ports::INBOUND,
        (Some(_), Some(DependencyTls::Host(_))) => names::HTTPS,
        (Some(_), _) => names::HTTP,
    };
    (rules.name.clone(), rules.host.clone(), port)
}

impl Shared {
    fn new(rules: &shop_contract::Dependency, namespace: &str, metrics: &Metrics, dial: Dial) -> Self {
        let place = place(rules);
        let endpoints = match &rules.host {
            Some(host) => {
                let (name, port) = names::split(host);
                Endpoints::new(name.to_owned(), port.unwrap_or(place.2), true, dial)
            }
            None => Endpoints::new(format!("{}-pods.{namespace}.svc", rules.name), place.2, false, dial),
        };
        Self {
            place,
            endpoints,
            breaker: Mutex::default(),
            budget: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            last_good: LastGood::default(),
            metrics: metrics.dependency(&rules.name),
        }
    }

    /// Follows its addresses.
    pub(super) async fn follow(&self, resolver: &Resolver, clock: &Clock) {
        loop {
            let was_found = self.endpoints.refresh(resolver).await;
            self.metrics.endpoints.set(i64::try_from(self.endpoints.len()).unwrap_or(i64::MAX));
            self.endpoints.pause(was_found, clock).await;
        }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins, and with it a part of a retry.
    pub(super) fn begun(&self, now: Duration) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).request(now);
    }
}

/// One request's place among those under way.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
