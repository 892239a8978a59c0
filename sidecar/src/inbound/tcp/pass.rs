//! Bytes both ways, and what ends them.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::inbound::signal::Signal;
use crate::inbound::{IDLE_CONNECTION, Proxy};
use crate::relay::{self, Broken};

/// Of the time without a byte after which a connection is ended, so many parts are counted.
const PARTS: u32 = 4;

/// Bytes that were passed on.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// From the client.
    pub(super) received: AtomicU64,
    /// To the client.
    pub(super) sent: AtomicU64,
}

impl Passed {
    fn all(&self) -> u64 {
        self.received.load(Ordering::Relaxed).wrapping_add(self.sent.load(Ordering::Relaxed))
    }
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have.
    Done,
    /// The client broke it.
    Client,
    /// The app broke it, or another revision's sidecar.
    Far,
    /// It was ended from here: in a drain, or because it was idle.
    Cut,
}

/// Passes bytes on until the connection ends. Each side may end before the other one does.
pub(super) async fn both(
    (client_read, client_write): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
    (far_read, far_write): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
    proxy: &Proxy,
    passed: &Passed,
) -> End {
    let metrics = &proxy.telemetry.metrics;
    let mut to_far = pin!(relay::pass(client_read, far_write, |bytes| {
        metrics.tcp_received.inc_by(bytes.len() as u64);
        passed.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }));
    let mut to_client = pin!(relay::pass(far_read, client_write, |bytes| {
        metrics.tcp_sent.inc_by(bytes.len() as u64);
        passed.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }));
    let mut idle = pin!(idle(passed));
    let drained = pin!(proxy.drain.socket_deadline());
    let mut drained = Signal::new(drained, || proxy.drain.is_draining());
    let (mut all_received, mut all_sent) = (false, false);
    while !(all_received && all_sent) {
        tokio::select! {
            end = &mut to_far, if !all_received => match end {
                // What the app has still to say is passed on, whatever it does not listen to.
                Ok(()) | Err(Broken::Writing) => all_received = true,
                Err(Broken::Reading) => return End::Client,
            },
            end = &mut to_client, if !all_sent => match end {
                Ok(()) => all_sent = true,
                Err(Broken::Reading) => return End::Far,
                Err(Broken::Writing) => return End::Client,
            },
            () = &mut idle => return End::Cut,
            () = std::future::poll_fn(|context| drained.poll(context)) => return End::Cut,
        }
    }
    End::Done
}

/// Returns when no byte has passed for long.
async fn idle(passed: &Passed) {
    let (mut before, mut quiet) = (passed.all(), 0);
    while quiet < PARTS {
        tokio::time::sleep(IDLE_CONNECTION / PARTS).await;
        let now = passed.all();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// Reads to the end, for nobody: closing with unread bytes would break what was ended.
pub(super) async fn forget(from: &mut (impl AsyncRead + Unpin)) {
    let mut space = [0; 1_024];
    while matches!(from.read(&mut space).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(begun.elapsed(), Duration::from_mins(120));
    }
}
