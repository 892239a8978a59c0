//! A timer for peers that are slow to send or to take bytes; made only when one is waited for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use shop_flow::pace::{Limits, Pace};
use tokio::time::{Instant, Sleep};

/// How long a peer is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    /// `None`: it may be as slow as it likes.
    pace: Option<Pace>,
    /// Made at the first wait, and moved on when it is over.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { pace: Some(Pace::new(limits)), timer: None }
    }

    pub(crate) fn endless() -> Self {
        Self { pace: None, timer: None }
    }

    /// So many bytes moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let Some(pace) = self.pace.as_mut().filter(|_| bytes > 0) else { return };
        let now =
            if pace.is_waiting() { self.timer.as_ref().map(|(began, _)| began.elapsed()) } else { None };
        pace.moved(now.unwrap_or_default(), bytes);
    }

    /// It is being waited: ready when that has been too long.
    pub(crate) fn poll_waits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pace) = &mut self.pace else { return Poll::Pending };
        let (began, timer) = self.timer.get_or_insert_with(|| {
            // Set to the right moment below.
            (Instant::now(), Box::pin(tokio::time::sleep(Duration::ZERO)))
        });
        let until = *began + pace.waits(began.elapsed());
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    }
}
