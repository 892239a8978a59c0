//! A service from its settings to its end.

use std::error::Error;
use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::faults::Faults;
use crate::front::{Context, Front, Routes, VersionError};
use crate::logs::{self, LogsError};
use crate::serve::{Ended, Limits, ListenError, listen, serve};
use crate::settings::Settings;
use crate::stop::Stop;

/// Why a service did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Logging could not start.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// The version cannot be sent.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The port could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    /// The service's own parts could not be built.
    #[error("{0}")]
    Build(#[source] Box<dyn Error + Send + Sync>),
    /// The fault `crash-at-start`.
    #[error("crashing at start, as the fault `crash-at-start` asks for")]
    CrashAtStart,
}

/// Runs a service until SIGTERM or SIGINT, then lets it finish what is in flight. `build` makes its routes.
pub async fn run<B, F, E>(service: &'static str, settings: &Settings, build: B) -> Result<(), RunError>
where
    B: FnOnce(Context) -> F,
    F: Future<Output = Result<Routes, E>>,
    E: Error + Send + Sync + 'static,
{
    logs::start(service, &settings.log)?;
    let mut signals = Signals::new()?;
    let faults = Faults::new(&settings.asked_faults());
    if faults.crash_at_start() {
        return Err(RunError::CrashAtStart);
    }
    faults.start_timers();
    let stop = Stop::new();
    if faults.never_listen() {
        tracing::warn!(fault = "never-listen", "the port stays closed, as asked for");
        signals.next().await;
        return Ok(());
    }
    let context = Context {
        version: settings.shop_version.as_str().into(),
        revision: settings.revision.as_deref().map(Into::into),
        stop: stop.clone(),
    };
    let routes = build(context.clone()).await.map_err(|error| RunError::Build(error.into()))?;
    let front = Front::new(&context, faults, routes)?;
    let listener = listen(settings.address()).await?;
    let address = listener.local_addr().unwrap_or_else(|_| settings.address());
    tracing::info!(%address, version = &*context.version, "listening");
    let ending = stop.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, in_flight = ending.in_flight(), "ending");
        ending.begin();
    });
    match serve(listener, front, stop, Limits::default()).await {
        Ended::Clean => tracing::info!("ended, nothing was cut"),
        Ended::Cut(in_flight) => tracing::warn!(in_flight, "ended, the time was over"),
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let on = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
