//! The life of an order, as data: one row per step that is allowed. Whatever is not in the table is refused without a write.

use serde::Serialize;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Accepted and durable; its stock is not held yet.
    Pending,
    /// Its stock is held until the deadline for paying.
    AwaitingPayment,
    /// Paid; the stock is the buyer's.
    Paid,
    /// On its way.
    Shipped,
    /// Received.
    Completed,
    /// Ended without a sale.
    Cancelled,
    /// The money is on its way back.
    Refunding,
    /// The money is back.
    Refunded,
}

impl Status {
    /// All, at the place of their number in the store.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::AwaitingPayment,
        Self::Paid,
        Self::Shipped,
        Self::Completed,
        Self::Cancelled,
        Self::Refunding,
        Self::Refunded,
    ];

    /// Its number in the store. Numbers are never reused.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The status of a number in the store.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|place| Self::ALL.get(place)).copied()
    }

    /// As clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::AwaitingPayment => "AWAITING_PAYMENT",
            Self::Paid => "PAID",
            Self::Shipped => "SHIPPED",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Refunding => "REFUNDING",
            Self::Refunded => "REFUNDED",
        }
    }
}

/// What happens to an order that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// All its lines are held.
    StockReserved,
    /// Not all of its lines can be had.
    SoldOut,
    /// The buyer or an administrator wants it no more.
    Cancel,
    /// Its deadline for paying has passed.
    DeadlinePassed,
    /// The provider says it is paid.
    Pay,
    /// It has left.
    Ship,
    /// The buyer has it, or the time to say otherwise has passed.
    Receive,
    /// The buyer gives it back.
    Return,
    /// The provider says the money is back.
    Refund,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::StockReserved,
        Self::SoldOut,
        Self::Cancel,
        Self::DeadlinePassed,
        Self::Pay,
        Self::Ship,
        Self::Receive,
        Self::Return,
        Self::Refund,
    ];

    /// As it is written in the history of an order.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StockReserved => "order.reserved",
            Self::SoldOut => "order.sold_out",
            Self::Cancel => "order.cancelled",
            Self::DeadlinePassed => "order.expired",
            Self::Pay => "order.paid",
            Self::Ship => "order.shipped",
            Self::Receive => "order.received",
            Self::Return => "order.returned",
            Self::Refund => "order.refunded",
        }
    }
}

/// Why an order ended without a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The buyer, or an administrator for them.
    User,
    /// Not paid in time.
    Timeout,
    /// Not all lines could be had.
    SoldOut,
}

impl Reason {
    /// Its number in the store.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The reason of a number in the store.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::User, Self::Timeout, Self::SoldOut].into_iter().find(|reason| reason.number() == number)
    }
}

/// What a step does to the stock, in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Holds every line.
    Reserve,
    /// Gives back what is held.
    Release,
    /// What is held is sold.
    Confirm,
    /// What was sold and has not left is there again.
    RestockUnlessShipped,
}

/// One allowed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it begins.
    pub from: Status,
    /// What happens.
    pub event: Event,
    /// Where it ends.
    pub to: Status,
    /// What the stock sees of it.
    pub effect: Effect,
    /// Why the order ended, where it did.
    pub reason: Option<Reason>,
}

const fn step(from: Status, event: Event, to: Status, effect: Effect, reason: Option<Reason>) -> Step {
    Step { from, event, to, effect, reason }
}

/// Everything that may happen. Money that comes for a cancelled order goes back: it is never kept in silence.
pub const STEPS: [Step; 12] = [
    step(Status::Pending, Event::StockReserved, Status::AwaitingPayment, Effect::Reserve, None),
    step(Status::Pending, Event::SoldOut, Status::Cancelled, Effect::None, Some(Reason::SoldOut)),
    step(Status::AwaitingPayment, Event::Cancel, Status::Cancelled, Effect::Release, Some(Reason::User)),
    step(
        Status::AwaitingPayment,
        Event::DeadlinePassed,
        Status::Cancelled,
        Effect::Release,
        Some(Reason::Timeout),
    ),
    step(Status::AwaitingPayment, Event::Pay, Status::Paid, Effect::Confirm, None),
    step(Status::Cancelled, Event::Pay, Status::Refunding, Effect::None, None),
    step(Status::Paid, Event::Ship, Status::Shipped, Effect::None, None),
    step(Status::Paid, Event::Cancel, Status::Refunding, Effect::None, None),
    step(Status::Shipped, Event::Receive, Status::Completed, Effect::None, None),
    step(Status::Shipped, Event::Return, Status::Refunding, Effect::None, None),
    step(Status::Completed, Event::Return, Status::Refunding, Effect::None, None),
    // A late payment goes back too, from an order that never had stock: what was sold is known from its reservation.
    step(Status::Refunding, Event::Refund, Status::Refunded, Effect::RestockUnlessShipped, None),
];

/// The step that `event` makes from `from`, if there is one.
///
/// ```
/// use shop_ledger::domain::{Event, Status, state::next};
/// assert_eq!(next(Status::Paid, Event::Ship).map(|step| step.to), Some(Status::Shipped));
/// assert_eq!(next(Status::Shipped, Event::Cancel), None);
/// ```
pub fn next(from: Status, event: Event) -> Option<Step> {
    STEPS.into_iter().find(|step| step.from == from && step.event == event)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All 64 pairs, `x` where a step leads from the row to the column, in the order of [`Status::ALL`].
    const PAIRS: [&str; 8] = [
        ".x...x..", // PENDING
        "..x..x..", // AWAITING_PAYMENT
        "...x..x.", // PAID
        "....x.x.", // SHIPPED
        "......x.", // COMPLETED
        "......x.", // CANCELLED
        ".......x", // REFUNDING
        "........", // REFUNDED
    ];

    #[test]
    fn all_pairs_of_states_are_as_drawn() {
        for (row, from) in PAIRS.iter().zip(Status::ALL) {
            for (cell, to) in row.chars().zip(Status::ALL) {
                let leads =
                    Event::ALL.into_iter().any(|event| next(from, event).is_some_and(|step| step.to == to));
                assert_eq!(leads, cell == 'x', "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn a_state_and_an_event_make_one_step_at_most() {
        let pairs: BTreeSet<_> = STEPS.iter().map(|step| (step.from.number(), step.event.as_str())).collect();
        assert_eq!(pairs.len(), STEPS.len());
    }

    #[test]
    fn numbers_lead_back_to_their_states_and_reasons() {
        for status in Status::ALL {
            assert_eq!(Status::from_number(status.number()), Some(status));
        }
        for reason in [Reason::User, Reason::Timeout, Reason::SoldOut] {
            assert_eq!(Reason::from_number(reason.number()), Some(reason));
        }
        assert_eq!((Status::from_number(8), Reason::from_number(-1)), (None, None));
    }

    #[test]
    fn whoever_ends_without_a_sale_says_why() {
        for step in STEPS {
            assert_eq!(step.to == Status::Cancelled, step.reason.is_some(), "{step:?}");
        }
    }
}
