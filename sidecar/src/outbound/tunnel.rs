//! Connections that are no longer HTTP: bytes both ways, until both sides have ended, or one of them is gone.

use std::io::Cursor;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::http1::Halves;

/// Passes bytes on; `held` is dropped at the end.
pub(super) async fn run(near: OnUpgrade, far: Halves, held: impl Send) {
    let (read, first) = far.reader.into_parts();
    // What came after the answer's head belongs to the tunnel.
    let far = tokio::io::join(Cursor::new(first).chain(read), far.writer.into_half());
    join(near, far, held).await;
}

/// The same with a connection on which nothing was said yet.
pub(super) async fn join(near: OnUpgrade, mut far: impl AsyncRead + AsyncWrite + Unpin, held: impl Send) {
    if let Ok(near) = near.await {
        // Whichever side broke it: the other one is told by the end.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(near), &mut far).await;
    }
    drop(held);
}
