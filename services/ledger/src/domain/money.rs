//! Money: whole minor units and a currency. Nothing here is ever a float, so that nothing is ever rounded.

use std::sync::Arc;

use serde::Serialize;

/// An amount in the currency's minor unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Money {
    /// The amount in minor units.
    pub cents: i64,
    /// ISO 4217 code.
    pub currency: Arc<str>,
}

/// The sum of `quantity` times `price` over all lines; `None` when it does not fit, which no real order comes near to.
///
/// ```
/// assert_eq!(shop_ledger::domain::money::total([(2, 1190), (1, 5900)]), Some(8280));
/// assert_eq!(shop_ledger::domain::money::total([(2, i64::MAX)]), None);
/// ```
pub fn total(lines: impl IntoIterator<Item = (u32, i64)>) -> Option<i64> {
    lines
        .into_iter()
        .try_fold(0_i64, |sum, (quantity, price)| sum.checked_add(price.checked_mul(quantity.into())?))
}
