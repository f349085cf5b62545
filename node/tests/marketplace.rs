//! The marketplace example on real nodes: its trades keep their promises (K2–K5), also while leaders are killed and
//! paused.
//!
//! It compiles the example's own market and stress test. `docs/guide/marketplace.md` has the command for longer runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../client/examples/marketplace/market/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the example also has a menu")]
mod market;
#[path = "../../client/examples/marketplace/stress/mod.rs"]
#[allow(dead_code, clippy::disallowed_methods, reason = "the example has more reports, and measures")]
mod stress;
mod support;

use std::time::Duration;

use client::cluster::{IndexClient, Options};
use market::{Filter, Item, Market, MarketError, Offer, Price, Product};
use raft_store::types::PeerId;
use stress::{Incidents, Plan};
use support::Cluster;

/// How long orders are placed while nodes fail.
const TRADING: Duration = Duration::from_secs(6);
/// How long the cluster is left alone between two failures, and a failed leader is away.
const FAILURE_EVERY: Duration = Duration::from_millis(600);

fn client(cluster: &Cluster) -> IndexClient {
    IndexClient::new(Options::new(cluster.nodes.iter().map(|node| node.url("")))).unwrap()
}

async fn enter(cluster: &Cluster, trader: &str) -> Market {
    Market::enter(&client(cluster), PeerId::parse(trader).unwrap()).await.unwrap()
}

fn product(text: &str) -> Product {
    text.parse().unwrap()
}

fn price(minor: i64) -> Price {
    Price::from_minor(minor).unwrap()
}

async fn offer(market: &Market, text: &str, minor: i64, stock: i64) {
    let offer = Offer { product: product(text), price: price(minor), stock, unit: "kg".into() };
    market.offer(&offer).place().await.unwrap();
}

fn item(text: &str, quantity: u64, minor: i64) -> Item {
    Item { product: product(text), quantity, seen: price(minor) }
}

async fn stock(market: &Market, text: &str) -> i64 {
    market.look(&product(text)).await.unwrap().stock
}

/// Kills the leader and pauses the leader in turn, until the buyers have finished.
async fn fail(cluster: &mut Cluster, incidents: Incidents) {
    let mut kills = true;
    while incidents.pause(FAILURE_EVERY).await {
        let leader = cluster.leader().await;
        if kills {
            incidents.note("killed the leader");
            cluster.nodes[leader].kill();
            incidents.pause(FAILURE_EVERY).await;
            cluster.nodes[leader].start();
        } else {
            incidents.note("paused the leader");
            cluster.nodes[leader].signal(support::Signal::STOP);
            incidents.pause(FAILURE_EVERY).await;
            cluster.nodes[leader].signal(support::Signal::CONT);
        }
        kills = !kills;
    }
    cluster.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_purchases_are_carried_out_once_while_leaders_are_killed_and_paused() {
    let mut cluster = Cluster::start(3).await;
    let client = client(&cluster);
    let (buyers, products) = (40, 10);
    let plan = Plan { buyers, products, duration: TRADING, least: 2_000, stock: 100_000, seed: 7, keep: true };
    let report = stress::run(&client, &plan, |incidents| fail(&mut cluster, incidents)).await.unwrap();
    println!("{}", report.text());
    assert!(report.passed(), "\n{}", report.text());
    assert!(report.purchases >= 2_000, "\n{}", report.text());
    assert!(report.faults.len() >= 3, "\n{}", report.text());
    assert!(report.receipts_repeated > 0 && report.sold_out > 0, "\n{}", report.text());
    cluster.equal_digests().await;
}

#[tokio::test]
async fn a_purchase_takes_no_more_than_there_is_and_no_higher_price_than_was_seen() {
    let cluster = Cluster::start(1).await;
    let market = enter(&cluster, "ann").await;
    offer(&market, "north/harbour/salmon", 1_890, 5).await;

    let receipt = market.buy(None, &[item("north/harbour/salmon", 3, 1_900)]).unwrap().place().await.unwrap();
    let line = &receipt.lines[0];
    assert_eq!((line.quantity, line.price, line.stock), (-3, price(1_890), 2));

    let too_many = market.buy(None, &[item("north/harbour/salmon", 3, 1_890)]).unwrap().place().await;
    assert!(matches!(too_many, Err(MarketError::SoldOut { wanted: 3, left: 2, .. })), "{too_many:?}");

    market.reprice(&product("north/harbour/salmon"), price(1_990)).place().await.unwrap();
    let dearer = market.buy(None, &[item("north/harbour/salmon", 1, 1_890)]).unwrap().place().await;
    assert!(matches!(dearer, Err(MarketError::Dearer { now, .. }) if now == price(1_990)), "{dearer:?}");

    let missing = market.buy(None, &[item("north/harbour/cod", 1, 1)]).unwrap().place().await;
    assert!(matches!(missing, Err(MarketError::NoSuchProduct { .. })), "{missing:?}");
    assert_eq!(stock(&market, "north/harbour/salmon").await, 2);
}

#[tokio::test]
async fn a_basket_and_a_transfer_happen_whole_or_not_at_all() {
    let cluster = Cluster::start(1).await;
    let market = enter(&cluster, "ann").await;
    offer(&market, "north/bakery/bread", 420, 10).await;
    offer(&market, "south/bakery/bread", 400, 1).await;

    let basket = [item("north/bakery/bread", 2, 420), item("south/bakery/bread", 2, 400)];
    let refused = market.buy(None, &basket).unwrap().place().await;
    assert!(matches!(refused, Err(MarketError::SoldOut { .. })), "{refused:?}");
    assert_eq!(stock(&market, "north/bakery/bread").await, 10);

    let (north, south) = (product("north/bakery/bread"), product("south/bakery/bread"));
    let too_many = market.transfer(None, (&north, &south), 11).unwrap().place().await;
    assert!(matches!(too_many, Err(MarketError::SoldOut { left: 10, .. })), "{too_many:?}");
    let nowhere = market.transfer(None, (&north, &product("west/bakery/bread")), 1).unwrap().place().await;
    assert!(matches!(nowhere, Err(MarketError::NoSuchProduct { .. })), "{nowhere:?}");
    market.transfer(None, (&north, &south), 4).unwrap().place().await.unwrap();
    assert_eq!((stock(&market, "north/bakery/bread").await, stock(&market, "south/bakery/bread").await), (6, 5));

    let receipt = market.buy(None, &basket).unwrap().place().await.unwrap();
    assert_eq!((receipt.lines.len(), receipt.total()), (2, price(1_640)));
    assert_eq!((stock(&market, "north/bakery/bread").await, stock(&market, "south/bakery/bread").await), (4, 3));
}

#[tokio::test]
async fn an_order_that_is_repeated_under_its_number_is_carried_out_once_and_its_receipt_stays() {
    let cluster = Cluster::start(1).await;
    let market = enter(&cluster, "ann").await;
    offer(&market, "south/orchard/apple", 250, 10).await;
    let order = || market.buy(Some("order-1"), &[item("south/orchard/apple", 2, 250)]).unwrap();
    let first = order().place().await.unwrap();
    // Another process of the same buyer knows nothing but the number.
    let again = enter(&cluster, "ann").await.buy(Some("order-1"), &[item("south/orchard/apple", 2, 250)]).unwrap();
    assert_eq!(again.place().await.unwrap(), first);
    assert_eq!(stock(&market, "south/orchard/apple").await, 8);

    market.restock(Some("delivery-1"), &product("south/orchard/apple"), 5).unwrap().place().await.unwrap();
    market.reprice(&product("south/orchard/apple"), price(999)).place().await.unwrap();
    let other = enter(&cluster, "bob").await;
    assert_eq!(other.receipt(first.txn).await.unwrap(), first, "what happened later does not change a receipt");

    let reused = market.buy(Some("order-1"), &[item("south/orchard/apple", 3, 999)]).unwrap().place().await;
    assert!(matches!(reused, Err(MarketError::OrderTaken { .. })), "{reused:?}");
    assert_eq!(stock(&market, "south/orchard/apple").await, 13);
}

#[tokio::test]
async fn offers_are_found_in_all_areas_and_in_one_by_words_price_and_stock() {
    let cluster = Cluster::start(1).await;
    let market = enter(&cluster, "ann").await;
    for (text, minor, stock) in [
        ("north/harbour/salmon", 1_890, 40),
        ("south/harbour/salmon", 1_950, 0),
        ("south/orchard/apple", 250, 500),
        ("southern/orchard/apple", 240, 5),
    ] {
        offer(&market, text, minor, stock).await;
    }
    let found = async |filter: Filter| {
        let offers = market.search(&filter).await.unwrap();
        let mut places: Vec<_> = offers.iter().map(|offer| offer.product.to_string()).collect();
        places.sort();
        places
    };
    let salmon = Filter { words: "salmon".into(), ..Filter::default() };
    assert_eq!(found(salmon.clone()).await, ["north/harbour/salmon", "south/harbour/salmon"]);
    assert_eq!(found(Filter { stock: Some(1), ..salmon.clone() }).await, ["north/harbour/salmon"]);
    let south = Filter { area: Some("south".into()), ..Filter::default() };
    assert_eq!(found(south.clone()).await, ["south/harbour/salmon", "south/orchard/apple"]);
    assert_eq!(found(Filter { shop: Some("orchard".into()), ..south }).await, ["south/orchard/apple"]);
    let cheap = Filter { price_from: Some(price(241)), price_to: Some(price(1_890)), ..Filter::default() };
    assert_eq!(found(cheap).await, ["north/harbour/salmon", "south/orchard/apple"]);
}

#[tokio::test]
async fn nodes_are_compared_at_one_log_index() {
    let cluster = Cluster::start(3).await;
    let market = enter(&cluster, "ann").await;
    offer(&market, "west/mill/flour", 240, 300).await;
    let compared = market.compare().await.unwrap();
    assert!(compared.agree(), "{compared:?}");
    assert!(compared.nodes.iter().all(|node| node.products == 1 && node.units == 300), "{compared:?}");
    let indexes: std::collections::BTreeSet<_> = compared.nodes.iter().map(|node| node.applied).collect();
    assert_eq!(indexes.len(), 1, "{compared:?}");
}
