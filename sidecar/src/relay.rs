//! Bytes from one connection to another, without memory of their own while nothing flows: a piece lies on the stack between
//! being read and being written, and only what the other side does not take at once is kept, until it does.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Bytes that are read at once, and so the most that waits for a side that reads slowly.
const PIECE: usize = 16 * 1024;
/// How long no byte may pass, about.
pub(crate) const IDLE: Duration = Duration::from_hours(1);
/// It is looked at so often in that time.
const PARTS: u32 = 4;

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

/// What has passed between two connections.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Bytes of the near side.
    pub(crate) received: AtomicU64,
    /// Bytes of the far side.
    pub(crate) sent: AtomicU64,
}

impl Passed {
    fn all(&self) -> u64 {
        self.received.load(Ordering::Relaxed).wrapping_add(self.sent.load(Ordering::Relaxed))
    }
}

/// Why two connections that were joined have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended.
    Done,
    /// The near side broke.
    Near,
    /// The far side broke.
    Far,
    /// No byte has passed for an hour.
    Idle,
}

/// A connection's two halves.
type Sides<'a, R, W> = (&'a mut R, &'a mut W);

/// Passes bytes both ways until both sides have ended, or one broke. Each may end before the other one does. `follow` sees how
/// many bytes pass from each of the two.
pub(crate) async fn both<R, W, S, T>(
    (near_read, near_write): Sides<'_, R, W>,
    (far_read, far_write): Sides<'_, S, T>,
    passed: &Passed,
    follow: (impl Fn(u64), impl Fn(u64)),
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let mut to_far = pin!(pass(near_read, far_write, |bytes| {
        (follow.0)(bytes.len() as u64);
        passed.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }));
    let mut to_near = pin!(pass(far_read, near_write, |bytes| {
        (follow.1)(bytes.len() as u64);
        passed.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }));
    let mut idle = pin!(idle(passed));
    let (mut all_received, mut all_sent) = (false, false);
    while !(all_received && all_sent) {
        tokio::select! {
            end = &mut to_far, if !all_received => match end {
                // What the far side has still to say is passed on, whatever it does not listen to.
                Ok(()) | Err(Broken::Writing) => all_received = true,
                Err(Broken::Reading) => return End::Near,
            },
            end = &mut to_near, if !all_sent => match end {
                Ok(()) => all_sent = true,
                Err(Broken::Reading) => return End::Far,
                Err(Broken::Writing) => return End::Near,
            },
            () = &mut idle => return End::Idle,
        }
    }
    End::Done
}

/// Returns when no byte has passed for long.
async fn idle(passed: &Passed) {
    let (mut before, mut quiet) = (passed.all(), 0);
    while quiet < PARTS {
        tokio::time::sleep(IDLE / PARTS).await;
        let now = passed.all();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// Reads to the end, for nobody: closing with unread bytes would break what was ended.
pub(crate) async fn forget(from: &mut (impl AsyncRead + Unpin)) {
    let mut space = [0; 1_024];
    while matches!(from.read(&mut space).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_without_a_byte_is_idle() {
        let passed = Passed::default();
        let begun = tokio::time::Instant::now();
        let talk = async {
            tokio::time::sleep(Duration::from_mins(50)).await;
            passed.sent.fetch_add(1, Ordering::Relaxed);
        };
        tokio::join!(idle(&passed), talk);
        assert_eq!(begun.elapsed(), Duration::from_hours(2));
    }

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
