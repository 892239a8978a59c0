//! A caller's handshake: in time, few at once, and with a certificate of a service.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::callers::Caller;
use super::identity::Identity;
use super::stream::Stream;
use super::{BUFFERED, H2, der};

/// How long a handshake may take from its first byte.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once. With one more, the oldest is given up: one that goes well takes milliseconds, so that a flood of slow ones
/// ends itself.
const AT_ONCE: usize = 256;

/// A connection with TLS.
pub(crate) struct Secured {
    pub(crate) stream: Stream,
    pub(crate) caller: Caller,
    /// What was agreed on.
    pub(crate) is_http2: bool,
    /// Whether it goes on with a session from before.
    pub(crate) is_resumed: bool,
}

/// Handshakes under way, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    /// Dropped for those that are given up.
    all: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One of them.
struct Place<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.lock().all.remove(&self.number);
    }
}

impl Handshakes {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and what ends when it is given up.
    fn enter(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let (sender, given_up) = oneshot::channel();
        let mut under_way = self.lock();
        if under_way.all.len() >= AT_ONCE {
            under_way.all.pop_first();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.all.insert(number, sender);
        (Place { handshakes: self, number }, given_up)
    }

    /// Makes the handshake of a connection from which `first` was read already. `None`: it did not go well.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        first: &[u8],
        identity: &Identity,
    ) -> Option<Secured> {
        let acceptor = TlsAcceptor::from(Arc::clone(&identity.server));
        let mut fed = Ok(0);
        let accepting = acceptor.accept_with(stream, |session| {
            session.set_buffer_limit(Some(BUFFERED));
            // Reading nothing would be its end.
            if !first.is_empty() {
                fed = session.read_tls(&mut io::Cursor::new(first));
            }
        });
        fed.ok().filter(|fed| *fed == first.len())?;
        let (place, given_up) = self.enter();
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(HANDSHAKE, accepting) => accepted.ok()?,
            _ = given_up => return None,
        };
        drop(place);
        let stream = accepted.inspect_err(|error| tracing::debug!(%error, "handshake failed")).ok()?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates()?.first()?;
        let caller = Caller::of(certificate).filter(|_| !der::is_over(certificate))?;
        let is_http2 = session.alpn_protocol() == Some(H2);
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Some(Secured { stream: Stream::Tls(Box::new(stream.into())), caller, is_http2, is_resumed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let handshakes = Handshakes::default();
        let mut all: Vec<_> = (0..AT_ONCE).map(|_| handshakes.enter()).collect();
        let is_given_up = |one: &mut (Place<'_>, oneshot::Receiver<()>)| {
            matches!(one.1.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        assert!(!is_given_up(&mut all[0]));
        let _newest = handshakes.enter();
        assert!(is_given_up(&mut all[0]) && !is_given_up(&mut all[1]));
        drop(all);
        assert_eq!(handshakes.lock().all.len(), 1);
    }
}
