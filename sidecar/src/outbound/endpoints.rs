//! The pods of a dependency: which there are, how they did, and which gets a request.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use shop_contract::Balance;
use shop_flow::balance::{self, Load};
use shop_flow::spread;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::resolver::Resolver;
use crate::clock::Clock;
use crate::tls::Dial;
use crate::upstream::Upstream;

/// How long connecting to a pod may take; in a cluster it takes well under a millisecond.
const CONNECT: Duration = Duration::from_millis(250);
/// The same for a host outside.
const CONNECT_OUTSIDE: Duration = Duration::from_secs(2);
/// How often the name is resolved while the dependency is used.
const REFRESH: Duration = Duration::from_secs(2);
/// And while it is not.
const REFRESH_UNUSED: Duration = Duration::from_secs(5);
/// And when that failed.
const REFRESH_FAILED: Duration = Duration::from_secs(1);
/// Without a call for so long it is not used.
const UNUSED: Duration = Duration::from_secs(10);
/// Between two questions, however many ask for one.
const SOONEST: Duration = Duration::from_millis(200);
/// How long an answer may be awaited before the pod is asked for a sign of life.
const SILENT: Duration = Duration::from_millis(300);
/// How long after that it is asked again.
const SILENT_AGAIN: Duration = Duration::from_secs(2);

/// One pod.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) upstream: Arc<Upstream>,
    /// Its answers' smoothed time in microseconds.
    took_us: AtomicU64,
    name: u64,
    connect: Duration,
    /// Milliseconds on the clock when it was last asked for a sign of life.
    asked: AtomicU64,
    /// Told when it gives none.
    dead: Notify,
}

impl Endpoint {
    fn new(address: SocketAddr, connect: Duration, dial: Dial) -> Self {
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        Self {
            upstream: Arc::new(Upstream::dialled(address, connect, dial)),
            took_us: AtomicU64::new(0),
            name: hasher.finish(),
            connect,
            asked: AtomicU64::new(0),
            dead: Notify::new(),
        }
    }

    /// It answered.
    pub(super) fn answered(&self, took: Duration) {
        self.upstream.succeeded();
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.took_us.load(Ordering::Relaxed);
        self.took_us.store(spread::smooth(before, took), Ordering::Relaxed);
    }

    /// Returns when the pod gives no sign of life: a machine that is gone closes no connection, and whoever waits for an answer
    /// on one would wait for all the time it has.
    pub(super) async fn dies(&self, clock: &Clock) {
        let watched = async {
            tokio::time::sleep(SILENT).await;
            loop {
                let now = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
                let asked = self.asked.load(Ordering::Relaxed);
                let due = now.saturating_sub(asked) >= u64::try_from(SILENT.as_millis()).unwrap_or(0);
                let mine = due
                    && self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
                if mine && !self.is_there().await {
                    self.dead.notify_waiters();
                    return;
                }
                tokio::time::sleep(SILENT_AGAIN).await;
            }
        };
        tokio::select! {
            () = watched => {}
            () = self.dead.notified() => {}
        }
    }

    async fn is_there(&self) -> bool {
        let connected = TcpStream::connect(self.upstream.address());
        matches!(tokio::time::timeout(self.connect, connected).await, Ok(Ok(_)))
    }
}

/// All pods, as far as DNS tells.
#[derive(Debug)]
pub(super) struct Endpoints {
    host: String,
    port: u16,
    connect: Duration,
    known: ArcSwap<Vec<Arc<Endpoint>>>,
    /// How they are connected to; held while `known` is changed.
    dial: Mutex<Dial>,
    /// How often the name was resolved, well or not.
    resolved: watch::Sender<u64>,
    ask: Notify,
    turn: AtomicUsize,
    /// Milliseconds on the clock of the last call.
    used: AtomicU64,
}

impl Endpoints {
    pub(super) fn new(host: String, port: u16, outside: bool, dial: Dial) -> Self {
        Self {
            host,
            port,
            connect: if outside { CONNECT_OUTSIDE } else { CONNECT },
            known: ArcSwap::default(),
            dial: Mutex::new(dial),
            resolved: watch::channel(0).0,
            ask: Notify::new(),
            turn: AtomicUsize::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.load().len()
    }

    /// The pod for the next request; those that were tried for it already, and those that failed lately, are left out as long as
    /// there is another one.
    pub(super) fn choose(
        &self,
        balance: Balance,
        key: impl Fn() -> u64,
        tried: &[SocketAddr],
        now: Duration,
    ) -> Option<Arc<Endpoint>> {
        self.used.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let known = self.known.load();
        let all = known.as_slice();
        let load = |index: usize| {
            let gone = Load { in_flight: 0, avoided: true };
            all.get(index).map_or(gone, |endpoint| {
                let load = endpoint.upstream.load(now);
                Load { avoided: load.avoided || tried.contains(&endpoint.upstream.address()), ..load }
            })
        };
        let index = match balance {
            Balance::LeastRequest => balance::pick(all.len(), rand::random(), load),
            Balance::RoundRobin => {
                spread::in_turn(all.len(), self.turn.fetch_add(1, Ordering::Relaxed), load)
            }
            Balance::Random => spread::at_random(all.len(), rand::random(), load),
            Balance::Weighted => {
                let took = |index: usize| all.get(index).map_or(0, |one| one.took_us.load(Ordering::Relaxed));
                spread::weighted(all.len(), rand::random(), load, took)
            }
            Balance::ConsistentHash => {
                spread::by_key(all.len(), key(), |index| all.get(index).map_or(0, |one| one.name), load)
            }
        };
        all.get(index?).map(Arc::clone)
    }

    /// A pod could not be reached: there may be others by now.
    pub(super) fn ask(&self) {
        self.ask.notify_one();
    }

    /// Waits until the name has been resolved for the first time, well or not.
    pub(super) async fn first(&self) {
        if self.len() == 0 && *self.resolved.borrow() == 0 {
            // The other end is in `self`.
            let _ = self.resolved.subscribe().wait_for(|times| *times > 0).await;
        }
    }

    /// Resolves the name. The last addresses that were found are kept while nothing is. Says whether something was.
    pub(super) async fn refresh(&self, resolver: &Resolver) -> bool {
        let found = resolver.addresses(&self.host).await;
        if let Some(found) = &found {
            self.put(found);
        }
        self.resolved.send_modify(|times| *times += 1);
        found.is_some()
    }

    /// Waits until it is time to do that again, or somebody asks for it.
    pub(super) async fn pause(&self, was_found: bool, clock: &Clock) {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        let pause = match was_found {
            false => REFRESH_FAILED,
            true if clock.now() < used + UNUSED => REFRESH,
            true => REFRESH_UNUSED,
        };
        // Not all sidecars at the same time.
        let pause = pause.mul_f64(0.75 + rand::random::<f64>() / 4.0);
        tokio::time::sleep(SOONEST).await;
        let _ = tokio::time::timeout(pause, self.ask.notified()).await;
    }

    /// Connects to all of them like this from now on. What is under way goes on as it is.
    pub(super) fn dial(&self, dial: &Dial) {
        let mut current = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.same(dial) {
            *current = dial.clone();
            let known = self.known.load();
            let again =
                known.iter().map(|one| Endpoint::new(one.upstream.address(), self.connect, dial.clone()));
            self.known.store(Arc::new(again.map(Arc::new).collect()));
        }
    }

    fn put(&self, found: &[IpAddr]) {
        let dial = self.dial.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        let addresses = found.iter().map(|ip| SocketAddr::new(*ip, self.port));
        let same = |endpoint: &Arc<Endpoint>, address| endpoint.upstream.address() == address;
        if known.len() == found.len() && known.iter().zip(addresses.clone()).all(|(one, at)| same(one, at)) {
            return;
        }
        let endpoint = |address: SocketAddr| {
            let before = known.iter().find(|endpoint| same(endpoint, address));
            before.map_or_else(|| Arc::new(Endpoint::new(address, self.connect, dial.clone())), Arc::clone)
        };
        tracing::info!(host = self.host, endpoints = found.len(), "endpoints changed");
        self.known.store(Arc::new(addresses.map(endpoint).collect()));
    }
}
