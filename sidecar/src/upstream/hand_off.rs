//! Handing requests to another revision's pods: which requests, to which address, and what if none takes one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use shop_contract::HandOff;
use shop_flow::balance;

use super::{Answered, Failure, Opened, Outbound, Unanswered, Upstream, Wire};
use crate::choice::Choice;
use crate::handover::preface;
use crate::outbound::names;
use crate::outbound::resolver::Resolver;
use crate::telemetry::Telemetry;
use crate::tls::Dial;

/// How long connecting to another pod may take; in a cluster it takes well under a millisecond.
const CONNECT: Duration = Duration::from_millis(250);
/// Pushed addresses that are tried for one request.
const TRIES: usize = 3;
/// How long the fallback's addresses are used before its name is resolved again.
const RESOLVED_FOR: Duration = Duration::from_secs(1);
/// How long resolving may take.
const RESOLVE: Duration = Duration::from_millis(500);

/// Where a share of requests goes.
#[derive(Debug)]
pub struct Route {
    /// Whether a request that cannot be handed over is served here.
    pub may_serve_locally: bool,
    /// Which requests go there.
    pub choice: Choice,
    /// The revision that answers.
    pub targets: Targets,
}

impl Route {
    /// The route of a document.
    pub fn new(hand_off: &HandOff, choice: Choice, targets: Targets) -> Self {
        Self { may_serve_locally: hand_off.may_serve_locally, choice, targets }
    }
}

/// Pods of another revision, and the Service that leads to them.
#[derive(Debug)]
pub struct Targets {
    /// Their revision.
    pub to_revision: i64,
    pushed: Vec<Arc<Upstream>>,
    fallback: Arc<Fallback>,
}

impl Targets {
    /// Pods of `to_revision` at `addresses`, which have been pushed, or behind `fallback`, connected to by `dial`. Connections of
    /// `before` are used on.
    pub(crate) fn new(
        to_revision: i64,
        fallback: &str,
        addresses: &[SocketAddr],
        (dial, names): (&Dial, &Resolver),
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.to_revision == to_revision);
        let resolved = before
            .filter(|before| before.fallback.host == fallback && before.fallback.dial.same(dial))
            .map(|before| Arc::clone(&before.fallback));
        let known = before.map_or(&[] as &[Arc<Upstream>], |before| &before.pushed);
        let target = |address: &SocketAddr| {
            let known = known.iter().find(|target| target.is_at(*address, dial));
            known.map_or_else(|| Arc::new(Upstream::dialled(*address, CONNECT, dial.clone())), Arc::clone)
        };
        Self {
            to_revision,
            pushed: addresses.iter().map(target).collect(),
            fallback: resolved.unwrap_or_else(|| Arc::new(Fallback::new(fallback, dial, names))),
        }
    }

    /// Sends a request to the less loaded of two pushed addresses, to another one if it was not sent, and at last to the
    /// fallback. `failures` counts attempts that failed.
    pub async fn send(
        &self,
        mut outbound: Outbound,
        wire: Wire,
        telemetry: &Telemetry,
        failures: Option<&IntCounter>,
    ) -> Result<Answered, Unanswered> {
        for _ in 0..TRIES.min(self.pushed.len()) {
            let Some(target) = self.pick(telemetry.clock.now()) else { break };
            outbound = match attempt(target, outbound, wire, telemetry, failures).await? {
                Attempt::Answered(answered) => return Ok(answered),
                Attempt::Unsent(outbound) => *outbound,
            };
        }
        for target in self.fallback.targets().await {
            outbound = match attempt(&target, outbound, wire, telemetry, failures).await? {
                Attempt::Answered(answered) => return Ok(answered),
                Attempt::Unsent(outbound) => *outbound,
            };
        }
        Err(Unanswered { failure: Failure::Connect, unsent: Some(Box::new(outbound)) })
    }

    /// The less loaded of two pushed addresses.
    fn pick(&self, now: Duration) -> Option<&Arc<Upstream>> {
        let load = |index: usize| {
            let idle = balance::Load { in_flight: 0, avoided: true };
            self.pushed.get(index).map_or(idle, |target| target.load(now))
        };
        balance::pick(self.pushed.len(), rand::random(), load).and_then(|index| self.pushed.get(index))
    }

    /// Opens a connection for bytes at one of the same addresses, in the same order. `seal` is what is said there first; an
    /// address counts when its sidecar has answered that its app has the connection.
    pub(crate) async fn open(
        &self,
        seal: &[u8],
        telemetry: &Telemetry,
        failures: &IntCounter,
    ) -> Option<Opened> {
        let attempt = async |target: &Arc<Upstream>| {
            let opened = match target.open().await {
                Some(opened) => preface::introduce(opened, seal).await,
                None => None,
            };
            if opened.is_some() {
                target.succeeded();
            } else {
                target.failed(telemetry.clock.now());
                failures.inc();
            }
            opened
        };
        for _ in 0..TRIES.min(self.pushed.len()) {
            let Some(target) = self.pick(telemetry.clock.now()) else { break };
            if let Some(opened) = attempt(target).await {
                return Some(opened);
            }
        }
        for target in self.fallback.targets().await {
            if let Some(opened) = attempt(&target).await {
                return Some(opened);
            }
        }
        None
    }
}

#[allow(clippy::large_enum_variant, reason = "taken apart where it is made, once per request")]
enum Attempt {
    Answered(Answered),
    Unsent(Box<Outbound>),
}

async fn attempt(
    target: &Arc<Upstream>,
    outbound: Outbound,
    wire: Wire,
    telemetry: &Telemetry,
    failures: Option<&IntCounter>,
) -> Result<Attempt, Unanswered> {
    match target.send(outbound, wire).await {
        Ok(answered) => {
            target.succeeded();
            Ok(Attempt::Answered(answered))
        }
        Err(unanswered) if unanswered.failure.is_callers() => Err(unanswered),
        Err(unanswered) => {
            target.failed(telemetry.clock.now());
            if let Some(failures) = failures {
                failures.inc();
            }
            match unanswered.unsent {
                Some(outbound) => Ok(Attempt::Unsent(outbound)),
                None => Err(Unanswered { unsent: None, ..unanswered }),
            }
        }
    }
}

/// `host:port` of a Service, resolved when needed.
#[derive(Debug)]
struct Fallback {
    host: String,
    dial: Dial,
    resolver: Resolver,
    resolved: Mutex<Option<(Instant, Vec<Arc<Upstream>>)>>,
}

impl Fallback {
    fn new(host: &str, dial: &Dial, resolver: &Resolver) -> Self {
        let (dial, resolver) = (dial.clone(), resolver.clone());
        Self { host: host.to_owned(), dial, resolver, resolved: Mutex::new(None) }
    }

    /// Its addresses; the last good ones when the name cannot be resolved now.
    async fn targets(&self) -> Vec<Arc<Upstream>> {
        let known = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = match known {
            Some((at, targets)) if at.elapsed() < RESOLVED_FOR => return targets,
            Some((_, targets)) => targets,
            None => Vec::new(),
        };
        let (name, port) = names::split(&self.host);
        let asked = tokio::time::timeout(RESOLVE, self.resolver.addresses(name));
        let Ok(Some(found)) = asked.await else { return known };
        let port = port.unwrap_or(names::HTTP);
        let found = found.into_iter().take(TRIES).map(|ip| SocketAddr::new(ip, port));
        let target = |address: SocketAddr| {
            let known = known.iter().find(|target| target.address() == address);
            known.map_or_else(|| Arc::new(Upstream::dialled(address, CONNECT, self.dial.clone())), Arc::clone)
        };
        let targets: Vec<_> = found.map(target).collect();
        *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), targets.clone()));
        targets
    }
}
