//! What an order moved: from the answer to its transaction, and later from the index by the transaction's id.
//!
//! Invariant: a receipt that is asked for again is the same, because it is made from the same answer.

use std::collections::BTreeMap;

use client::cluster::{Branch, Change, TxnAnswer};
use raft_store::types::{FileName, TxnId};
use serde::Serialize;

use super::{BASKET_MAX, Market, MarketError, Price, Product, attribute};

/// The folder of all receipts.
pub(super) const RECEIPTS: &str = "receipts/";
/// Longest number of an order, in bytes; it is a part of the idempotency key.
pub(super) const NUMBER_BYTES_MAX: usize = 100;
/// The attribute of a receipt that says what kind of order it is.
const KIND: &str = "kind";

/// One product that an order moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    /// Which.
    pub(super) product: Product,
    /// How many units the shop gains; negative where they leave it.
    pub(super) quantity: i64,
    /// The highest price that the buyer accepts.
    pub(super) limit: Option<Price>,
}

/// What became of an order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The transaction: log index and place in the entry. Ids grow in the order in which trades happened.
    pub txn: TxnId,
    /// The order's number, if it has one.
    pub order: Option<String>,
    /// The products.
    pub lines: Vec<ReceiptLine>,
}

/// One product of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptLine {
    /// Which.
    pub product: Product,
    /// How many units the shop gained; negative where they left it.
    pub quantity: i64,
    /// The price at that moment.
    pub price: Price,
    /// The stock right after the trade.
    pub stock: i64,
}

/// The changes that write an order's receipt.
pub(super) fn entries(record: &FileName, kind: &str, movements: &[Movement]) -> Vec<Change> {
    let mut changes = vec![Change::set(record, KIND, kind)];
    for (place, movement) in (1..).zip(movements) {
        changes.push(Change::set(record, &product_key(place), movement.product.to_string().as_str()));
        changes.push(Change::set(record, &quantity_key(place), movement.quantity));
        if let Some(limit) = movement.limit {
            changes.push(Change::set(record, &format!("{place}.limit"), limit.minor()));
        }
    }
    changes
}

fn product_key(place: usize) -> String {
    format!("{place}.product")
}

fn quantity_key(place: usize) -> String {
    format!("{place}.quantity")
}

impl Receipt {
    /// The receipt of an order whose transaction was just answered.
    pub(super) fn of_trade(
        answer: &TxnAnswer,
        order: Option<String>,
        movements: &[Movement],
    ) -> Result<Self, MarketError> {
        let quantities = movements.iter().map(|movement| (movement.product.clone(), movement.quantity));
        Ok(Self { txn: answer.id, order, lines: lines(answer, quantities)? })
    }

    /// What it cost.
    pub fn total(&self) -> Price {
        let costs = self.lines.iter().map(|line| line.price.times(line.quantity.unsigned_abs()));
        costs.fold(Price::ZERO, Price::plus)
    }
}

fn lines(
    answer: &TxnAnswer,
    quantities: impl Iterator<Item = (Product, i64)>,
) -> Result<Vec<ReceiptLine>, MarketError> {
    let line = |(product, quantity): (Product, i64)| {
        let number = |key| answer.integer(product.record(), key);
        let (price, stock) = number(attribute::PRICE)
            .zip(number(attribute::STOCK))
            .ok_or(MarketError::Damaged { record: product.record().to_string(), what: "price or stock is missing" })?;
        let price = Price::from_minor(price)
            .ok_or(MarketError::Damaged { record: product.record().to_string(), what: "the price is out of range" })?;
        Ok(ReceiptLine { product, quantity, price, stock })
    };
    quantities.map(line).collect()
}

impl Market {
    /// The receipt of a transaction, from the answer that the index remembers. It can be asked for by anyone, from any
    /// node, as often as needed.
    pub async fn receipt(&self, id: TxnId) -> Result<Receipt, MarketError> {
        let missing = || MarketError::NoReceipt(id.to_string());
        let answer = self.client.txn_outcome(id).await?.ok_or_else(missing)?.value;
        if answer.branch != Branch::Then {
            return Err(missing());
        }
        let written = answer.names.iter().find_map(|state| {
            let (_, order) = state.name.as_str().strip_prefix(RECEIPTS)?.split_once('/')?;
            Some((order.to_owned(), &state.attributes))
        });
        let Some((order, attributes)) = written else {
            // An order without a number: the index knows what the products were afterwards, and not how many moved.
            return Err(missing());
        };
        let entry = |place: usize| {
            let product = attributes.get(&product_key(place))?.as_text()?.parse().ok()?;
            Some((product, attributes.get(&quantity_key(place))?.as_integer()?))
        };
        let quantities: BTreeMap<usize, (Product, i64)> =
            (1..=BASKET_MAX).map_while(|place| Some((place, entry(place)?))).collect();
        Ok(Receipt { txn: id, order: Some(order), lines: lines(&answer, quantities.into_values())? })
    }
}
