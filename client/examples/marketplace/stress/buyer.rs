//! One buyer: chooses an order, places it until its outcome is known, and writes down what it was told.
//!
//! Invariant: an order is given up only if its outcome is known, or if it could not be settled within [`SETTLE_MAX`],
//! which fails the run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::cluster::{Consistency, ReadOptions};
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};

use super::Floor;
use super::ledger::Movement;
use crate::market::{Item, Market, MarketError, Order, Price, Receipt};

/// How long one order may take to be settled.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Pause before an order that could not be served is placed again.
const AGAIN: Duration = Duration::from_millis(20);
/// One of so many receipts is asked for again.
const ASKED_AGAIN_EACH: u32 = 64;
/// Products in a basket of several.
const BASKET: std::ops::RangeInclusive<usize> = 2..=4;
/// Units in a purchase.
const PIECES: std::ops::RangeInclusive<u64> = 1..=3;

/// What a buyer was told.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What its orders moved.
    pub(super) movements: Vec<Movement>,
    /// For each purchase that was acknowledged: when, and how long it took, in microseconds.
    pub(super) purchases: Vec<(u32, u32)>,
    /// Purchases of several products among them.
    pub(super) baskets: u64,
    /// Restocks and transfers that were acknowledged.
    pub(super) other_trades: u64,
    /// Orders refused because too little was left.
    pub(super) sold_out: u64,
    /// Orders refused because the price had risen.
    pub(super) dearer: u64,
    /// Times that an order had to be placed again because its outcome was not known.
    pub(super) unknown: u64,
    /// Times that an order had to be placed again because nobody could serve it.
    pub(super) not_served: u64,
    /// Receipts that were asked for again, and were the same.
    pub(super) repeated: u64,
    /// What must not happen.
    pub(super) violations: Vec<String>,
}

pub(super) struct Buyer {
    market: Market,
    floor: Arc<Floor>,
    rng: StdRng,
    /// The prices that this buyer saw last.
    seen: Vec<Price>,
    log: Log,
}

/// How an order ended.
enum Settled {
    Done(Receipt),
    Refused,
}

impl Buyer {
    pub(super) fn new(number: u64, market: Market, floor: &Arc<Floor>, seed: u64) -> Self {
        let seen = vec![Price::from_minor(super::PRICE).unwrap_or(Price::ZERO); floor.products.len()];
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self { market, floor: Arc::clone(floor), rng, seen, log: Log::default() }
    }

    /// Orders until the run is over.
    pub(super) async fn work(mut self) -> Log {
        while !self.floor.over.load(Ordering::Acquire) {
            let acted = match self.rng.random_range(0..100) {
                0..88 => self.buy(1).await,
                88..93 => {
                    let several = self.rng.random_range(BASKET);
                    self.buy(several).await
                }
                93..97 => self.restock().await,
                97..99 => self.transfer().await,
                _ => self.reprice().await,
            };
            if let Err(error) = acted {
                self.log.violations.push(format!("an order of {} was not settled: {error}", self.market.trader()));
                break;
            }
        }
        self.log
    }

    async fn buy(&mut self, several: usize) -> Result<(), MarketError> {
        let products = &self.floor.products;
        let several = several.min(products.len());
        let chosen = sample(&mut self.rng, products.len(), several).into_vec();
        let mut basket = Vec::new();
        for &place in &chosen {
            let quantity = self.rng.random_range(PIECES);
            basket.push(Item { product: products[place].clone(), quantity, seen: self.seen[place] });
        }
        let order = self.market.buy(None, &basket)?;
        let sent = Instant::now();
        let settled = self.settle(&order).await?;
        if let Settled::Done(receipt) = settled {
            let now = self.floor.started.elapsed();
            self.log.purchases.push((micros(now), micros(sent.elapsed())));
            self.floor.purchases.fetch_add(1, Ordering::Relaxed);
            self.log.baskets += u64::from(several > 1);
            for (item, line) in basket.iter().zip(&receipt.lines) {
                if line.price > item.seen {
                    let what = format!("{} was charged {} and had seen {}", line.product, line.price, item.seen);
                    self.log.violations.push(what);
                }
            }
            self.write_down(&chosen, &receipt);
            if self.rng.random_range(0..ASKED_AGAIN_EACH) == 0 {
                self.ask_again(&order, &receipt).await?;
            }
        }
        Ok(())
    }

    async fn restock(&mut self) -> Result<(), MarketError> {
        let place = self.rng.random_range(0..self.floor.products.len());
        let pieces = self.rng.random_range(1..=40);
        let order = self.market.restock(None, &self.floor.products[place], pieces)?;
        if let Settled::Done(receipt) = self.settle(&order).await? {
            self.log.other_trades += 1;
            self.write_down(&[place], &receipt);
        }
        Ok(())
    }

    /// Moves stock between the two shops that have the product.
    async fn transfer(&mut self) -> Result<(), MarketError> {
        let from = self.rng.random_range(0..self.floor.products.len());
        let to = from ^ 1;
        let (Some(source), Some(target)) = (self.floor.products.get(from), self.floor.products.get(to)) else {
            return Ok(());
        };
        let pieces = self.rng.random_range(PIECES);
        let order = self.market.transfer(None, (source, target), pieces)?;
        if let Settled::Done(receipt) = self.settle(&order).await? {
            self.log.other_trades += 1;
            self.write_down(&[from, to], &receipt);
        }
        Ok(())
    }

    async fn reprice(&mut self) -> Result<(), MarketError> {
        let place = self.rng.random_range(0..self.floor.products.len());
        let price = Price::from_minor(super::PRICE + self.rng.random_range(-20..=20)).unwrap_or(Price::ZERO);
        let order = self.market.reprice(&self.floor.products[place], price);
        if let Settled::Done(receipt) = self.settle(&order).await? {
            self.write_down(&[place], &receipt);
        }
        Ok(())
    }

    /// Places the order until its outcome is known.
    async fn settle(&mut self, order: &Order) -> Result<Settled, MarketError> {
        let started = Instant::now();
        loop {
            let error = match order.place().await {
                Ok(receipt) => return Ok(Settled::Done(receipt)),
                Err(error) => error,
            };
            match &error {
                MarketError::SoldOut { .. } => {
                    self.log.sold_out += 1;
                    return Ok(Settled::Refused);
                }
                MarketError::Dearer { product, now, .. } => {
                    self.log.dearer += 1;
                    if let Some(place) = self.floor.products.iter().position(|known| known == product) {
                        self.seen[place] = *now;
                    }
                    return Ok(Settled::Refused);
                }
                MarketError::Changed => {
                    self.log.dearer += 1;
                    return Ok(Settled::Refused);
                }
                MarketError::Unknown(_) => self.log.unknown += 1,
                MarketError::Index(inner) if inner.is_temporary() => self.log.not_served += 1,
                _ => return Err(error),
            }
            if started.elapsed() > SETTLE_MAX {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn write_down(&mut self, places: &[usize], receipt: &Receipt) {
        for (place, line) in places.iter().zip(&receipt.lines) {
            self.seen[*place] = line.price;
            self.log.movements.push(Movement {
                id: receipt.txn,
                product: u16::try_from(*place).unwrap_or(u16::MAX),
                quantity: line.quantity,
                stock: line.stock,
            });
        }
    }

    /// Places an order again that was carried out, and looks up its transaction: both must tell the same as before.
    async fn ask_again(&mut self, order: &Order, receipt: &Receipt) -> Result<(), MarketError> {
        if let Settled::Done(again) = self.settle(order).await?
            && again != *receipt
        {
            self.log.violations.push(format!("transaction {} was answered differently: {}", receipt.txn, again.txn));
        }
        let reading = ReadOptions { consistency: Consistency::Linearizable, ..ReadOptions::default() };
        let client = self.market.client().with_reading(reading);
        match client.txn_outcome(receipt.txn).await {
            Ok(Some(known)) => {
                let same = receipt
                    .lines
                    .iter()
                    .all(|line| known.value.integer(line.product.record(), "stock") == Some(line.stock));
                if !same {
                    self.log.violations.push(format!("the receipt of {} changed", receipt.txn));
                }
                self.log.repeated += 1;
            }
            Ok(None) => self.log.violations.push(format!("the receipt of {} was forgotten", receipt.txn)),
            // A read that nobody serves says nothing about the order.
            Err(_) => {}
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
