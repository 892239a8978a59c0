//! What is wanted: SKUs and quantities, each SKU once, in order.
//!
//! Lines of one SKU are summed before anything is checked: two lines of 1 are a wish for 2, and checking them apart sells what is
//! not there.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The most lines of one order or reservation.
pub const MAX_LINES: usize = 50;
/// The most pieces of one SKU in one order or reservation.
pub const MAX_QUANTITY: u32 = 999;
/// The longest SKU.
pub const MAX_SKU: usize = 32;

/// A stock keeping unit: 1 to 32 letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(Arc<str>);

impl Sku {
    /// Reads one; `None` when it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_form = (1..=MAX_SKU).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        is_form.then(|| Self(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One SKU and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub sku: Sku,
    /// How many, 1 to 999.
    pub quantity: u32,
}

/// Why lines are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// There is nothing to have.
    #[error("1 to {MAX_LINES} lines are expected, there is none")]
    None,
    /// There are too many lines.
    #[error("1 to {MAX_LINES} lines are expected, there are {0}")]
    TooMany(usize),
    /// A line is not of the form.
    #[error("line {0}: `sku` is 1 to {MAX_SKU} letters, digits, dots, dashes and underscores")]
    Sku(usize),
    /// A quantity is out of its range.
    #[error(
        "line {0}: `quantity` is a whole number from 1 to {MAX_QUANTITY}, also when lines of one SKU are summed"
    )]
    Quantity(usize),
}

/// Lines as they are decided on: each SKU once, sorted by SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Sums and sorts what a client sent; counts of lines in errors begin at 1.
    pub fn new<'a>(wanted: impl ExactSizeIterator<Item = (&'a str, i64)>) -> Result<Self, LineError> {
        match wanted.len() {
            0 => return Err(LineError::None),
            count if count > MAX_LINES => return Err(LineError::TooMany(count)),
            _ => {}
        }
        let mut sums: BTreeMap<Sku, u32> = BTreeMap::new();
        for (place, (sku, quantity)) in wanted.enumerate() {
            let sku = Sku::parse(sku).ok_or(LineError::Sku(place + 1))?;
            let quantity = u32::try_from(quantity)
                .ok()
                .filter(|quantity| (1..=MAX_QUANTITY).contains(quantity))
                .ok_or(LineError::Quantity(place + 1))?;
            let sum = sums.entry(sku).or_default();
            *sum += quantity;
            if *sum > MAX_QUANTITY {
                return Err(LineError::Quantity(place + 1));
            }
        }
        Ok(Self(sums.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect()))
    }

    /// The lines, sorted by SKU.
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(wanted: &[(&str, i64)]) -> Result<Lines, LineError> {
        Lines::new(wanted.iter().copied())
    }

    #[test]
    fn lines_of_one_sku_are_summed() {
        let summed = lines(&[("B", 1), ("A", 2), ("B", 3)]).unwrap();
        let shown: Vec<_> = summed.as_slice().iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
        assert_eq!(shown, [("A", 2), ("B", 4)]);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert_eq!(lines(&[]), Err(LineError::None));
        assert_eq!(lines(&vec![("A", 1); 51]), Err(LineError::TooMany(51)));
        for quantity in [0, -1, 1000, i64::MAX, i64::MIN] {
            assert_eq!(lines(&[("A", quantity)]), Err(LineError::Quantity(1)), "{quantity}");
        }
        assert_eq!(lines(&[("A", 500), ("A", 500)]), Err(LineError::Quantity(2)));
        for sku in ["", "a b", "a'b", "ü", "123456789012345678901234567890123"] {
            assert_eq!(lines(&[("A", 1), (sku, 1)]), Err(LineError::Sku(2)), "{sku}");
        }
    }

    proptest! {
        #[test]
        fn no_piece_is_lost_and_no_sku_doubled(wanted in proptest::collection::vec(("[A-D]", 1_i64..20), 1..50)) {
            let pairs: Vec<_> = wanted.iter().map(|(sku, quantity)| (sku.as_str(), *quantity)).collect();
            let summed = lines(&pairs).unwrap();
            let pieces: i64 = summed.as_slice().iter().map(|line| i64::from(line.quantity)).sum();
            prop_assert_eq!(pieces, wanted.iter().map(|(_, quantity)| quantity).sum::<i64>());
            prop_assert!(summed.as_slice().windows(2).all(|pair| pair[0].sku < pair[1].sku));
        }
    }
}
