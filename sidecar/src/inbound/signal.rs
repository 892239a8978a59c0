//! Something that happens once in a connection's life.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Polled no more often than needed: every wake-up of every connection would otherwise take the lock that all of them share.
/// Polled the first time to leave a waker, then only when `has_come` says so; a task's waker stays the same.
pub(super) struct Signal<'a, F, H> {
    future: Pin<&'a mut F>,
    has_come: H,
    registered: bool,
}

impl<'a, F: Future<Output = ()>, H: Fn() -> bool> Signal<'a, F, H> {
    pub(super) fn new(future: Pin<&'a mut F>, has_come: H) -> Self {
        Self { future, has_come, registered: false }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.registered && !(self.has_come)() {
            return Poll::Pending;
        }
        self.registered = true;
        self.future.as_mut().poll(context)
    }
}
