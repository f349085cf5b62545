//! What each node of the index knows of the market, and whether all know the same.
//!
//! Invariant: states are compared only if every node gave its answer at the same log index. Otherwise a node that is
//! merely behind would look wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::cluster::{Consistency, IndexClient, ReadOptions};
use client::contract::ClusterNode;
use serde::Serialize;

use super::search::all_offers;
use super::{Market, MarketError, Offer};

/// How often the nodes are asked for one log index before the comparison is given up.
const ATTEMPTS: usize = 40;
/// Pause between two attempts: time for the slowest node to follow.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one node may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What one node says of the market.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// Its address.
    pub address: String,
    /// Its number.
    pub node: u64,
    /// Leader, follower or learner, as it says itself; `None` if it does not answer.
    pub role: Option<String>,
    /// The version of its program.
    pub version: Option<String>,
    /// The log index of its state: the version of the market that it has.
    pub applied: Option<u64>,
    /// Its offers.
    pub products: usize,
    /// Units in all shops.
    pub units: i64,
    #[serde(skip)]
    offers: Vec<Offer>,
}

/// The nodes of the index, compared.
#[derive(Debug, Clone, Serialize)]
pub struct Nodes {
    /// Each node.
    pub nodes: Vec<NodeState>,
    /// Where the nodes that answer differ from the first of them.
    pub differences: Vec<String>,
}

impl Nodes {
    /// Whether at least two nodes were compared, and all that answer have the same state.
    pub fn agree(&self) -> bool {
        let answered = self.nodes.iter().filter(|node| node.applied.is_some()).count();
        answered >= 2 && self.differences.is_empty()
    }
}

impl Market {
    /// Asks each node by itself for its state. The states may be of different log indexes.
    pub async fn nodes(&self) -> Result<Vec<NodeState>, MarketError> {
        self.ask_nodes(None).await
    }

    /// Compares the states of all nodes at one log index.
    pub async fn compare(&self) -> Result<Nodes, MarketError> {
        let mut index = self.client().last_index();
        for _ in 0..ATTEMPTS {
            let nodes = self.ask_nodes(Some(index)).await?;
            let applied = || nodes.iter().filter_map(|node| node.applied);
            let newest = applied().max();
            if newest.is_some() && applied().all(|applied| Some(applied) == newest) {
                return Ok(Nodes { differences: differences(&nodes), nodes });
            }
            index = newest.unwrap_or(index);
            tokio::time::sleep(PAUSE).await;
        }
        Err(MarketError::Busy)
    }

    async fn ask_nodes(&self, index: Option<u64>) -> Result<Vec<NodeState>, MarketError> {
        let members = self.client().cluster().await?.value.nodes;
        let asked = members.iter().map(|member| self.ask_node(member, index));
        Ok(futures::future::join_all(asked).await)
    }

    async fn ask_node(&self, member: &ClusterNode, index: Option<u64>) -> NodeState {
        let mut state = NodeState {
            address: member.address.clone(),
            node: member.id,
            role: None,
            version: None,
            applied: None,
            products: 0,
            units: 0,
            offers: Vec::new(),
        };
        let reading = ReadOptions { consistency: Consistency::Stale, min_index: index, ..ReadOptions::default() };
        let Ok(client) = self.client().only(&member.address) else { return state };
        let client = client.with_deadline(ANSWER_MAX).with_reading(reading);
        let Ok((offers, first, last)) = all_offers(&client).await else { return state };
        let Some((role, version)) = own_words(&client, member.id).await else { return state };
        (state.role, state.version) = (Some(role), version);
        (state.products, state.units) = (offers.len(), offers.iter().map(|offer| offer.stock).sum());
        // Pages of different indexes are not one state.
        state.applied = (first == last).then_some(last);
        state.offers = offers;
        state
    }
}

/// What a node says of itself: its role, and the version of its program.
async fn own_words(client: &IndexClient, id: u64) -> Option<(String, Option<String>)> {
    let cluster = client.cluster().await.ok()?;
    let version = cluster.value.nodes.into_iter().find(|node| node.id == id).and_then(|node| node.version);
    Some((cluster.freshness.role, version))
}

fn differences(nodes: &[NodeState]) -> Vec<String> {
    let mut answered = nodes.iter().filter(|node| node.applied.is_some());
    let Some(first) = answered.next() else { return Vec::new() };
    let by_product = |node: &NodeState| -> BTreeMap<String, Offer> {
        node.offers.iter().map(|offer| (offer.product.to_string(), offer.clone())).collect()
    };
    let expected = by_product(first);
    let mut found = Vec::new();
    for node in answered {
        let offers = by_product(node);
        let products: BTreeSet<&String> = expected.keys().chain(offers.keys()).collect();
        let differing = products.into_iter().filter(|product| expected.get(*product) != offers.get(*product));
        found.extend(differing.map(|product| format!("{product}: node {} and node {}", first.node, node.node)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Price;

    fn node(number: u64, applied: Option<u64>, stock: i64) -> NodeState {
        let offer = Offer {
            product: "north/harbour/salmon".parse().expect("a product"),
            price: Price::ZERO,
            stock,
            unit: "kg".into(),
        };
        NodeState {
            address: String::new(),
            node: number,
            role: None,
            version: None,
            applied,
            products: 1,
            units: stock,
            offers: vec![offer],
        }
    }

    #[test]
    fn a_node_with_another_stock_is_found() {
        let nodes = vec![node(1, Some(7), 5), node(2, Some(7), 5), node(3, Some(7), 6)];
        let compared = Nodes { differences: differences(&nodes), nodes };
        assert_eq!(compared.differences, ["north/harbour/salmon: node 1 and node 3"]);
        assert!(!compared.agree());
    }

    #[test]
    fn one_answer_alone_proves_nothing() {
        let nodes = vec![node(1, Some(7), 5), node(2, None, 6)];
        let compared = Nodes { differences: differences(&nodes), nodes };
        assert!(compared.differences.is_empty() && !compared.agree());
    }
}
