//! Bytes from one connection to another, without memory of their own while nothing flows: a piece lies on the stack between
//! being read and being written, and only what the other side does not take at once is kept, until it does.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Bytes that are read at once, and so the most that waits for a side that reads slowly.
const PIECE: usize = 16 * 1024;

/// Which side of a relay broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The one that is read from.
    Reading,
    /// The one that is written to.
    Writing,
}

/// A piece that was read.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Its bytes; 0 at the end.
    pub(crate) length: usize,
    /// What of it could not be written at once.
    rest: Vec<u8>,
}

/// Reads a piece, and writes what can be written without waiting; the rest is for [`finish`]. Nothing is lost when this is
/// dropped while it waits. `follow` sees every byte.
pub(crate) async fn begin(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut follow: impl FnMut(&[u8]),
) -> Result<Piece, Broken> {
    poll_fn(|context| {
        let mut space = [const { MaybeUninit::uninit() }; PIECE];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *from).poll_read(context, &mut space)).map_err(|_| Broken::Reading)?;
        let bytes = space.filled();
        let mut written = 0;
        if !bytes.is_empty() {
            follow(bytes);
            written = match Pin::new(&mut *to).poll_write(context, bytes) {
                Poll::Ready(Ok(written @ 1..)) => written,
                Poll::Ready(_) => return Poll::Ready(Err(Broken::Writing)),
                Poll::Pending => 0,
            };
        }
        let rest = bytes.get(written..).unwrap_or_default().to_vec();
        Poll::Ready(Ok(Piece { length: bytes.len(), rest }))
    })
    .await
}

/// Writes the rest of a piece.
pub(crate) async fn finish(to: &mut (impl AsyncWrite + Unpin), piece: Piece) -> Result<(), Broken> {
    let written: io::Result<()> = async {
        if !piece.rest.is_empty() {
            to.write_all(&piece.rest).await?;
        }
        to.flush().await
    }
    .await;
    written.map_err(|_| Broken::Writing)
}

/// Passes everything on, and the end too.
pub(crate) async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut follow: impl FnMut(&[u8]),
) -> Result<(), Broken> {
    loop {
        let piece = begin(from, to, &mut follow).await?;
        if piece.length == 0 {
            return to.shutdown().await.map_err(|_| Broken::Writing);
        }
        finish(to, piece).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn everything_arrives_in_order_however_slowly_it_is_taken() {
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for room in [1, 1_000, 1_000_000] {
            let (mut source, mut from) = tokio::io::duplex(room);
            let (mut to, mut sink) = tokio::io::duplex(777);
            let (mut seen, mut taken) = (0, Vec::new());
            let (written, passed, read) = tokio::join!(
                async {
                    source.write_all(&sent).await?;
                    source.shutdown().await
                },
                pass(&mut from, &mut to, |bytes| seen += bytes.len()),
                sink.read_to_end(&mut taken),
            );
            assert!(written.is_ok() && passed.is_ok() && read.is_ok());
            assert!(taken == sent && seen == sent.len());
        }
    }

    #[tokio::test]
    async fn who_broke_it_is_told() {
        let (source, mut from) = tokio::io::duplex(10);
        let (mut to, sink) = tokio::io::duplex(10);
        drop(sink);
        let mut source = source;
        source.write_all(b"hello").await.expect("written");
        assert_eq!(pass(&mut from, &mut to, |_| {}).await, Err(Broken::Writing));
    }
}
