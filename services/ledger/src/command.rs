//! What the ledger can be asked to change, and what it answers.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::ids::IdError;
use crate::domain::{
    Event, Fingerprint, Key, Lines, Millis, Money, Order, Reservation, ReservationState, Sku, Status,
};

/// The key of a request that may be sent twice, and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The key in its scope.
    pub key: Key,
    /// The request.
    pub fingerprint: Fingerprint,
}

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The buyer.
    User,
    /// Somebody of the shop, or one of its services.
    Staff,
    /// The ledger's own background work.
    System,
}

impl Actor {
    /// As it is written in the history.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Staff => "staff",
            Self::System => "system",
        }
    }
}

/// Where a change comes from; kept with what is announced of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who acts.
    pub actor: Actor,
    /// The trace id of the request.
    pub trace: Option<Arc<str>>,
    /// The release that the request is pinned to.
    pub release: Option<Arc<str>>,
}

impl Origin {
    /// Background work.
    pub const SYSTEM: Self = Self { actor: Actor::System, trace: None, release: None };
}

/// The epoch under which background work is done. The store refuses one that is lower than the highest it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// One change. Commands of one batch are decided one after another and committed together.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new order.
    Create {
        /// Whose.
        user: Arc<str>,
        /// What.
        lines: Lines,
        /// Its key.
        once: Option<Once>,
        /// Accepts it now and holds its stock later.
        later: bool,
        /// Where it comes from.
        origin: Origin,
    },
    /// Something happens to an order.
    Move {
        /// Which.
        order: i64,
        /// What.
        event: Event,
        /// Whose it must be.
        whose: Option<Arc<str>>,
        /// What was paid, for [`Event::Pay`]: it must be the order's total.
        paid: Option<Money>,
        /// Where it comes from.
        origin: Origin,
    },
    /// Holds the stock of an order that was accepted for later.
    Settle(i64, Fence),
    /// Ends an order whose deadline for paying has passed.
    Expire(i64, Fence),
    /// Holds pieces without an order.
    Reserve {
        /// What.
        lines: Lines,
        /// For how long.
        keep: Millis,
        /// Its key.
        once: Option<Once>,
    },
    /// Held pieces are sold.
    Confirm(i64),
    /// Held pieces are given back.
    Release(i64),
    /// Held pieces are given back because their time is over.
    ReleaseExpired(i64, Fence),
    /// New pieces come in.
    Restock {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: u32,
        /// Its key.
        once: Option<Once>,
    },
}

/// What a command has done. It is durable when it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was made, or had been by the same request before.
    Made {
        /// The status to answer.
        status: u16,
        /// What was made; 0 where it has no id.
        id: i64,
        /// The body to answer, the same for every replay.
        body: Bytes,
        /// Whether it was made before.
        replayed: bool,
    },
    /// An order as it is now.
    Order(Box<Order>),
    /// A reservation as it is now.
    Reservation(Reservation),
}

/// Why a command has done nothing. Nothing is written for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// These are not sold here.
    Unknown(Vec<Sku>),
    /// Of these there is not enough.
    SoldOut(Vec<Sku>),
    /// The lines have no sum: their currencies differ.
    NoTotal,
    /// The key stands for another request.
    KeyReused,
    /// There is no such order, or it is somebody else's.
    NoOrder,
    /// The order is not where this can happen.
    NotNow(Status),
    /// What was paid is not the order's total.
    WrongAmount(Money),
    /// There is no such reservation.
    NoReservation,
    /// The reservation is closed.
    Closed(ReservationState),
    /// The reservation's time is over.
    Over,
    /// The reservation ends with its order.
    OfAnOrder,
    /// There would be more than can be counted.
    TooMany,
    /// There is no id now.
    Ids(IdError),
    /// Others do the background work now, under this epoch.
    Fenced(Fence),
}
