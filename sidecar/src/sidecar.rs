//! A sidecar as a whole: starts its parts, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Admin};
use crate::auth;
use crate::clock::Clock;
use crate::config::{Config, watch};
use crate::drain::DrainControl;
use crate::inbound::{self, Proxy};
use crate::limits;
use crate::outbound::{Door, Outbound};
use crate::settings::Settings;
use crate::telemetry::trace::export::{self, Exporter};
use crate::telemetry::{AccessLog, Metrics, Telemetry, Traces, Window};
use crate::{control, telemetry};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4_096;
/// How long open connections may go on after SIGTERM. The kubelet sends it when the app has ended, so there is little left.
const LAST_CONNECTIONS: Duration = Duration::from_secs(5);
/// How long closing what is open may take.
const CLOSING: Duration = Duration::from_secs(2);
/// How long the last spans and log lines may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, or not allowed.
    #[error("cannot listen on {0} for {1}; is the port in use?")]
    Listen(SocketAddr, &'static str, #[source] io::Error),
    /// The state folder cannot be written.
    #[error("cannot make the control socket in the state folder; it must be writable")]
    Control(#[source] io::Error),
    /// No thread for the access log.
    #[error("cannot start the access log")]
    AccessLog(#[source] io::Error),
    /// The table of metrics contradicts itself.
    #[error("cannot make the metrics")]
    Metrics(#[source] prometheus::Error),
}

/// A running sidecar. Dropping it ends it at once.
#[derive(Debug)]
pub struct Sidecar {
    /// Address of the inbound port.
    pub inbound: SocketAddr,
    /// Address of the admin port.
    pub admin: SocketAddr,
    /// What it is told.
    pub config: Arc<Config>,
    /// Where the app calls its dependencies.
    door: Arc<Door>,
    outbound_asked: u16,
    /// Its drain.
    pub drain: Arc<DrainControl>,
    /// What it counts.
    pub telemetry: Arc<telemetry::Telemetry>,
    /// Held for their end: they are aborted when they are dropped.
    #[allow(dead_code)]
    tasks: Vec<AbortOnDropHandle<()>>,
    /// Sends spans until it is told to stop.
    exporter: (oneshot::Sender<()>, AbortOnDropHandle<()>),
}

impl Sidecar {
    /// Listens, reads the document, and serves, on the runtime it is called in.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let (traces, spans) = Traces::new();
        let telemetry = Arc::new(Telemetry {
            traces,
            metrics: Metrics::new().map_err(StartError::Metrics)?,
            window: Window::default(),
            mirrored: Window::default(),
            access_log: AccessLog::start(settings.access_log).map_err(StartError::AccessLog)?,
            clock: Clock::start(),
        });
        let inbound_listener = listen(settings.inbound, "callers")?;
        let admin_listener = listen(settings.admin, "probes and configuration")?;
        let control_listener = control::listen(&settings.state_dir).map_err(StartError::Control)?;
        let addresses =
            (address(&inbound_listener, settings.inbound), address(&admin_listener, settings.admin));

        let config = Arc::new(Config::new(&settings, Arc::clone(&telemetry)));
        let drain = Arc::new(DrainControl::new(Arc::clone(&telemetry)));
        let proxy = Arc::new(Proxy::new(Arc::clone(&config), Arc::clone(&drain), Arc::clone(&telemetry)));
        let admin = Arc::new(Admin {
            config: Arc::clone(&config),
            drain: Arc::clone(&drain),
            proxy: Arc::clone(&proxy),
            telemetry: Arc::clone(&telemetry),
        });
        let resource = export::resource(&settings);
        config.start();
        let resolver = config.resolver().clone();
        let door = Door::new(Arc::clone(&config), Arc::clone(&telemetry), resolver.clone());
        let door = Arc::new(door);
        let mut outbound = Outbound::new(Arc::clone(&door), settings.outbound);
        // Before the probe of the admin port lets the app start.
        outbound.apply()?;
        let outbound_asked = settings.outbound.port();
        let tasks = [
            tokio::spawn(auth::follow(Arc::clone(&config), Arc::clone(&telemetry), resolver)),
            tokio::spawn(outbound.follow()),
            tokio::spawn(limits::peers::tell(Arc::clone(&config))),
            tokio::spawn(follow_drain_max(Arc::clone(&config), Arc::clone(&drain))),
            tokio::spawn(watch::follow(Arc::clone(&config), vec![settings.config_dir, settings.keys_dir])),
            tokio::spawn(control::serve(control_listener, Arc::clone(&drain))),
            tokio::spawn(admin::serve(admin_listener, admin)),
            tokio::spawn(inbound::serve(inbound_listener, proxy)),
        ];
        let (stop_spans, stop) = oneshot::channel();
        let exporter = Exporter {
            spans,
            stop,
            resource,
            config: Arc::clone(&config),
            telemetry: Arc::clone(&telemetry),
        };
        let exporter = (stop_spans, AbortOnDropHandle::new(tokio::spawn(exporter.run())));
        let (inbound, admin) = addresses;
        tracing::info!(%inbound, %admin, "sidecar started");
        let tasks = tasks.into_iter().map(AbortOnDropHandle::new).collect();
        Ok(Self { inbound, admin, config, door, outbound_asked, drain, telemetry, tasks, exporter })
    }

    /// Address of the port for calls to all dependencies; `None` while there is none.
    pub fn outbound(&self) -> Option<SocketAddr> {
        self.door.address(self.outbound_asked)
    }

    /// Ends it: begins the drain if that has not happened, gives open connections a moment, and closes them.
    pub async fn stop(self) {
        self.drain.begin();
        if !self.closed_within(LAST_CONNECTIONS).await {
            self.drain.give_up();
            self.closed_within(CLOSING).await;
        }
        let connections = self.drain.connections();
        self.flush().await;
        tracing::info!(connections, "sidecar stopped");
    }

    /// Spans and log lines of the last requests leave too.
    async fn flush(self) {
        let telemetry = Arc::clone(&self.telemetry);
        let written = tokio::task::spawn_blocking(move || telemetry.access_log.flush(FLUSH));
        let (stop, exporter) = self.exporter;
        // It has ended already if nobody listens.
        let _ = stop.send(());
        let _ = tokio::time::timeout(FLUSH, exporter).await;
        let _ = written.await;
    }

    async fn closed_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.drain.all_closed()).await.is_ok()
    }
}

/// The longest drain is the document's.
async fn follow_drain_max(config: Arc<Config>, drain: Arc<DrainControl>) {
    let mut changes = config.subscribe();
    loop {
        if let Some(snapshot) = config.current() {
            drain.set_max(Duration::from_millis(snapshot.document.drain_max_ms));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

pub(crate) fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listening = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listening.map_err(|error| StartError::Listen(address, purpose, error))
}

/// The address with the port that the system chose, if it was asked to.
fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
