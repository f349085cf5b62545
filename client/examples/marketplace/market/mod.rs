//! A marketplace on the replicated index. It uses nothing but the client's public library.
//!
//! ```text
//! market/AREA/SHOP/PRODUCT     a record: price (minor units), stock, unit
//! receipts/TRADER/ORDER        a record: what an order moved
//!
//! product.rs money.rs          what is traded             search.rs   finds offers
//! order.rs                     trades, one transaction each           receipt.rs  what became of them
//! check.rs                     what each node knows
//! ```
//!
//! Invariant: every trade is one transaction of the index. So a stock never goes below zero, a basket or a transfer
//! happens whole or not at all, and an order that is repeated under its key is carried out once.

mod check;
mod error;
mod money;
mod order;
mod product;
mod receipt;
mod search;

use client::cluster::{Error, IndexClient};
use client::contract::RegisterRequest;
use raft_store::types::PeerId;

pub use check::{NodeState, Nodes};
pub use error::MarketError;
pub use money::Price;
pub use order::{BASKET_MAX, Item, Order};
pub use product::{MARKET, Offer, Product};
pub use receipt::{Receipt, ReceiptLine};
pub use search::Filter;

/// The attributes of a product's record.
mod attribute {
    /// Price of one unit in minor units.
    pub(super) const PRICE: &str = "price";
    /// Units in the shop.
    pub(super) const STOCK: &str = "stock";
    /// What is counted.
    pub(super) const UNIT: &str = "unit";
}

/// The market as one trader sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Market {
    client: IndexClient,
    trader: PeerId,
}

impl Market {
    /// Enters the market: registers the trader with the index, as a peer that serves no files.
    pub async fn enter(client: &IndexClient, trader: PeerId) -> Result<Self, Error> {
        client.register(&RegisterRequest::not_serving(trader.clone())).await?;
        Ok(Self { client: client.clone(), trader })
    }

    /// The index.
    pub fn client(&self) -> &IndexClient {
        &self.client
    }

    /// Who trades.
    pub fn trader(&self) -> &PeerId {
        &self.trader
    }
}
