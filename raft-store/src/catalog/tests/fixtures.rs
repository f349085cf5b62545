//! Commands that tests of several modules use.
//!
//! Invariant: every value is valid. A test states what matters to it itself.

use crate::catalog::{EntryId, Holding, Listing, Op, Register};
use crate::types::{ContentHash, FileName, PeerId};

/// An entry of the first term.
pub(crate) fn entry(index: u64) -> EntryId {
    EntryId { term: 1, index }
}

/// A peer with this id.
pub(crate) fn peer(id: &str) -> PeerId {
    PeerId::parse(id).expect("a valid id")
}

/// The registration of a serving peer.
pub(crate) fn register(id: &str, listing: Listing) -> Op {
    let address = format!("http://{id}");
    Op::Register(Register { peer: peer(id), address, zone: None, capacity_bytes: None, serving: true, listing })
}

/// A whole listing of `count` files. `padding` gives the length of each name, without its number.
pub(crate) fn files(count: u64, padding: impl Fn(u64) -> usize) -> Listing {
    let file = |n: u64| Holding {
        name: FileName::parse(format!("{}-{n}", "x".repeat(padding(n)))).expect("a valid name"),
        version: None,
        size: Some(n),
        hash: ContentHash([n as u8; 32]),
    };
    Listing::Whole((0..count).map(file).collect())
}
