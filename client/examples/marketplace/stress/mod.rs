//! Many buyers at once, while nodes fail if the caller makes them: is every order carried out exactly once?
//!
//! ```text
//! buyer.rs     one buyer: places orders, and places them again until their outcome is known
//! ledger.rs    what all orders together must have done to the stocks, and what they did
//! report.rs    figures for people and programs
//! ```
//!
//! Invariant: a run passes only if every order was settled. An order whose outcome is not known proves nothing.

mod buyer;
mod ledger;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::cluster::{Change, Consistency, IndexClient, ReadOptions};
use futures::StreamExt;
use parking_lot::Mutex;
use raft_store::types::PeerId;
use tokio::sync::Notify;

use crate::market::{Market, MarketError, Offer, Price, Product};
use buyer::Buyer;
use ledger::judge;
pub use report::{Fault, Report};

/// Buyers that enter the market at a time.
const ENTERING: usize = 32;
/// Every n-th product is scarce, so that buyers really compete for the last pieces.
const SCARCE_EACH: usize = 5;
/// Stock of a scarce product.
const SCARCE_STOCK: i64 = 50;
/// Price of every product at first, in minor units.
const PRICE: i64 = 250;
/// Products whose records one transaction removes; it takes 64 operations at most.
const REMOVED_AT_ONCE: usize = 64;
/// Most products: the ledger numbers them with 16 bits.
pub const PRODUCTS_MAX: u16 = 1_000;

/// The most by which orders are placed for longer than planned.
const EXTENSION_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether that is still necessary.
const EXTENSION_STEP: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Buyers that order at the same time.
    pub buyers: u16,
    /// Products that they buy; each stands in two shops in turn.
    pub products: u16,
    /// How long new orders are placed.
    pub duration: Duration,
    /// On a slow machine orders are placed for longer, until there are so many purchases.
    pub least: u64,
    /// Stock of a product that is not scarce.
    pub stock: i64,
    /// Decides what the buyers do.
    pub seed: u64,
    /// Whether the products of the run stay in the market.
    pub keep: bool,
}

/// What the buyers of a run share.
struct Floor {
    products: Vec<Product>,
    started: Instant,
    over: AtomicBool,
    purchases: AtomicU64,
}

/// What the caller's faults note, and how they learn that the run is over.
#[derive(Clone)]
pub struct Incidents {
    floor: Arc<Floor>,
    ended: Arc<Notify>,
    noted: Arc<Mutex<Vec<Fault>>>,
}

impl Incidents {
    /// Notes a fault that begins now.
    pub fn note(&self, what: impl Into<String>) {
        self.noted.lock().push(Fault { what: what.into(), at: self.floor.started.elapsed(), gap: None });
    }

    /// Waits. Returns false once the run is over, at once.
    pub async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.ended.notified() => self.ended.notify_one(), // for the next call
        }
        !self.floor.over.load(Ordering::Acquire)
    }
}

/// Runs the plan, with faults that happen meanwhile, and judges the outcome.
pub async fn run<F: Future<Output = ()>>(
    client: &IndexClient,
    plan: &Plan,
    faults: impl FnOnce(Incidents) -> F,
) -> Result<Report, MarketError> {
    let run = format!("stress-{:08x}", rand::random::<u32>());
    let products = set_up(client, plan, &run).await?;
    let markets = enter(client, plan, &run).await?;
    let clerk = markets[0].clone();
    let floor = Arc::new(Floor {
        products,
        started: Instant::now(),
        over: AtomicBool::new(false),
        purchases: AtomicU64::new(0),
    });
    let ended = Arc::new(Notify::new());
    let incidents = Incidents { floor: Arc::clone(&floor), ended: Arc::clone(&ended), noted: Arc::default() };
    let buyers: Vec<_> = (0..)
        .zip(markets)
        .map(|(number, market)| tokio::spawn(Buyer::new(number, market, &floor, plan.seed).work()))
        .collect();
    let trading = async {
        tokio::time::sleep(plan.duration).await;
        let last = Instant::now() + EXTENSION_MAX;
        while floor.purchases.load(Ordering::Relaxed) < plan.least && Instant::now() < last {
            tokio::time::sleep(EXTENSION_STEP).await;
        }
        floor.over.store(true, Ordering::Release);
        ended.notify_one();
        let logs = futures::future::join_all(buyers).await;
        (logs, floor.started.elapsed())
    };
    let ((logs, took), ()) = tokio::join!(trading, faults(incidents.clone()));
    let logs =
        logs.into_iter().map(|log| log.map_err(|error| MarketError::BadOrder(format!("a buyer failed: {error}"))));
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let faults = std::mem::take(&mut *incidents.noted.lock());
    let stocks = stocks(&clerk, &floor.products).await?;
    let initial: Vec<i64> = (0..floor.products.len()).map(|place| initial_stock(plan, place)).collect();
    let movements = logs.iter().flat_map(|log| log.movements.iter().copied());
    let verdict = judge(&initial, movements.collect(), &stocks);
    let nodes = clerk.compare().await?;
    let report = Report::of(plan, took, &logs, faults, verdict, nodes);
    if !plan.keep {
        clear(&clerk, &floor.products).await?;
    }
    Ok(report)
}

fn initial_stock(plan: &Plan, place: usize) -> i64 {
    if place % SCARCE_EACH == SCARCE_EACH - 1 { SCARCE_STOCK } else { plan.stock }
}

/// Puts the products on offer.
async fn set_up(client: &IndexClient, plan: &Plan, run: &str) -> Result<Vec<Product>, MarketError> {
    let owner = Market::enter(client, trader(run, "owner")?).await?;
    let mut products = Vec::new();
    for place in 0..usize::from(plan.products.clamp(1, PRODUCTS_MAX)) {
        // The same product stands in two shops, so that stock can move between them.
        let text = format!("{run}/shop-{}/item-{:03}", place % 2 + 1, place / 2);
        let product: Product = text.parse().map_err(|_| MarketError::BadOrder(text))?;
        let offer = Offer {
            product: product.clone(),
            price: Price::from_minor(PRICE).unwrap_or(Price::ZERO),
            stock: initial_stock(plan, place),
            unit: "piece".to_owned(),
        };
        owner.offer(&offer).place().await?;
        products.push(product);
    }
    Ok(products)
}

fn trader(run: &str, name: &str) -> Result<PeerId, MarketError> {
    PeerId::parse(format!("{run}-{name}")).map_err(|error| MarketError::BadOrder(error.to_string()))
}

/// One trader for each buyer.
async fn enter(client: &IndexClient, plan: &Plan, run: &str) -> Result<Vec<Market>, MarketError> {
    let entering = (0..plan.buyers.max(1)).map(|number| async move {
        Market::enter(client, trader(run, &format!("buyer-{number}"))?).await.map_err(MarketError::from)
    });
    let entered: Vec<_> = futures::stream::iter(entering).buffered(ENTERING).collect().await;
    entered.into_iter().collect()
}

/// The stocks at the end, confirmed by a majority.
async fn stocks(clerk: &Market, products: &[Product]) -> Result<Vec<i64>, MarketError> {
    let reading = ReadOptions { consistency: Consistency::Linearizable, ..ReadOptions::default() };
    let client = clerk.client().with_reading(reading).with_deadline(buyer::SETTLE_MAX);
    let clerk = Market::enter(&client, clerk.trader().clone()).await?;
    let mut stocks = Vec::new();
    for product in products {
        stocks.push(clerk.look(product).await?.stock);
    }
    Ok(stocks)
}

/// Takes the products of the run out of the market again.
async fn clear(clerk: &Market, products: &[Product]) -> Result<(), MarketError> {
    for products in products.chunks(REMOVED_AT_ONCE) {
        let txn = clerk.client().txn(clerk.trader());
        let txn = products.iter().fold(txn, |txn, product| txn.then(Change::delete(product.record())));
        txn.send().await.map_err(client::cluster::Error::from)?;
    }
    Ok(())
}
