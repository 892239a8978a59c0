//! Stock: what is there, what of it is held, what is sold. All lines of a wish are had, or none.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::order::{as_some_time, as_text, to_json};
use super::{Line, Millis, Sku};

/// The pieces of one SKU.
///
/// It always holds that `received = on_hand + confirmed` and `0 <= reserved <= on_hand`; the stores check both in every row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// In the house, held ones included.
    pub on_hand: i64,
    /// Held for somebody.
    pub reserved: i64,
    /// Sold.
    pub confirmed: i64,
    /// Everything that ever came in.
    pub received: i64,
}

impl Stock {
    /// Pieces that can still be held.
    pub const fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }

    /// Whether the books balance.
    pub const fn balances(&self) -> bool {
        self.received == self.on_hand + self.confirmed && self.reserved >= 0 && self.reserved <= self.on_hand
    }

    const fn hold(&mut self, quantity: i64) {
        self.reserved += quantity;
    }

    const fn release(&mut self, quantity: i64) {
        self.reserved -= quantity;
    }

    const fn confirm(&mut self, quantity: i64) {
        self.reserved -= quantity;
        self.on_hand -= quantity;
        self.confirmed += quantity;
    }

    const fn take_back(&mut self, quantity: i64) {
        self.on_hand += quantity;
        self.confirmed -= quantity;
    }

    /// New pieces come in; false when there would be more than can be counted.
    pub fn restock(&mut self, quantity: i64) -> bool {
        let (Some(on_hand), Some(received)) =
            (self.on_hand.checked_add(quantity), self.received.checked_add(quantity))
        else {
            return false;
        };
        (self.on_hand, self.received) = (on_hand, received);
        true
    }
}

/// One SKU as it is sold: its price, which no client ever names, and its stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Which.
    pub sku: Sku,
    /// The price of one, in minor units.
    pub price: i64,
    /// ISO 4217 code.
    pub currency: Arc<str>,
    /// Its pieces.
    pub stock: Stock,
    /// Whether this differs from what the store has.
    pub changed: bool,
}

/// Why a wish cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// These are not sold here: code -1.
    Unknown(Vec<Sku>),
    /// Of these there is not enough: code 0.
    SoldOut(Vec<Sku>),
}

impl Shortage {
    /// The code of the outcome: -1 unknown, 0 sold out; 1 is success.
    pub const fn code(&self) -> i8 {
        match self {
            Self::Unknown(_) => -1,
            Self::SoldOut(_) => 0,
        }
    }
}

/// Every item that a batch touches, by its SKU.
pub type Shelf = HashMap<Sku, Item>;

/// Holds all lines, or changes nothing and says which ones cannot be had.
pub fn reserve(shelf: &mut Shelf, lines: &[Line]) -> Result<(), Shortage> {
    let lacking = |lack: &dyn Fn(&Line) -> bool| -> Vec<Sku> {
        lines.iter().filter(|line| lack(line)).map(|line| line.sku.clone()).collect()
    };
    let unknown = lacking(&|line| !shelf.contains_key(&line.sku));
    if !unknown.is_empty() {
        return Err(Shortage::Unknown(unknown));
    }
    let sold_out = lacking(&|line| {
        shelf.get(&line.sku).is_none_or(|item| item.stock.available() < i64::from(line.quantity))
    });
    if !sold_out.is_empty() {
        return Err(Shortage::SoldOut(sold_out));
    }
    on_each(shelf, lines, Stock::hold);
    Ok(())
}

/// Gives back what was held.
pub fn release(shelf: &mut Shelf, lines: &[Line]) {
    on_each(shelf, lines, Stock::release);
}

/// What was held is sold.
pub fn confirm(shelf: &mut Shelf, lines: &[Line]) {
    on_each(shelf, lines, Stock::confirm);
}

/// What was sold is in the house again.
pub fn take_back(shelf: &mut Shelf, lines: &[Line]) {
    on_each(shelf, lines, Stock::take_back);
}

fn on_each(shelf: &mut Shelf, lines: &[Line], change: impl Fn(&mut Stock, i64)) {
    for line in lines {
        // Items are never deleted, so that a line that was once held has its item.
        if let Some(item) = shelf.get_mut(&line.sku) {
            change(&mut item.stock, line.quantity.into());
            item.changed = true;
        }
    }
}

/// What became of held pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationState {
    /// Held.
    Held,
    /// Sold.
    Confirmed,
    /// Given back, also when its time was over.
    Released,
    /// Sold, and taken back.
    Returned,
}

impl ReservationState {
    const ALL: [Self; 4] = [Self::Held, Self::Confirmed, Self::Released, Self::Returned];

    /// Its number in the store.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// The state of a number in the store.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|place| Self::ALL.get(place)).copied()
    }

    /// As clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Confirmed => "CONFIRMED",
            Self::Released => "RELEASED",
            Self::Returned => "RETURNED",
        }
    }
}

/// Pieces held for somebody. The reservation of an order has the order's id and no time of its own: it ends with the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: i64,
    /// What became of it.
    pub state: ReservationState,
    /// What is held.
    pub lines: Vec<Line>,
    /// Until when; `None` for one that belongs to an order.
    pub expires_at: Option<Millis>,
}

impl Reservation {
    /// As clients read it.
    pub fn to_json(&self) -> Bytes {
        let line = |line: &'_ Line| serde_json::json!({"sku": line.sku.as_str(), "quantity": line.quantity});
        to_json(&ShownReservation {
            id: self.id,
            state: self.state.as_str(),
            lines: self.lines.iter().map(line).collect(),
            expires_at: self.expires_at,
        })
    }
}

#[derive(Serialize)]
struct ShownReservation {
    #[serde(serialize_with = "as_text")]
    id: i64,
    state: &'static str,
    lines: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_some_time")]
    expires_at: Option<Millis>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shelf(stock: &[(&str, i64)]) -> Shelf {
        stock
            .iter()
            .map(|(name, on_hand)| {
                let sku = Sku::parse(name).unwrap();
                let stock = Stock { on_hand: *on_hand, received: *on_hand, ..Stock::default() };
                (sku.clone(), Item { sku, price: 100, currency: "EUR".into(), stock, changed: false })
            })
            .collect()
    }

    fn lines(wanted: &[(&str, u32)]) -> Vec<Line> {
        let line =
            |(sku, quantity): &(&str, u32)| Line { sku: Sku::parse(sku).unwrap(), quantity: *quantity };
        wanted.iter().map(line).collect()
    }

    #[test]
    fn all_lines_or_none() {
        let mut shelf = shelf(&[("A", 5), ("B", 1)]);
        let before = shelf.clone();
        let short = reserve(&mut shelf, &lines(&[("A", 5), ("B", 2)])).unwrap_err();
        assert_eq!((short.code(), &short), (0, &Shortage::SoldOut(vec![Sku::parse("B").unwrap()])));
        let unknown = reserve(&mut shelf, &lines(&[("A", 1), ("C", 1)])).unwrap_err();
        assert_eq!((unknown.code(), &unknown), (-1, &Shortage::Unknown(vec![Sku::parse("C").unwrap()])));
        assert_eq!(shelf, before);
        reserve(&mut shelf, &lines(&[("A", 5), ("B", 1)])).unwrap();
        assert!(shelf.values().all(|item| item.changed && item.stock.available() == 0));
    }

    proptest! {
        /// Whatever is held, given back, sold, taken back and delivered in any order: the books balance after every step.
        #[test]
        fn the_books_always_balance(steps in proptest::collection::vec((0_u8..5, 0_usize..6, 1_u32..4), 0..200)) {
            let mut shelf = shelf(&[("A", 7)]);
            let sku = Sku::parse("A").unwrap();
            let (mut held, mut sold): (Vec<Vec<Line>>, Vec<Vec<Line>>) = (Vec::new(), Vec::new());
            for (kind, place, quantity) in steps {
                match kind {
                    0 => {
                        let wish = lines(&[("A", quantity)]);
                        if reserve(&mut shelf, &wish).is_ok() { held.push(wish); }
                    }
                    1 if place < held.len() => release(&mut shelf, &held.swap_remove(place)),
                    2 if place < held.len() => {
                        let wish = held.swap_remove(place);
                        confirm(&mut shelf, &wish);
                        sold.push(wish);
                    }
                    3 if place < sold.len() => take_back(&mut shelf, &sold.swap_remove(place)),
                    4 => { shelf.get_mut(&sku).unwrap().stock.restock(quantity.into()); }
                    _ => {}
                }
                let stock = shelf[&sku].stock;
                prop_assert!(stock.balances(), "{:?}", stock);
                let open: i64 = held.iter().flatten().map(|line| i64::from(line.quantity)).sum();
                prop_assert_eq!(stock.reserved, open);
            }
        }
    }
}
