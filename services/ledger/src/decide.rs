//! Decides a batch in memory: what was loaded for it goes in, what is to be written and what is to be answered comes out.
//!
//! Whatever fails is known before anything is written, so that one command never undoes the batch it is in.

mod orders;
mod reservations;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use crate::command::{Command, Fence, Once, Outcome, Refusal};
use crate::domain::idempotency::{Verdict, judge};
use crate::domain::ids::IdError;
use crate::domain::stock::{Shelf, Shortage};
use crate::domain::{Item, Key, Known, Millis, Order, Recorded, Reservation, Sku};

/// What a batch needs to be loaded, each sorted and once: rows are locked in this order by everybody.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Keys of requests.
    pub requests: BTreeSet<Key>,
    /// Orders.
    pub orders: BTreeSet<i64>,
    /// Reservations, those of the orders included.
    pub reservations: BTreeSet<i64>,
    /// SKUs, without those of the orders and reservations.
    pub skus: BTreeSet<Sku>,
    /// Whether background work is in it.
    pub fenced: bool,
}

impl Keys {
    /// What `batch` needs.
    pub fn of<'a>(batch: impl Iterator<Item = &'a Command>) -> Self {
        let mut keys = Self::default();
        for command in batch {
            match command {
                Command::Create { lines, once, .. } | Command::Reserve { lines, once, .. } => {
                    keys.requests.extend(once.map(|once| once.key));
                    keys.skus.extend(lines.as_slice().iter().map(|line| line.sku.clone()));
                }
                Command::Move { order, .. } => keys.need_order(*order),
                Command::Settle(order, _) | Command::Expire(order, _) => {
                    keys.need_order(*order);
                    keys.fenced = true;
                }
                Command::Confirm(id) | Command::Release(id) => {
                    keys.reservations.insert(*id);
                }
                Command::ReleaseExpired(id, _) => {
                    keys.reservations.insert(*id);
                    keys.fenced = true;
                }
                Command::Restock { sku, once, .. } => {
                    keys.requests.extend(once.map(|once| once.key));
                    keys.skus.insert(sku.clone());
                }
            }
        }
        keys
    }

    fn need_order(&mut self, order: i64) {
        self.orders.insert(order);
        self.reservations.insert(order);
    }
}

/// What the store has of them.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Answers that were given.
    pub requests: HashMap<Key, Known>,
    /// Orders.
    pub orders: HashMap<i64, Order>,
    /// Reservations.
    pub reservations: HashMap<i64, Reservation>,
    /// Items of all SKUs that were asked for, and of all that are in the orders and reservations.
    pub items: Shelf,
    /// The highest epoch of background work; 0 when there was none.
    pub fence: i64,
}

/// What a new order's row holds beside the order.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// The order.
    pub order: Order,
    /// What was answered for it.
    pub answer: bytes::Bytes,
}

/// An order that was changed, and the version that it must still have.
#[derive(Clone, Debug)]
pub struct ChangedOrder {
    /// As it is to be.
    pub order: Order,
    /// What it was.
    pub was: i64,
}

/// The answer of a key. That of an order is in the order's row.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The key.
    pub key: Key,
    /// What was answered.
    pub known: Known,
    /// Whether the answer is in an order's row.
    pub of_order: bool,
}

/// Everything a batch writes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// New orders, their ids rising.
    pub orders: Vec<NewOrder>,
    /// Orders that were changed.
    pub changed_orders: Vec<ChangedOrder>,
    /// New reservations, their ids rising where they are those of new orders.
    pub reservations: Vec<Reservation>,
    /// Reservations that were closed.
    pub changed_reservations: Vec<Reservation>,
    /// Items whose stock was changed.
    pub items: Vec<Item>,
    /// What happened to orders.
    pub recorded: Vec<Recorded>,
    /// Answers of keys.
    pub requests: Vec<NewRequest>,
    /// A new highest epoch.
    pub fence: Option<i64>,
}

impl Writes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
            && self.changed_orders.is_empty()
            && self.reservations.is_empty()
            && self.changed_reservations.is_empty()
            && self.items.is_empty()
            && self.recorded.is_empty()
            && self.requests.is_empty()
            && self.fence.is_none()
    }
}

/// What a batch writes and answers; answers are in the order of its commands.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// To be written.
    pub writes: Writes,
    /// To be answered once that is durable.
    pub outcomes: Vec<Result<Outcome, Refusal>>,
}

/// Decides `batch` at `now`. `ids` makes the ids of what is new.
pub fn decide<'a>(
    batch: impl Iterator<Item = &'a Command>,
    loaded: Loaded,
    now: Millis,
    ids: &mut dyn FnMut() -> Result<i64, IdError>,
) -> Decided {
    let mut deciding = Deciding {
        now,
        ids,
        fence: loaded.fence,
        was: HashMap::new(),
        closed: BTreeSet::new(),
        loaded,
        writes: Writes::default(),
    };
    let outcomes = batch.map(|command| deciding.one(command)).collect();
    Decided { writes: deciding.finish(), outcomes }
}

/// A batch half-way. What is loaded is changed as it goes, so that each command sees those before it.
struct Deciding<'a> {
    now: Millis,
    ids: &'a mut dyn FnMut() -> Result<i64, IdError>,
    loaded: Loaded,
    fence: i64,
    /// Versions of the changed orders before this batch.
    was: HashMap<i64, i64>,
    /// Reservations that were there before this batch and are changed.
    closed: BTreeSet<i64>,
    writes: Writes,
}

impl Deciding<'_> {
    fn one(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Create { user, lines, once, later, origin } => {
                self.once(*once, |deciding| deciding.create(user, lines, *once, *later, origin))
            }
            Command::Move { order, event, whose, paid, origin } => {
                self.move_order(*order, *event, whose.as_deref(), paid.as_ref(), origin)
            }
            Command::Settle(order, fence) => {
                self.pass(*fence)?;
                self.settle(*order)
            }
            Command::Expire(order, fence) => {
                self.pass(*fence)?;
                self.expire(*order)
            }
            Command::Reserve { lines, keep, once } => {
                self.once(*once, |deciding| deciding.reserve(lines, *keep, *once))
            }
            Command::Confirm(id) => self.confirm(*id),
            Command::Release(id) => self.release(*id),
            Command::ReleaseExpired(id, fence) => {
                self.pass(*fence)?;
                self.release_expired(*id)
            }
            Command::Restock { sku, quantity, once } => {
                self.once(*once, |deciding| deciding.restock(sku, *quantity, *once))
            }
        }
    }

    /// What a request with a key does: the same answer again, or `act`.
    fn once(
        &mut self,
        once: Option<Once>,
        act: impl FnOnce(&mut Self) -> Result<Outcome, Refusal>,
    ) -> Result<Outcome, Refusal> {
        if let Some(once) = once {
            match judge(self.loaded.requests.get(&once.key), once.fingerprint, self.now) {
                Verdict::New => {}
                Verdict::Reused => return Err(Refusal::KeyReused),
                Verdict::Replay(known) => {
                    return Ok(Outcome::Made {
                        status: known.status,
                        id: known.target,
                        body: known.answer.clone(),
                        replayed: true,
                    });
                }
            }
        }
        act(self)
    }

    /// What was made for a request, with its answer kept under its key.
    fn made(
        &mut self,
        once: Option<Once>,
        status: u16,
        id: i64,
        body: bytes::Bytes,
        of_order: bool,
    ) -> Outcome {
        if let Some(Once { key, fingerprint }) = once {
            let known = Known { fingerprint, target: id, status, at: self.now, answer: body.clone() };
            self.loaded.requests.insert(key, known.clone());
            self.writes.requests.push(NewRequest { key, known, of_order });
        }
        Outcome::Made { status, id, body, replayed: false }
    }

    /// Lets background work pass whose epoch is the highest.
    fn pass(&mut self, Fence(epoch): Fence) -> Result<(), Refusal> {
        if epoch < self.fence {
            return Err(Refusal::Fenced(Fence(self.fence)));
        }
        self.fence = epoch;
        Ok(())
    }

    fn finish(mut self) -> Writes {
        let mut items: Vec<_> = self.loaded.items.into_values().filter(|item| item.changed).collect();
        items.sort_by(|one, other| one.sku.cmp(&other.sku));
        self.writes.items = items;
        for (id, was) in self.was {
            if let Some(order) = self.loaded.orders.remove(&id) {
                self.writes.changed_orders.push(ChangedOrder { order, was });
            }
        }
        for id in self.closed {
            self.writes.changed_reservations.extend(self.loaded.reservations.remove(&id));
        }
        self.writes.fence = (self.fence > self.loaded.fence).then_some(self.fence);
        self.writes
    }
}

impl From<Shortage> for Refusal {
    fn from(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Unknown(skus) => Self::Unknown(skus),
            Shortage::SoldOut(skus) => Self::SoldOut(skus),
        }
    }
}
