//! The catalogue: all products in the order of their SKUs, and pages of them.

use std::collections::{BTreeMap, HashMap};

use super::{Cursor, Product};

/// All products. Read-only: made once, shared by all requests.
#[derive(Debug)]
pub struct Catalogue {
    /// Sorted by SKU.
    products: Vec<Product>,
    by_sku: HashMap<String, usize>,
    /// Places in `products`, rising.
    by_category: BTreeMap<String, Vec<usize>>,
    everything: Vec<usize>,
}

/// Why products do not make a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// There is none at all.
    #[error("the catalogue has no products: is the database the right one?")]
    Empty,
    /// Two have the same SKU.
    #[error("the catalogue has the SKU {0} twice")]
    Duplicate(String),
}

/// How many products a page has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// The largest page.
    pub const MAX: usize = 100;

    /// Reads a limit from 1 to [`Limit::MAX`].
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|limit| (1..=Self::MAX).contains(limit)).map(Self)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

/// Which page is wanted.
#[derive(Clone, Debug, Default)]
pub struct PageQuery {
    /// Its size.
    pub limit: Limit,
    /// Only this category.
    pub category: Option<String>,
    /// Where it starts; must have been decoded for the same category.
    pub cursor: Option<Cursor>,
}

/// One page of the catalogue.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// The products, in the order of their SKUs.
    pub products: Vec<&'a Product>,
    /// Where the next page starts; none after the last one.
    pub next: Option<Cursor>,
}

impl Catalogue {
    /// Makes a catalogue of products in any order.
    pub fn new(mut products: Vec<Product>) -> Result<Self, CatalogueError> {
        if products.is_empty() {
            return Err(CatalogueError::Empty);
        }
        products.sort_by(|one, other| one.sku.cmp(&other.sku));
        let mut by_sku = HashMap::with_capacity(products.len());
        let mut by_category: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, product) in products.iter().enumerate() {
            if by_sku.insert(product.sku.clone(), place).is_some() {
                return Err(CatalogueError::Duplicate(product.sku.clone()));
            }
            by_category.entry(product.category.clone()).or_default().push(place);
        }
        let everything = (0..products.len()).collect();
        Ok(Self { products, by_sku, by_category, everything })
    }

    /// All products in the order of their SKUs.
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// The place of a product in [`Catalogue::products`].
    pub fn place(&self, sku: &str) -> Option<usize> {
        self.by_sku.get(sku).copied()
    }

    /// One product.
    pub fn find(&self, sku: &str) -> Option<&Product> {
        self.products.get(self.place(sku)?)
    }

    /// The product whose turn it is at a tick of the price feed.
    pub fn in_turn(&self, sequence: u64) -> Option<&Product> {
        let count = u64::try_from(self.products.len()).unwrap_or(u64::MAX);
        self.products.get(usize::try_from(sequence.checked_rem(count)?).unwrap_or_default())
    }

    /// One page. An unknown category is an empty list, as a category without products would be.
    pub fn page(&self, query: &PageQuery) -> Page<'_> {
        let places = match &query.category {
            None => self.everything.as_slice(),
            Some(category) => self.by_category.get(category).map_or(&[][..], Vec::as_slice),
        };
        let start = query.cursor.as_ref().map_or(0, |cursor| {
            places.partition_point(|place| {
                self.products.get(*place).is_some_and(|product| product.sku <= cursor.after)
            })
        });
        let rest = places.get(start..).unwrap_or_default();
        let products: Vec<_> =
            rest.iter().take(query.limit.0).filter_map(|place| self.products.get(*place)).collect();
        let next = products
            .last()
            .filter(|_| rest.len() > query.limit.0)
            .map(|last| Cursor { category: query.category.clone(), after: last.sku.clone() });
        Page { products, next }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Money;
    use super::*;

    fn product(sku: &str, category: &str) -> Product {
        Product {
            sku: sku.to_owned(),
            name: sku.to_lowercase(),
            category: category.to_owned(),
            description: String::new(),
            price: Money { cents: 100, currency: "EUR".to_owned() },
        }
    }

    fn catalogue() -> Catalogue {
        let skus = [("D", "home"), ("A", "home"), ("C", "kitchen"), ("E", "home"), ("B", "kitchen")];
        Catalogue::new(skus.iter().map(|(sku, category)| product(sku, category)).collect()).unwrap()
    }

    fn walk(catalogue: &Catalogue, limit: usize, category: Option<&str>) -> Vec<Vec<String>> {
        let mut query =
            PageQuery { limit: Limit(limit), category: category.map(str::to_owned), cursor: None };
        let mut pages = Vec::new();
        loop {
            let page = catalogue.page(&query);
            pages.push(page.products.iter().map(|product| product.sku.clone()).collect());
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_hold_every_product_once_in_order() {
        let catalogue = catalogue();
        assert_eq!(walk(&catalogue, 2, None), [vec!["A", "B"], vec!["C", "D"], vec!["E"]]);
        assert_eq!(walk(&catalogue, 5, None), [vec!["A", "B", "C", "D", "E"]], "no empty page at the end");
        assert_eq!(walk(&catalogue, 2, Some("home")), [vec!["A", "D"], vec!["E"]]);
        assert_eq!(walk(&catalogue, 2, Some("none")), [Vec::<String>::new()]);
    }

    #[test]
    fn a_cursor_whose_product_is_gone_goes_on_behind_it() {
        let cursor = Some(Cursor { category: None, after: "BB".to_owned() });
        let catalogue = catalogue();
        let page = catalogue.page(&PageQuery { cursor, ..PageQuery::default() });
        assert_eq!(page.products.first().map(|product| product.sku.as_str()), Some("C"));
    }

    #[test]
    fn limits_are_from_one_to_a_hundred() {
        assert_eq!((Limit::parse("1"), Limit::parse("100")), (Some(Limit(1)), Some(Limit(100))));
        for text in ["0", "101", "-1", "ten", "", "99999999999999999999999"] {
            assert_eq!(Limit::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        assert_eq!(Catalogue::new(Vec::new()).unwrap_err(), CatalogueError::Empty);
        let twice = vec![product("A", "home"), product("A", "kitchen")];
        assert_eq!(Catalogue::new(twice).unwrap_err(), CatalogueError::Duplicate("A".to_owned()));
    }

    #[test]
    fn the_feed_takes_all_in_turn() {
        let catalogue = catalogue();
        let skus: Vec<_> =
            (4..7).filter_map(|sequence| catalogue.in_turn(sequence)).map(|product| &*product.sku).collect();
        assert_eq!(skus, ["E", "A", "B"]);
    }
}
