//! An order, its history, and how both are shown.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::{Line, Millis, Money, Reason, Sku, Status};

/// How long a buyer has to pay.
pub const PAY_WITHIN: Millis = 30 * 60 * 1000;

/// One line with the price it was sold at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// What and how many.
    pub line: Line,
    /// The price of one when it was ordered, in minor units.
    pub price: i64,
}

/// An order as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: i64,
    /// Whose it is.
    pub user: Arc<str>,
    /// Where it stands.
    pub status: Status,
    /// Why it ended without a sale.
    pub reason: Option<Reason>,
    /// Whether it has left the house.
    pub shipped: bool,
    /// Rises with every change.
    pub version: i64,
    /// What was ordered, by SKU.
    pub lines: Vec<PricedLine>,
    /// The sum of its lines.
    pub total: Money,
    /// When it was made.
    pub created_at: Millis,
    /// When it was last changed.
    pub updated_at: Millis,
    /// Until when it must be paid, once its stock is held.
    pub pay_deadline: Option<Millis>,
}

impl Order {
    /// What it wants of the stock.
    pub fn wanted(&self) -> Vec<Line> {
        self.lines.iter().map(|line| line.line.clone()).collect()
    }

    /// As clients read it.
    pub fn to_json(&self) -> Bytes {
        to_json(self)
    }
}

/// Something of texts, numbers and lists as JSON.
///
/// # Panics
/// Never for these.
pub fn to_json(shown: &impl Serialize) -> Bytes {
    let mut body = Vec::with_capacity(512);
    serde_json::to_writer(&mut body, shown).expect("strings and numbers always serialise");
    body.into()
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(serialize_with = "as_text")]
    id: i64,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    version: i64,
    lines: Vec<ShownLine<'a>>,
    total: &'a Money,
    #[serde(serialize_with = "as_time")]
    created_at: Millis,
    #[serde(serialize_with = "as_time")]
    updated_at: Millis,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_some_time")]
    pay_deadline: Option<Millis>,
}

#[derive(Serialize)]
struct ShownLine<'a> {
    sku: &'a str,
    quantity: u32,
    cents: i64,
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines = self.lines.iter().map(|PricedLine { line, price }| ShownLine {
            sku: line.sku.as_str(),
            quantity: line.quantity,
            cents: *price,
        });
        let shown = Shown {
            id: self.id,
            status: self.status,
            reason: self.reason,
            version: self.version,
            lines: lines.collect(),
            total: &self.total,
            created_at: self.created_at,
            updated_at: self.updated_at,
            pay_deadline: self.pay_deadline,
        };
        shown.serialize(serializer)
    }
}

/// Ids are larger than the 53 bits that every JSON reader keeps: they are texts.
pub fn as_text<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A time as RFC 3339.
pub fn as_time<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_millisecond(*at) {
        Ok(time) => serializer.collect_str(&time),
        Err(_) => serializer.serialize_none(),
    }
}

/// A time as RFC 3339, where there is one.
pub fn as_some_time<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => as_time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// One thing that happened to an order: its history, and what is told to others (the outbox), in one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Which order.
    #[serde(serialize_with = "as_text")]
    pub order: i64,
    /// Its place in the order's history, from 1.
    pub seq: i64,
    /// What happened.
    pub event: Arc<str>,
    /// Where the order stood; `None` when it was made.
    pub from: Option<Status>,
    /// Where it stands.
    pub to: Status,
    /// Who did it: `user`, `staff` or `system`.
    pub actor: Arc<str>,
    /// When.
    #[serde(serialize_with = "as_time")]
    pub at: Millis,
    /// The trace of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<str>>,
    /// The release that the request was pinned to; whoever is told takes the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Arc<str>>,
}

/// How lines are kept in a row: `[["SKU",quantity,price],...]`; the price of lines that have none is 0.
pub fn lines_to_row<'a>(lines: impl Iterator<Item = (&'a Line, i64)>) -> String {
    let mut row = String::with_capacity(32);
    row.push('[');
    for (line, price) in lines {
        if row.len() > 1 {
            row.push(',');
        }
        // A SKU has no character that JSON escapes, and writing to a text cannot fail.
        let _ = write!(row, "[\"{}\",{},{price}]", line.sku.as_str(), line.quantity);
    }
    row.push(']');
    row
}

/// Reads lines of a row; `None` when they were not written by [`lines_to_row`].
pub fn lines_from_row(row: &str) -> Option<Vec<PricedLine>> {
    let lines: Vec<(String, u32, i64)> = serde_json::from_str(row).ok()?;
    let read = |(sku, quantity, price): (String, u32, i64)| {
        Some(PricedLine { line: Line { sku: Sku::parse(&sku)?, quantity }, price })
    };
    lines.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let line = Line { sku: Sku::parse("MUG-0001").unwrap(), quantity: 2 };
        Order {
            id: 9_007_199_254_740_993,
            user: "ann".into(),
            status: Status::AwaitingPayment,
            reason: None,
            shipped: false,
            version: 1,
            lines: vec![PricedLine { line, price: 1666 }],
            total: Money { cents: 3332, currency: "EUR".into() },
            created_at: 1_750_000_000_000,
            updated_at: 1_750_000_000_000,
            pay_deadline: Some(1_750_000_000_000 + PAY_WITHIN),
        }
    }

    #[test]
    fn an_order_is_shown_with_its_id_as_text_and_without_its_user() {
        let json = order().to_json();
        let expected = r#"{"id":"9007199254740993","status":"AWAITING_PAYMENT","version":1,"lines":[{"sku":"MUG-0001","quantity":2,"cents":1666}],"total":{"cents":3332,"currency":"EUR"},"created_at":"2025-06-15T15:06:40Z","updated_at":"2025-06-15T15:06:40Z","pay_deadline":"2025-06-15T15:36:40Z"}"#;
        assert_eq!(std::str::from_utf8(&json).unwrap(), expected);
    }

    #[test]
    fn lines_come_back_from_their_row() {
        let mut lines = order().lines;
        lines.push(PricedLine { line: Line { sku: Sku::parse("A.b_c").unwrap(), quantity: 1 }, price: 1 });
        let row = lines_to_row(lines.iter().map(|priced| (&priced.line, priced.price)));
        assert_eq!(lines_from_row(&row), Some(lines));
        assert_eq!(lines_from_row("[]"), Some(Vec::new()));
        assert_eq!((lines_from_row("{}"), lines_from_row("[[\"a b\",1,1]]")), (None, None));
    }
}
