//! The catalogue as pure data and functions: no I/O, no clock, no randomness.

mod catalogue;
mod cursor;
mod price;
mod product;

pub use catalogue::{Catalogue, CatalogueError, Limit, Page, PageQuery};
pub use cursor::{Cursor, CursorError};
pub use price::quote;
pub use product::{Money, Product};
