//! Checks all books: whether every order is complete, whether stock and money balance, whether anything is held for nobody.

use std::collections::BTreeMap;
use std::fmt;

use crate::domain::{Item, Line, Order, Reservation, ReservationState, Status, money};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An item's own row does not balance.
    Stock,
    /// More or less is reserved than is held.
    Reserved,
    /// More or less is confirmed than was sold.
    Confirmed,
    /// An order's lines do not make its total.
    Total,
    /// Pieces are held for an order that does not wait for its payment.
    OrphanHold,
    /// An order waits for its payment and holds nothing.
    NothingHeld,
    /// An order was paid and its pieces were not sold.
    PaidWithoutStock,
    /// An order has not as many events as changes.
    LostEvent,
    /// A key stands for an order that is not there.
    LostOrder,
}

impl Fault {
    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "items whose row does not balance",
            Self::Reserved => "items with another number reserved than held",
            Self::Confirmed => "items with another number confirmed than sold",
            Self::Total => "orders whose lines do not make their total",
            Self::OrphanHold => "reservations of orders that do not wait for a payment",
            Self::NothingHeld => "orders that wait for their payment and hold nothing",
            Self::PaidWithoutStock => "paid orders whose pieces were not sold",
            Self::LostEvent => "orders with another number of events than changes",
            Self::LostOrder => "keys of orders that are not there",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an audit has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Orders in the store.
    pub orders: u64,
    /// Items in the store.
    pub items: u64,
    /// Pieces sold and held together.
    pub pieces: i64,
    /// What is wrong, and how often.
    pub faults: BTreeMap<Fault, i64>,
}

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// What is counted by the database: each must be 0.
pub(super) const COUNTED: [(Fault, &str); 5] = [
    (
        Fault::OrphanHold,
        "SELECT count(*) FROM reservations r LEFT JOIN orders o ON o.id = r.id \
         WHERE r.state = 0 AND r.expires_at IS NULL AND (o.id IS NULL OR o.status <> 1)",
    ),
    (
        Fault::NothingHeld,
        "SELECT count(*) FROM orders o LEFT JOIN reservations r ON r.id = o.id \
         WHERE o.status = 1 AND (r.id IS NULL OR r.state <> 0)",
    ),
    (
        Fault::PaidWithoutStock,
        "SELECT count(*) FROM orders o LEFT JOIN reservations r ON r.id = o.id \
         WHERE o.status IN (2, 3, 4) AND (r.id IS NULL OR r.state <> 1)",
    ),
    (
        Fault::LostEvent,
        "SELECT count(*) FROM orders o \
         WHERE o.version <> (SELECT count(*) FROM order_events e WHERE e.order_id = o.id)",
    ),
    (
        Fault::LostOrder,
        "SELECT count(*) FROM requests q LEFT JOIN orders o ON o.id = q.target \
         WHERE q.answer IS NULL AND o.id IS NULL",
    ),
];

/// Sums up rows as they are read.
#[derive(Default)]
pub(super) struct Auditor {
    audit: Audit,
    /// Per SKU: what its row says is reserved and confirmed, less what the reservations say.
    reserved: BTreeMap<String, i64>,
    confirmed: BTreeMap<String, i64>,
}

impl Auditor {
    pub(super) fn item(&mut self, item: &Item) {
        self.audit.items += 1;
        if !item.stock.balances() {
            self.counted(Fault::Stock, 1);
        }
        let sku = item.sku.as_str();
        *self.reserved.entry(sku.to_owned()).or_default() += item.stock.reserved;
        *self.confirmed.entry(sku.to_owned()).or_default() += item.stock.confirmed;
        self.audit.pieces += item.stock.reserved + item.stock.confirmed;
    }

    pub(super) fn reservation(&mut self, reservation: &Reservation) {
        let sums = match reservation.state {
            ReservationState::Held => &mut self.reserved,
            ReservationState::Confirmed => &mut self.confirmed,
            ReservationState::Released | ReservationState::Returned => return,
        };
        for Line { sku, quantity } in &reservation.lines {
            match sums.get_mut(sku.as_str()) {
                Some(sum) => *sum -= i64::from(*quantity),
                None => drop(sums.insert(sku.as_str().to_owned(), -i64::from(*quantity))),
            }
        }
    }

    pub(super) fn order(&mut self, order: &Order) {
        self.audit.orders += 1;
        let sum = money::total(order.lines.iter().map(|line| (line.line.quantity, line.price)));
        let ended_without_reason = (order.status == Status::Cancelled) && order.reason.is_none();
        if sum != Some(order.total.cents) || ended_without_reason {
            self.counted(Fault::Total, 1);
        }
    }

    pub(super) fn counted(&mut self, fault: Fault, count: i64) {
        if count > 0 {
            *self.audit.faults.entry(fault).or_default() += count;
        }
    }

    pub(super) fn finish(mut self) -> Audit {
        let off = |sums: &BTreeMap<String, i64>| sums.values().map(|sum| i64::from(*sum != 0)).sum();
        let (reserved, confirmed) = (off(&self.reserved), off(&self.confirmed));
        self.counted(Fault::Reserved, reserved);
        self.counted(Fault::Confirmed, confirmed);
        self.audit
    }
}
