//! What this process counts, and what all its metrics are called.
//!
//! ```text
//! requests.rs connections.rs transfers.rs    counted by this node: values and definitions together
//! storage.rs                                 counted by `raft-store`: definitions
//! encode.rs                                  values as the library wants them
//! http/metrics.rs                            what the node knows of itself when it is asked, and `GET /metrics`
//! ```
//!
//! A metric is defined in one line, where it is put into a [`Registry`]: name, help, unit and type. The library writes
//! the text. It adds the prefix `raftshare_`, a unit after the name, and `_total` after the name of a counter.
//!
//! Invariant: counting takes no lock and allocates nothing. What a scrape reads is copied for it.

mod connections;
pub mod encode;
mod requests;
mod storage;
mod transfers;

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use raft_store::types::NodeId;
use tokio::time::Instant;

pub use self::connections::Mishap;
use self::connections::Mishaps;
pub use self::requests::Requests;
pub use self::storage::register as register_storage;
use self::transfers::Transfers;
use crate::sys::clock::{self, millis};

/// What this process counted.
#[derive(Default)]
pub struct Metrics {
    /// Answers to HTTP requests.
    pub requests: Requests,
    /// Snapshots that nodes sent each other.
    pub transfers: Transfers,
    mishaps: Mishaps,
    contacts: Mutex<HashMap<NodeId, Instant>>,
}

impl Metrics {
    /// Puts all of it into a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.requests.register(registry);
        self.transfers.register(registry);
        self.mishaps.register(registry);
    }

    /// Counts a mishap.
    pub fn mishap(&self, mishap: Mishap) {
        self.mishaps.count(mishap);
    }

    /// Notes that a member answered.
    pub fn contact(&self, id: NodeId) {
        self.contacts.lock().insert(id, clock::now());
    }

    /// Milliseconds since a member answered; 0 for this node itself.
    pub fn last_contact_ms(&self, id: NodeId, own: NodeId) -> Option<u64> {
        if id == own {
            return Some(0);
        }
        self.contacts.lock().get(&id).map(|heard| millis(heard.elapsed()))
    }
}
