//! Calls of the app to other services, through this sidecar: a forward proxy on a port of its own, and a port for each
//! dependency that asks for one, all on 127.0.0.1.
//!
//! A call's way: [`connection`] -> [`request`] (which dependency, what it inherits) -> [`call`] (its tries, each at one of
//! [`endpoints`]) -> [`answer`]. What is spoken to as [`bytes`] has a port of its own. Hosts that are no dependency go [`through`]. Nothing here ends in the drain: the app may call
//! until it has exited.

mod answer;
mod bytes;
mod call;
mod connection;
pub(crate) mod context;
pub(crate) mod dependency;
mod endpoints;
mod fault;
mod flight;
mod last_good;
pub(crate) mod names;
mod request;
pub(crate) mod resolver;
mod span;
mod through;
mod tunnel;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::dependency::Shared;
use self::resolver::Resolver;
use self::through::Through;
use crate::config::Config;
use crate::sidecar::{StartError, listen};
use crate::telemetry::Telemetry;

/// Connections of the app to one port; more wait.
const CONNECTIONS: usize = 4_096;

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Door {
    config: Arc<Config>,
    telemetry: Arc<Telemetry>,
    resolver: Resolver,
    through: Through,
    /// What is open, by the port that was asked for: 0 may be asked for the one of all.
    open: Mutex<HashMap<u16, SocketAddr>>,
}

impl Door {
    pub(crate) fn new(config: Arc<Config>, telemetry: Arc<Telemetry>, resolver: Resolver) -> Self {
        Self { config, telemetry, resolver, through: Through::default(), open: Mutex::default() }
    }

    fn listens_on(&self, port: u16) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().any(|address| address.port() == port)
    }

    /// Where the port is that was asked for.
    pub(crate) fn address(&self, port: u16) -> Option<SocketAddr> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&port).copied()
    }
}

/// What runs for the dependencies of the document in use.
#[derive(Debug)]
pub(crate) struct Outbound {
    door: Arc<Door>,
    address: SocketAddr,
    listening: HashMap<u16, AbortOnDropHandle<()>>,
    /// Held for their end: they are aborted when they are dropped.
    following: Vec<(Arc<Shared>, AbortOnDropHandle<()>)>,
}

impl Outbound {
    /// `address` is where all dependencies can be called; opened when there is one.
    pub(crate) fn new(door: Arc<Door>, address: SocketAddr) -> Self {
        Self { door, address, listening: HashMap::new(), following: Vec::new() }
    }

    /// Opens and follows what the document in use names, and nothing else any more.
    pub(crate) fn apply(&mut self) -> Result<(), StartError> {
        let snapshot = self.door.config.current();
        let dependencies = snapshot.as_ref().and_then(|snapshot| snapshot.dependencies.as_ref());
        let Some(dependencies) = dependencies else {
            self.following.clear();
            self.close(&[]);
            return Ok(());
        };
        self.following.retain(|(known, _)| dependencies.shared().any(|shared| Arc::ptr_eq(shared, known)));
        for shared in dependencies.shared() {
            if !self.following.iter().any(|(known, _)| Arc::ptr_eq(shared, known)) {
                let (door, followed) = (Arc::clone(&self.door), Arc::clone(shared));
                let task =
                    tokio::spawn(async move { followed.follow(&door.resolver, &door.telemetry.clock).await });
                self.following.push((Arc::clone(shared), AbortOnDropHandle::new(task)));
            }
        }
        let ports: Vec<u16> = dependencies.local_ports().chain([self.address.port()]).collect();
        self.close(&ports);
        self.open(self.address, None)?;
        for port in dependencies.local_ports() {
            self.open(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Some(port))?;
        }
        Ok(())
    }

    fn close(&mut self, but: &[u16]) {
        self.listening.retain(|port, _| but.contains(port));
        let mut open = self.door.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|port, _| but.contains(port));
    }

    fn open(&mut self, address: SocketAddr, port: Option<u16>) -> Result<(), StartError> {
        if self.listening.contains_key(&address.port()) {
            return Ok(());
        }
        let listener = listen(address, "calls of the app")?;
        let bound = listener.local_addr().unwrap_or(address);
        self.door.open.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port(), bound);
        let task = tokio::spawn(serve(listener, port, Arc::clone(&self.door)));
        self.listening.insert(address.port(), AbortOnDropHandle::new(task));
        Ok(())
    }

    /// Applies every change of the document. Never returns.
    pub(crate) async fn follow(mut self) {
        let mut changes = self.door.config.subscribe();
        // What came between the first document and now.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            if let Err(error) = self.apply() {
                tracing::error!(error = %error, "calls of the app to a dependency are not taken");
            }
        }
    }
}

/// Accepts connections; never returns.
async fn serve(listener: TcpListener, port: Option<u16>, door: Arc<Door>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with this port.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let door = Arc::clone(&door);
        connections.spawn(async move {
            connection::serve(stream, port, door).await;
            drop(permit);
        });
    }
}
