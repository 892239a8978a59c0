//! The loop of the writer: commands, and the slot that makes the ids of what is new.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{BATCH, Job, Trouble, Unavailable};
use crate::decide::{Keys, decide};
use crate::domain::ids::{IdError, Ids, LEASE, Lease, MARGIN, RENEW};
use crate::store::{Store, StoreError};
use crate::wall_clock;

const RENEW_EVERY: Duration = Duration::from_millis(RENEW.unsigned_abs());
/// How long ids are made after a renewal, measured on a clock that never goes back.
const MAKE_FOR: Duration = Duration::from_millis((LEASE - MARGIN).unsigned_abs());
/// How often a batch is tried whose rows somebody else has changed.
const TRIES: u32 = 5;

/// The slot that this writer holds.
struct Slot {
    ids: Ids,
    epoch: i64,
    /// Ids are made until then.
    until: Instant,
}

pub(super) struct Writer<S> {
    store: S,
    queue: mpsc::Receiver<Job>,
    tell: watch::Sender<Trouble>,
    holder: String,
    slot: Option<Slot>,
}

impl<S: Store> Writer<S> {
    pub(super) async fn new(
        store: S,
        queue: mpsc::Receiver<Job>,
        tell: watch::Sender<Trouble>,
        holder: String,
    ) -> Result<Self, StoreError> {
        let mut writer = Self { store, queue, tell, holder, slot: None };
        writer.lease().await?;
        Ok(writer)
    }

    pub(super) async fn run(mut self) {
        let mut renew = interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renew.tick().await;
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = renew.tick() => self.look_after().await,
                count = self.queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.write(&mut jobs).await;
                }
            }
        }
        if let Some(slot) = &self.slot {
            let lease = slot.lease();
            if let Err(error) = self.store.give_back(lease).await {
                tracing::warn!(%error, slot = lease.slot, "could not give the slot for ids back; it is free in {LEASE} ms");
            }
        }
    }

    /// One batch: decided, written, answered.
    async fn write(&mut self, jobs: &mut Vec<Job>) {
        let keys = Keys::of(jobs.iter().map(|job| &job.command));
        if let Some(slot) = &self.slot {
            let pause = slot.ids.pause(wall_clock(), jobs.len());
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
            }
        }
        let mut result = Err(StoreError::Raced);
        for _ in 0..TRIES {
            result = self.try_write(&keys, jobs).await;
            if !matches!(result, Err(StoreError::Raced)) {
                break;
            }
        }
        match result {
            Ok(outcomes) => {
                for (job, outcome) in jobs.drain(..).zip(outcomes) {
                    // Nobody waits any more: what was done stays done.
                    let _ = job.reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                tracing::error!(%error, commands = jobs.len(), "a batch could not be written");
                let failed = Unavailable::Failed(error.to_string().into());
                for job in jobs.drain(..) {
                    let _ = job.reply.send(Err(failed.clone()));
                }
            }
        }
    }

    async fn try_write(
        &mut self,
        keys: &Keys,
        jobs: &[Job],
    ) -> Result<Vec<Result<crate::Outcome, crate::Refusal>>, StoreError> {
        let now = wall_clock();
        let slot = &mut self.slot;
        let mut next = || match slot {
            Some(slot) if Instant::now() < slot.until => slot.ids.next(now),
            _ => Err(IdError::NoSlot),
        };
        self.store
            .transact(keys, &mut |loaded| decide(jobs.iter().map(|job| &job.command), loaded, now, &mut next))
            .await
    }

    /// Keeps the slot, or takes another one; sees whether the schema is still one to work with.
    async fn look_after(&mut self) {
        let kept = match self.renew().await {
            Ok(true) => Ok(()),
            Ok(false) => self.lease().await,
            Err(error) => Err(error),
        };
        let result = match kept {
            Ok(()) => self.store.check_schema().await,
            Err(error) => Err(error),
        };
        let clock = self.slot.as_ref().map_or(0, |slot| slot.ids.last() - wall_clock());
        let trouble: Trouble = match result {
            Err(error) => Some(error.to_string().into()),
            Ok(()) if self.slot.is_none() => Some(IdError::NoSlot.to_string().into()),
            Ok(()) if clock > crate::domain::ids::SMALL_STEP_BACK => {
                Some(IdError::ClockMovedBack(clock).to_string().into())
            }
            Ok(()) => None,
        };
        if let Some(trouble) = &trouble {
            tracing::warn!(%trouble, "the ledger is not ready");
        }
        self.tell.send_replace(trouble);
    }

    async fn renew(&mut self) -> Result<bool, StoreError> {
        let Some(slot) = &mut self.slot else { return Ok(false) };
        // Counted from before the store is asked: its answer may take long.
        let begun = Instant::now();
        let kept = self.store.renew(slot.lease(), wall_clock()).await?;
        if kept {
            slot.until = begun + MAKE_FOR;
        } else {
            tracing::warn!(slot = slot.ids.slot(), "the slot for ids is somebody else's");
            self.slot = None;
        }
        Ok(kept)
    }

    async fn lease(&mut self) -> Result<(), StoreError> {
        let begun = Instant::now();
        let lease = self.store.lease(&self.holder, wall_clock()).await?;
        self.slot = lease.map(|Lease { slot, epoch, last }| Slot {
            ids: Ids::new(slot, last),
            epoch,
            until: begun + MAKE_FOR,
        });
        Ok(())
    }
}

impl Slot {
    const fn lease(&self) -> Lease {
        Lease { slot: self.ids.slot(), epoch: self.epoch, last: self.ids.last() }
    }
}
