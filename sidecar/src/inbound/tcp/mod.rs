//! Connections of a service whose protocol is tcp: bytes both ways, and nothing known of them.
//!
//! A connection's way: who it is from (itself, or another revision's sidecar that says so) -> [`Limits::check_connection`] ->
//! which revision has it -> bytes, until both sides have ended, or the drain ends it.
//!
//! [`Limits::check_connection`]: crate::limits::Limits::check_connection

mod record;

use std::future::poll_fn;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use shop_contract::reasons;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::record::Record;
use super::Proxy;
use super::answer::Way;
use super::request::{HAND_OFF_PATIENCE, HAND_OFF_PAUSE};
use super::sender::Peer;
use super::signal::Signal;
use crate::config::Snapshot;
use crate::handover::{self, Handover, preface};
use crate::relay::{self, End};
use crate::tls::callers::{self, Shown};
use crate::tls::{ReadHalf, Stream, WriteHalf};
use crate::upstream::{Lease, Opened};

/// How long a connection may begin in silence where it matters whether another revision's sidecar has sent it: that says so at
/// once, but of a client whose server speaks first nothing comes.
pub(super) const SEAL: Duration = Duration::from_millis(20);
/// How long either side may take to end after it was ended from here.
const CLOSING: Duration = Duration::from_secs(2);

type Client<O> = preface::Unsealed<ReadHalf, O>;

/// Whoever has the connection.
struct Far {
    read: ReadHalf,
    write: WriteHalf,
    /// What it has said already.
    first: Vec<u8>,
    lease: Lease,
    /// Whether it is this pod's app.
    is_here: bool,
}

impl Far {
    fn new(Opened { stream, first, lease }: Opened, is_here: bool) -> Self {
        let (read, write) = stream.into_split();
        Self { read, write, first, lease, is_here }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, peer: Peer, snapshot: Arc<Snapshot>, proxy: &Arc<Proxy>) {
    let mut record = Record::begin(proxy, &snapshot, peer.address);
    record.caller = peer.caller.as_ref().map(callers::Caller::field);
    let shown = Shown::Here(peer.caller.as_ref());
    let allowed = callers::step(snapshot.callers.as_ref(), shown, &mut HeaderMap::new());
    let (read, mut write) = stream.into_split();
    let told = Arc::clone(&snapshot);
    let mut client = preface::Unsealed::new(read, move |seal: &HeaderValue| open_seal(&told, seal));
    let admitted = match allowed {
        Ok(()) => admit(&mut client, &mut write, &snapshot, proxy, &mut record).await,
        Err(reason) => record.refuse(StatusCode::FORBIDDEN, reason),
    };
    let Some(mut far) = admitted else {
        // An end would be taken for an answer without bytes.
        return write.reset();
    };
    let first = std::mem::take(&mut far.first);
    let mut from_far = Cursor::new(first).chain(&mut far.read);
    let metrics = &proxy.telemetry.metrics;
    let (near, other) = ((&mut client, &mut write), (&mut from_far, &mut far.write));
    let follow = (|bytes| metrics.tcp_received.inc_by(bytes), |bytes| metrics.tcp_sent.inc_by(bytes));
    let ended = {
        let drained = pin!(proxy.drain.socket_deadline());
        let mut drained = Signal::new(drained, || proxy.drain.is_draining());
        tokio::select! {
            ended = relay::both(near, other, &record.passed, follow) => Some(ended),
            () = poll_fn(|context| drained.poll(context)) => None,
        }
    };
    record.ended(ended);
    match ended {
        Some(End::Done) => {}
        Some(End::Near) => far.write.reset(),
        Some(End::Far) => write.reset(),
        Some(End::Idle) | None => {
            let _ = tokio::join!(write.shutdown(), far.write.shutdown());
            let last = async { tokio::join!(relay::forget(&mut client), relay::forget(&mut from_far)) };
            let _ = tokio::time::timeout(CLOSING, last).await;
        }
    }
    drop(far.lease);
}

/// Another revision may hand a connection over, but none may send it round.
fn open_seal(snapshot: &Snapshot, seal: &HeaderValue) -> Option<Handover> {
    let sent_to = |_| snapshot.hand_off.as_ref().map(|route| route.targets.to_revision);
    let opened = handover::open(&snapshot.keys, &snapshot.document.identity, sent_to, seal);
    opened.filter(|opened| opened.purpose == handover::Purpose::Connection)
}

/// Finds out whom a connection is from, and who has it. `None`: nobody; the record says why.
async fn admit<O>(
    client: &mut Client<O>,
    write: &mut WriteHalf,
    snapshot: &Arc<Snapshot>,
    proxy: &Proxy,
    record: &mut Record,
) -> Option<Far>
where
    O: Fn(&HeaderValue) -> Option<Handover> + Unpin,
{
    let matters = snapshot.hand_off.is_some() || snapshot.limits.looks_at_addresses();
    if matters && let Ok(first) = tokio::time::timeout(SEAL, client.first()).await {
        record.first(first)?;
    }
    if record.way == Way::Own
        && let Err(refusal) = snapshot.limits.check_connection(record.client, record.began)
    {
        return record.refuse(refusal.status, refusal.reason);
    }
    let route = snapshot.hand_off.as_ref().filter(|_| record.way == Way::Own);
    let is_handed = route.is_some_and(|route| route.choice.takes(&HeaderMap::new(), record.client, None));
    let mut far =
        if is_handed { hand_over(proxy, snapshot, record).await } else { here(snapshot, record).await }?;
    if far.is_here {
        // The other sidecar waits for a word, unless the app has the first one.
        if record.way == Way::Own && far.first.is_empty() {
            tokio::select! {
                first = client.first() => record.first(first)?,
                () = far.read.has_said() => {}
                () = proxy.drain.deadline() => {}
                () = tokio::time::sleep(relay::IDLE) => {}
            }
        }
        if record.way == Way::TakenOver {
            write.write_all(preface::TAKEN).await.ok()?;
            write.flush().await.ok()?;
        }
    }
    far.first.shrink_to_fit();
    Some(far)
}

async fn here(snapshot: &Snapshot, record: &mut Record) -> Option<Far> {
    match snapshot.local.open().await {
        Some(opened) => Some(Far::new(opened, true)),
        None => record.refuse(StatusCode::SERVICE_UNAVAILABLE, reasons::APP_UNREACHABLE),
    }
}

/// Hands a connection to the other revision. Nothing of it has left until a pod there says that its app has it. If none does:
/// before the switch it stays here, after it the addresses are tried for a moment more, by the newest document and endpoints.
async fn hand_over(proxy: &Proxy, snapshot: &Arc<Snapshot>, record: &mut Record) -> Option<Far> {
    let deadline = proxy.telemetry.clock.now() + HAND_OFF_PATIENCE;
    let mut newest = Arc::clone(snapshot);
    // An abort in the meantime takes the route away: then the connection stays here.
    while let Some(route) = &newest.hand_off {
        let (identity, to) = (&newest.document.identity, route.targets.to_revision);
        let seal = preface::seal(&newest.keys, identity, to, record.client);
        let failures = &proxy.telemetry.metrics.hand_off_failures;
        if let Some(opened) = route.targets.open(&seal, &proxy.telemetry, failures).await {
            record.way = Way::HandedOver;
            return Some(Far::new(opened, false));
        }
        if route.may_serve_locally {
            break;
        }
        if proxy.telemetry.clock.now() >= deadline {
            record.way = Way::Lost;
            return record.refuse(StatusCode::SERVICE_UNAVAILABLE, reasons::APP_UNREACHABLE);
        }
        tokio::time::sleep(HAND_OFF_PAUSE).await;
        newest = proxy.config.current().unwrap_or(newest);
    }
    here(&newest, record).await
}
