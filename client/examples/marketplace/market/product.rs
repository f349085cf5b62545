//! Where a product stands in the market, and what it is offered for.
//!
//! Invariant: a product's place is always a valid name of the index with exactly three segments below `market/`.

use std::fmt;
use std::str::FromStr;

use raft_store::types::FileName;
use serde::Serialize;

use super::Price;

/// The folder of all areas.
pub const MARKET: &str = "market/";

/// A product in a shop: `AREA/SHOP/PRODUCT`, stored as the record `market/AREA/SHOP/PRODUCT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product(FileName);

/// Why text does not name a product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProduct {
    /// Not three segments.
    #[error("{0:?} does not name a product; write AREA/SHOP/PRODUCT, such as north/harbour/salmon")]
    Segments(String),
    /// A segment is not allowed in a name.
    #[error("{0:?} does not name a product: {1}")]
    Name(String, String),
}

impl Product {
    /// The record's name.
    pub fn record(&self) -> &FileName {
        &self.0
    }

    /// The product of a record, if that record is one.
    pub fn of_record(name: &FileName) -> Option<Self> {
        name.as_str().strip_prefix(MARKET)?.parse().ok()
    }

    fn place(&self) -> &str {
        self.0.as_str().strip_prefix(MARKET).unwrap_or_default()
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place())
    }
}

impl FromStr for Product {
    type Err = BadProduct;

    fn from_str(text: &str) -> Result<Self, BadProduct> {
        if text.split('/').count() != 3 {
            return Err(BadProduct::Segments(text.to_owned()));
        }
        let name = FileName::parse(format!("{MARKET}{text}"));
        name.map(Self).map_err(|error| BadProduct::Name(text.to_owned(), error.to_string()))
    }
}

impl Serialize for Product {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.place())
    }
}

/// A product and what its shop says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Which product, and where.
    pub product: Product,
    /// Price of one unit, in minor units.
    pub price: Price,
    /// Units in the shop.
    pub stock: i64,
    /// What is counted: kg, piece, bottle.
    pub unit: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_three_segments_and_a_valid_name() {
        let product: Product = "north/harbour/salmon".parse().expect("a product");
        assert_eq!(product.record().as_str(), "market/north/harbour/salmon");
        assert_eq!(Product::of_record(product.record()), Some(product));
        for text in ["", "salmon", "a/b/c/d", "a//c", "a/../c", "a/b/c\n", "market/a/b/c"] {
            assert!(text.parse::<Product>().is_err(), "{text}");
        }
        let other = FileName::parse("receipts/ann/1").expect("a name");
        assert_eq!(Product::of_record(&other), None);
    }
}
