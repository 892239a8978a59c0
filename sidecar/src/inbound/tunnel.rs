//! An upgraded connection: bytes both ways, until either side ends it or the drain's deadline comes.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Proxy;
use super::answer::Flight;
use super::websocket::{Frames, SERVICE_RESTART};
use crate::http1::Halves;
use crate::relay::{self, Broken};
use crate::upstream::Lease;

/// How long one side may go on after the other has ended.
const LINGER: Duration = Duration::from_secs(10);
/// How long the client has to answer a close frame.
const CLOSING: Duration = Duration::from_secs(2);

/// Two connections that were HTTP.
pub(super) struct Tunnel {
    pub(super) client: Halves,
    pub(super) ends: Ends,
}

/// The app's end of a tunnel, and what is counted until it ends.
pub(super) struct Ends {
    pub(super) app: Box<Halves>,
    pub(super) is_websocket: bool,
    pub(super) flight: Flight,
    pub(super) lease: Lease,
}

/// Passes bytes on until the tunnel ends.
pub(super) async fn run(
    mut client_read: impl AsyncRead + Unpin,
    client_write: impl AsyncWrite + Unpin,
    ends: Ends,
    proxy: &Arc<Proxy>,
) {
    let Ends { app, is_websocket, flight, lease } = ends;
    proxy.telemetry.metrics.upgraded.inc();
    let (app_read, mut app_write) = open(*app);
    let to_app = async {
        let _ = relay::pass(&mut client_read, &mut app_write, |_| {}).await;
    };
    let to_client = pass_frames(app_read, client_write, is_websocket, proxy);
    let both = async {
        let (mut to_app, mut to_client) = (std::pin::pin!(to_app), std::pin::pin!(to_client));
        tokio::select! {
            () = &mut to_client => drop(tokio::time::timeout(CLOSING, to_app).await),
            () = &mut to_app => drop(tokio::time::timeout(LINGER, to_client).await),
        }
    };
    let overdue = async {
        proxy.drain.deadline().await;
        tokio::time::sleep(CLOSING * 2).await;
    };
    tokio::select! {
        () = both => {}
        () = overdue => {}
    }
    proxy.telemetry.metrics.upgraded.dec();
    drop((flight, lease));
}

/// What came after the head belongs to the tunnel.
pub(super) fn open(halves: Halves) -> (impl AsyncRead + Unpin, impl AsyncWrite + Unpin) {
    let (read, first) = halves.reader.into_parts();
    (Cursor::new(first).chain(read), halves.writer.into_half())
}

/// Passes bytes of the app on. A WebSocket that the app leaves without a word, or that is still open at the deadline, is ended
/// with a close frame, put between two frames.
async fn pass_frames(
    mut app: impl AsyncRead + Unpin,
    mut client: impl AsyncWrite + Unpin,
    is_websocket: bool,
    proxy: &Proxy,
) {
    let mut frames = Frames::default();
    let mut overdue = false;
    let mut deadline = std::pin::pin!(async {
        if is_websocket { proxy.drain.socket_deadline().await } else { proxy.drain.deadline().await }
    });
    while !(overdue && (frames.between_frames() || !is_websocket)) {
        let follow = |bytes: &[u8]| {
            if is_websocket {
                frames.advance(bytes);
            }
        };
        let piece = tokio::select! {
            piece = relay::begin(&mut app, &mut client, follow) => piece,
            () = &mut deadline, if !overdue => {
                overdue = true;
                continue;
            }
        };
        match piece {
            Ok(piece) if piece.length > 0 => {
                if relay::finish(&mut client, piece).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(Broken::Reading) => break,
            Err(Broken::Writing) => return,
        }
    }
    if is_websocket && frames.between_frames() && !frames.closed() {
        let _ = client.write_all(&SERVICE_RESTART).await;
        let _ = client.flush().await;
    }
    let _ = client.shutdown().await;
}
