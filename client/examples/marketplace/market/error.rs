//! Why a trade did not happen, in terms of the market.
//!
//! Invariant: only [`MarketError::Unknown`] leaves open whether the order was carried out. Placing the same order again
//! settles it.

use client::cluster::Error;

use super::{Price, Product};

/// A trade that did not happen, or whose outcome is not known.
#[derive(Debug, thiserror::Error)]
pub enum MarketError {
    /// Nobody offers this.
    #[error("{product} is not on offer; find what is: search")]
    NoSuchProduct {
        /// What was asked for.
        product: Product,
    },
    /// The shop has too little.
    #[error("{product}: {wanted} wanted and {left} left; nothing was taken")]
    SoldOut {
        /// What was asked for.
        product: Product,
        /// How many.
        wanted: u64,
        /// How many there were.
        left: i64,
    },
    /// The price rose after the buyer had seen it.
    #[error("{product} now costs {now} and no longer {seen}; nothing was bought")]
    Dearer {
        /// What was asked for.
        product: Product,
        /// The price that the buyer saw.
        seen: Price,
        /// The price now.
        now: Price,
    },
    /// The shop offers this already.
    #[error("{product} is on offer already; change it with reprice or restock")]
    AlreadyOffered {
        /// What was to be offered.
        product: Product,
    },
    /// The number is taken by an order of other contents.
    #[error("the order number {order} was used before; choose another one, or see its receipt")]
    OrderTaken {
        /// The order's number.
        order: String,
    },
    /// The order itself makes no sense.
    #[error("{0}")]
    BadOrder(String),
    /// A condition of the order did not hold, and holds now.
    #[error("the offer changed while the order was on its way; nothing was bought, try again")]
    Changed,
    /// There is no such receipt, or the index has forgotten it.
    #[error("there is no receipt {0}; the index keeps the answers of transactions for a day")]
    NoReceipt(String),
    /// What is stored is not what this program stores.
    #[error("the record {record} is damaged: {what}")]
    Damaged {
        /// The record.
        record: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The order may or may not have been carried out.
    #[error("whether the order was carried out is not known yet: {0}; place the same order again to find out")]
    Unknown(String),
    /// The market did not stand still for long enough to compare the nodes.
    #[error("the nodes were never at one log index while they were asked; try again when less is written")]
    Busy,
    /// The index refused, or could not be reached. Nothing was changed.
    #[error(transparent)]
    Index(Error),
}

impl From<Error> for MarketError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown { .. } => Self::Unknown(error.to_string()),
            error => Self::Index(error),
        }
    }
}
