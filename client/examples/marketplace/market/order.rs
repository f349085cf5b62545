//! Trades. Each is one transaction that is built once and may be placed again and again.
//!
//! Invariants: all attempts of an order carry one key, so it is carried out at most once. A purchase takes its items
//! together or none of them, never more than there is, and never at a price above the one that the buyer saw.

use client::cluster::{Branch, Change, Check, Error, Txn, TxnBuilder, TxnError};
use client::contract::ErrorCode;
use raft_store::types::{Comparison, FileName};

use super::receipt::{self, Movement};
use super::{Market, MarketError, Offer, Price, Product, Receipt, attribute};

/// Products in one basket: each takes three attributes of the receipt, and a record has 32.
pub const BASKET_MAX: usize = 10;
/// Units in one trade.
const QUANTITY_MAX: u64 = 1_000_000_000;

/// Something to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What.
    pub product: Product,
    /// How many units.
    pub quantity: u64,
    /// The price that the buyer saw, and pays at most.
    pub seen: Price,
}

/// An order that can be placed, and placed again while its outcome is unknown.
#[derive(Debug)]
pub struct Order {
    market: Market,
    txn: Txn,
    number: Option<String>,
    aim: Aim,
}

/// What an order is for.
#[derive(Debug)]
enum Aim {
    Trade(Vec<Movement>),
    Offer(Product),
}

impl Market {
    /// Buys everything in the basket or nothing. With a number the order leaves a receipt under `receipts/`, and can be
    /// placed again by another process.
    pub fn buy(&self, number: Option<&str>, basket: &[Item]) -> Result<Order, MarketError> {
        if basket.is_empty() || basket.len() > BASKET_MAX {
            return Err(MarketError::BadOrder(format!("a basket has 1 to {BASKET_MAX} products")));
        }
        let mut txn = self.begin(number)?;
        let mut movements = Vec::new();
        for item in basket {
            if basket.iter().filter(|other| other.product == item.product).count() > 1 {
                let what = format!("{} is in the basket twice; write it once with the sum", item.product);
                return Err(MarketError::BadOrder(what));
            }
            let record = item.product.record();
            let taken = quantity(item.quantity)?;
            txn = txn
                .require(Check::exists(record))
                .require(Check::attr(record, attribute::PRICE, Comparison::LessOrEqual, item.seen.minor()))
                .then(Change::add(record, attribute::STOCK, -taken).min(0));
            movements.push(Movement { product: item.product.clone(), quantity: -taken, limit: Some(item.seen) });
        }
        self.trade(number, txn, movements, "buy")
    }

    /// Adds stock.
    pub fn restock(&self, number: Option<&str>, product: &Product, pieces: u64) -> Result<Order, MarketError> {
        let added = quantity(pieces)?;
        let txn = self.begin(number)?.require(Check::exists(product.record())).then(Change::add(
            product.record(),
            attribute::STOCK,
            added,
        ));
        let movement = Movement { product: product.clone(), quantity: added, limit: None };
        self.trade(number, txn, vec![movement], "restock")
    }

    /// Moves stock from one shop to another: both change or neither.
    pub fn transfer(
        &self,
        number: Option<&str>,
        (from, to): (&Product, &Product),
        pieces: u64,
    ) -> Result<Order, MarketError> {
        let moved = quantity(pieces)?;
        if from == to {
            return Err(MarketError::BadOrder("a transfer needs two different shops".into()));
        }
        let txn = self
            .begin(number)?
            .require(Check::exists(from.record()))
            .require(Check::exists(to.record()))
            .then(Change::add(from.record(), attribute::STOCK, -moved).min(0))
            .then(Change::add(to.record(), attribute::STOCK, moved));
        let movements = [(from, -moved), (to, moved)].map(|(product, quantity)| Movement {
            product: product.clone(),
            quantity,
            limit: None,
        });
        self.trade(number, txn, movements.into(), "transfer")
    }

    /// Puts a new product on offer.
    pub fn offer(&self, offer: &Offer) -> Order {
        let record = offer.product.record();
        let txn = self
            .client
            .txn(&self.trader)
            .require(Check::absent(record))
            .then(Change::set(record, attribute::PRICE, offer.price.minor()))
            .then(Change::set(record, attribute::STOCK, offer.stock))
            .then(Change::set(record, attribute::UNIT, offer.unit.as_str()));
        self.order(None, txn, Aim::Offer(offer.product.clone()))
    }

    /// Changes the price of what is on offer.
    pub fn reprice(&self, product: &Product, price: Price) -> Order {
        let record = product.record();
        let txn = self.client.txn(&self.trader).require(Check::exists(record)).then(Change::set(
            record,
            attribute::PRICE,
            price.minor(),
        ));
        let movement = Movement { product: product.clone(), quantity: 0, limit: None };
        self.order(None, txn, Aim::Trade(vec![movement]))
    }

    /// A transaction of this order, under a condition that the order was not carried out under another key.
    fn begin(&self, number: Option<&str>) -> Result<TxnBuilder, MarketError> {
        let Some(number) = number else { return Ok(self.client.txn(&self.trader)) };
        // One session a number: the index keeps its answer for a day, and the receipt after that.
        let keyed = self.client.with_key(format!("{number}:1"));
        Ok(keyed.txn(&self.trader).require(Check::absent(&self.receipt_record(number)?)))
    }

    fn trade(
        &self,
        number: Option<&str>,
        mut txn: TxnBuilder,
        movements: Vec<Movement>,
        kind: &str,
    ) -> Result<Order, MarketError> {
        if let Some(number) = number {
            for change in receipt::entries(&self.receipt_record(number)?, kind, &movements) {
                txn = txn.then(change);
            }
        }
        Ok(self.order(number, txn, Aim::Trade(movements)))
    }

    fn order(&self, number: Option<&str>, txn: TxnBuilder, aim: Aim) -> Order {
        Order { market: self.clone(), txn: txn.prepare(), number: number.map(str::to_owned), aim }
    }

    /// Where the receipt of an order is kept.
    pub(super) fn receipt_record(&self, number: &str) -> Result<FileName, MarketError> {
        let bad = |why: &str| MarketError::BadOrder(format!("{number:?} cannot be the number of an order: {why}"));
        if number.contains(['/', ':']) || number.len() > receipt::NUMBER_BYTES_MAX {
            return Err(bad("it is too long, or contains '/' or ':'"));
        }
        let name = format!("{}{}/{number}", receipt::RECEIPTS, self.trader);
        FileName::parse(name).map_err(|error| bad(&error.to_string()))
    }
}

impl Order {
    /// Places the order. After [`MarketError::Unknown`] place it again: it is carried out once however often that is.
    pub async fn place(&self) -> Result<Receipt, MarketError> {
        match self.txn.send().await {
            Ok(answer) if answer.branch == Branch::Then => {
                Receipt::of_trade(&answer, self.number.clone(), self.moved())
            }
            Ok(_) => Err(self.what_did_not_hold().await),
            Err(TxnError::OutOfBounds { name, value, .. }) => Err(self.sold_out(&name, value).await),
            Err(TxnError::Unknown(error)) => Err(MarketError::Unknown(error.to_string())),
            Err(error) => match (Error::from(error), &self.number) {
                (error, Some(order)) if error.code() == Some(ErrorCode::KeyReused) => {
                    Err(MarketError::OrderTaken { order: order.clone() })
                }
                (error, _) => Err(error.into()),
            },
        }
    }

    fn moved(&self) -> &[Movement] {
        match &self.aim {
            Aim::Trade(movements) => movements,
            Aim::Offer(_) => &[],
        }
    }

    async fn sold_out(&self, name: &FileName, left: Option<i64>) -> MarketError {
        let Some(movement) = self.moved().iter().find(|movement| movement.product.record() == name) else {
            return MarketError::Changed;
        };
        let product = movement.product.clone();
        let left = match left {
            Some(left) => left,
            None => match self.market.look(&product).await {
                Ok(offer) => offer.stock,
                Err(error) => return error,
            },
        };
        MarketError::SoldOut { wanted: movement.quantity.unsigned_abs(), left, product }
    }

    /// Which condition failed, by looking at what there is now.
    async fn what_did_not_hold(&self) -> MarketError {
        if let Aim::Offer(product) = &self.aim {
            return MarketError::AlreadyOffered { product: product.clone() };
        }
        for movement in self.moved() {
            let offer = match self.market.look(&movement.product).await {
                Ok(offer) => offer,
                Err(error) => return error,
            };
            if let Some(seen) = movement.limit.filter(|seen| offer.price > *seen) {
                return MarketError::Dearer { product: offer.product, seen, now: offer.price };
            }
        }
        if let Some(order) = &self.number
            && let Ok(record) = self.market.receipt_record(order)
            && self.market.client().file(&record).await.is_ok()
        {
            return MarketError::OrderTaken { order: order.clone() };
        }
        MarketError::Changed
    }
}

/// A number of units as the index counts them.
fn quantity(pieces: u64) -> Result<i64, MarketError> {
    match i64::try_from(pieces) {
        Ok(counted) if (1..=QUANTITY_MAX).contains(&pieces) => Ok(counted),
        _ => Err(MarketError::BadOrder(format!("a quantity is a whole number from 1 to {QUANTITY_MAX}"))),
    }
}
