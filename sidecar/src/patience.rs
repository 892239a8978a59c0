//! A timer for peers that are slow to send or to take bytes; made only when one is waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use shop_flow::pace::{Limits, Pace};
use tokio::time::{Instant, Sleep};

/// Something that one part of a stream tells another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<AtomicBool>);

impl Told {
    pub(crate) fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How long a peer is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    /// `None`: it may be as slow as it likes.
    limits: Option<Limits>,
    /// Bytes that moved before the first wait.
    bytes: usize,
    /// Made at the first wait: most peers are never waited for.
    wait: Option<Box<Wait>>,
    /// From when on it may be as slow as it likes.
    until: Option<Told>,
}

#[derive(Debug)]
struct Wait {
    pace: Pace,
    began: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits: Some(limits), bytes: 0, wait: None, until: None }
    }

    pub(crate) fn endless() -> Self {
        Self { limits: None, bytes: 0, wait: None, until: None }
    }

    /// Until something is told.
    pub(crate) fn until(limits: Limits, until: Told) -> Self {
        Self { until: Some(until), ..Self::new(limits) }
    }

    /// So many bytes moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let Some(wait) = &mut self.wait else {
            self.bytes = self.bytes.saturating_add(bytes);
            return;
        };
        let now = if wait.pace.is_waiting() { wait.began.elapsed() } else { Duration::ZERO };
        wait.pace.moved(now, bytes);
    }

    /// It is being waited: ready when that has been too long.
    pub(crate) fn poll_waits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.until.as_ref().is_some_and(Told::is_told) {
            *self = Self::endless();
        }
        let Some(limits) = self.limits else { return Poll::Pending };
        let bytes = self.bytes;
        let wait = self.wait.get_or_insert_with(|| {
            let mut pace = Pace::new(limits);
            pace.moved(Duration::ZERO, bytes);
            // The timer is set to the right moment below.
            Box::new(Wait {
                pace,
                began: Instant::now(),
                timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            })
        });
        let until = wait.began + wait.pace.waits(wait.began.elapsed());
        if wait.timer.deadline() != until {
            wait.timer.as_mut().reset(until);
        }
        wait.timer.as_mut().poll(context)
    }
}
