//! The inbound port: callers' connections, their requests, and where each of them is answered.

mod answer;
mod connection;
mod fault;
pub(crate) mod headers;
mod http1;
mod http2;
mod request;
mod rewind;
mod sender;
mod signal;
mod tcp;
mod traced;
mod tunnel;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shop_contract::Protocol;
use tokio::net::TcpListener;

pub(crate) use answer::refusal;

use crate::config::Config;
use crate::drain::DrainControl;
use crate::telemetry::Telemetry;
use crate::tls::Handshakes;

/// Connections before a document says how many may come.
const MAX_CONNECTIONS: usize = 1_000;

/// What all requests share.
#[derive(Debug)]
pub struct Proxy {
    config: Arc<Config>,
    drain: Arc<DrainControl>,
    telemetry: Arc<Telemetry>,
    handshakes: Handshakes,
    /// Milliseconds on the clock when the last request began; negative before the first.
    last_request: AtomicI64,
}

impl Proxy {
    /// Without requests yet.
    pub fn new(config: Arc<Config>, drain: Arc<DrainControl>, telemetry: Arc<Telemetry>) -> Self {
        let handshakes = Handshakes::default();
        Self { config, drain, telemetry, handshakes, last_request: AtomicI64::new(-1) }
    }

    /// How long ago the last request began.
    pub fn idle_for(&self) -> Option<Duration> {
        let last = u64::try_from(self.last_request.load(Ordering::Relaxed)).ok()?;
        Some(self.telemetry.clock.now().saturating_sub(Duration::from_millis(last)))
    }

    fn begun(&self, at: Duration) {
        self.telemetry.metrics.in_flight.inc();
        self.last_request.store(i64::try_from(at.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Accepts connections, in a drain too: callers learn of it with a delay. Never returns.
pub async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    let refusals = Arc::new(tokio::sync::Semaphore::new(64));
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: the ones in use go on, and one of them may end.
                tracing::warn!(error = %error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let snapshot = proxy.config.current();
        let limit = snapshot.as_ref().map_or(MAX_CONNECTIONS, |snapshot| {
            usize::try_from(snapshot.document.max_connections).unwrap_or(usize::MAX)
        });
        let bytes = snapshot.filter(|snapshot| snapshot.document.app.protocol == Protocol::Tcp);
        if proxy.drain.connections() >= limit {
            proxy.telemetry.metrics.answered_by_itself(shop_contract::reasons::TOO_MANY_CONNECTIONS);
            if bytes.is_some() {
                // There is no other way to say it.
                let _ = stream.set_zero_linger();
            } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                tokio::spawn(async move {
                    connection::refuse(stream).await;
                    drop(permit);
                });
            }
            continue;
        }
        let open = proxy.drain.open();
        let peer = sender::Peer::new(client.ip());
        tokio::spawn(connection::serve(stream, peer, open, bytes, Arc::clone(&proxy)));
    }
}
