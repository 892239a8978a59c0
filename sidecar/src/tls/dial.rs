//! Connecting: plain, to another sidecar, or to a host outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shop_contract::DependencyTls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::identity::Holder;
use super::stream::{Stream, TlsStream};
use super::verify::id_of;
use super::{BUFFERED, H2, der};
use crate::upstream::Wire;

/// How long a handshake with another sidecar may take; it takes a millisecond, more where there is no CPU to be had.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// The same with a host outside.
const HANDSHAKE_OUTSIDE: Duration = Duration::from_secs(5);
/// How often failures of handshakes are logged, in seconds.
const TOLD_EVERY: u64 = 60;

/// How connections to an address are made. Connections of two kinds are never in one pool.
#[derive(Clone, Debug, Default)]
pub(crate) enum Dial {
    /// Without TLS.
    #[default]
    Plain,
    /// To a sidecar, with certificates on both sides.
    Sidecar(Arc<Sidecar>),
    /// To a host outside.
    Host(Arc<Host>),
}

/// A service, reached through its sidecars.
#[derive(Debug)]
pub(crate) struct Sidecar {
    holder: Arc<Holder>,
    /// Its SPIFFE id.
    id: String,
    told: Told,
}

/// A host outside.
#[derive(Debug)]
pub(crate) struct Host {
    holder: Arc<Holder>,
    name: ServerName<'static>,
    told: Told,
}

/// When a failure was logged last, in seconds since this was made and one more; 0: never.
#[derive(Debug)]
struct Told(Instant, AtomicU64);

impl Default for Told {
    fn default() -> Self {
        Self(Instant::now(), AtomicU64::new(0))
    }
}

impl Told {
    fn is_due(&self) -> bool {
        let now = self.0.elapsed().as_secs() + 1;
        let last = self.1.load(Ordering::Relaxed);
        let due = last == 0 || now >= last + TOLD_EVERY;
        due && self.1.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Dial {
    /// To the sidecars of the service with this SPIFFE id.
    pub(crate) fn sidecar(holder: &Arc<Holder>, id: &str) -> Self {
        Self::Sidecar(Arc::new(Sidecar {
            holder: Arc::clone(holder),
            id: id.to_owned(),
            told: Told::default(),
        }))
    }

    /// As a dependency asks for.
    pub(crate) fn of(tls: Option<&DependencyTls>, holder: &Arc<Holder>) -> Self {
        match tls {
            None => Self::Plain,
            Some(DependencyTls::Sidecar(id)) => Self::sidecar(holder, id),
            Some(DependencyTls::Host(name)) => match ServerName::try_from(name.clone()) {
                Ok(name) => {
                    Self::Host(Arc::new(Host { holder: Arc::clone(holder), name, told: Told::default() }))
                }
                // Never plain instead: a name that is none has no certificate either.
                Err(_) => Self::sidecar(&Arc::default(), ""),
            },
        }
    }

    /// Whether connections of both may be used for one another.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (Self::Sidecar(one), Self::Sidecar(other)) => one.id == other.id,
            (Self::Host(one), Self::Host(other)) => one.name == other.name,
            _ => false,
        }
    }

    /// What HTTP/2 says in `:scheme`. Between sidecars it stays what the app has said.
    pub(crate) fn scheme(&self) -> http::uri::Scheme {
        if matches!(self, Self::Host(_)) { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP }
    }

    /// A connection without delay for small writes. `None`: there is none in this time, or not of the right one.
    pub(crate) async fn connect(&self, address: SocketAddr, timeout: Duration, wire: Wire) -> Option<Stream> {
        // Without a certificate nothing is connected that could be refused.
        let identity = match self {
            Self::Sidecar(sidecar) => Some(sidecar.holder.for_call()?),
            _ => None,
        };
        let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        let (config, name, patience, told) = match (self, &identity) {
            (Self::Sidecar(sidecar), Some(own)) => {
                let config = if wire == Wire::Http2 { &own.http2 } else { &own.http1 };
                (Arc::clone(config), ServerName::from(address.ip()), HANDSHAKE, &sidecar.told)
            }
            (Self::Host(host), _) => {
                (host.holder.outside.client(wire)?, host.name.clone(), HANDSHAKE_OUTSIDE, &host.told)
            }
            _ => return Some(Stream::Plain(stream)),
        };
        let made = tokio::time::timeout(patience, handshake(stream, config, name)).await;
        let made = made.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match made.and_then(|stream| self.check(stream, wire)) {
            Ok(stream) => Some(Stream::Tls(Box::new(stream))),
            Err(error) => {
                if told.is_due() {
                    tracing::warn!(%address, error, "handshake with a dependency or another pod failed");
                }
                None
            }
        }
    }

    /// Looks at whom the connection has led to, and what was agreed on.
    fn check(&self, stream: TlsStream, wire: Wire) -> Result<TlsStream, String> {
        let (_, session) = stream.get_ref();
        if wire == Wire::Http2 && session.alpn_protocol() != Some(H2) {
            return Err("it does not speak HTTP/2".to_owned());
        }
        if let Self::Sidecar(sidecar) = self {
            let certificate = session.peer_certificates().and_then(|chain| chain.first());
            if certificate.is_none_or(|certificate| der::is_over(certificate)) {
                return Err("its certificate has ended".to_owned());
            }
            let found = certificate.and_then(id_of).unwrap_or_default();
            if found != sidecar.id {
                return Err(format!("its certificate is for {found}, and not for {}", sidecar.id));
            }
        }
        Ok(stream)
    }
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<TlsStream, String> {
    let connecting = TlsConnector::from(config).connect_with(name, stream, |session| {
        session.set_buffer_limit(Some(BUFFERED));
    });
    connecting.await.map(TlsStream::from).map_err(|error| error.to_string())
}
