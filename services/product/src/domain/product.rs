//! A product and its price.

use serde::Serialize;

/// An amount of money in whole cents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Money {
    /// The amount in the currency's hundredth part.
    pub cents: i64,
    /// ISO 4217, for example `EUR`.
    pub currency: String,
}

/// One product of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its stock keeping unit, unique in the catalogue, for example `MUG-0001`.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// The category it is listed in.
    pub category: String,
    /// One sentence about it.
    pub description: String,
    /// Its list price.
    pub price: Money,
}
