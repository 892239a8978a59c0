//! The price feed: today's price moves a little around the list price, the same on every instance.

use super::Product;

/// The price of `product` at a tick, in cents: within five per cent of its list price, never below one cent.
///
/// It depends on its arguments only, so that two versions of the service quote the same.
pub fn quote(product: &Product, sequence: u64) -> i64 {
    let percent = 95 + i64::try_from(mix(&product.sku, sequence) % 11).unwrap_or(5);
    (product.price.cents.saturating_mul(percent) / 100).max(1)
}

/// FNV-1a over the SKU and the tick: spreads well enough for a shop window.
fn mix(sku: &str, sequence: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = sku.bytes().chain(sequence.to_le_bytes());
    let hash = bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash >> 8
}

#[cfg(test)]
mod tests {
    use super::super::Money;
    use super::*;

    fn product(cents: i64) -> Product {
        Product {
            sku: "MUG-0001".to_owned(),
            name: "Oak mug".to_owned(),
            category: "kitchen".to_owned(),
            description: "A mug made of oak, for the kitchen.".to_owned(),
            price: Money { cents, currency: "EUR".to_owned() },
        }
    }

    #[test]
    fn quotes_stay_within_five_per_cent_and_move() {
        let product = product(1000);
        let quotes: std::collections::BTreeSet<_> =
            (0..100).map(|sequence| quote(&product, sequence)).collect();
        assert!(quotes.iter().all(|cents| (950..=1050).contains(cents)), "{quotes:?}");
        assert!(quotes.len() > 5, "{quotes:?}");
        assert_eq!(quote(&product, 7), quote(&product, 7));
    }

    #[test]
    fn no_quote_is_free() {
        assert!((0..100).all(|sequence| quote(&product(1), sequence) == 1));
    }
}
