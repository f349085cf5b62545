//! Counters of this process.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use raft_store::types::NodeId;
use tokio::time::Instant;

use crate::sys::clock::{self, millis};

/// What goes wrong with connections without an answer that could be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// All slots for connections of its kind were busy.
    Refused,
    /// It was closed to make room, or for its silence.
    Closed,
    /// A node sent what no correct node sends.
    BadFrame,
    /// The system could not hand over a connection.
    Accept,
}

/// Mishaps by name and explanation, in the order of [`Mishap`].
const MISHAPS: [(&str, &str); 4] = [
    ("connections_refused_total", "Connections refused because all places were busy."),
    ("connections_closed_total", "Connections closed to make room for others, or for being too slow."),
    ("bad_frames_total", "Connections of nodes ended by a bad frame."),
    ("accept_errors_total", "Errors while accepting connections, such as too many open files."),
];

/// What this process counted.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    contacts: Mutex<HashMap<NodeId, Instant>>,
    mishaps: [AtomicU64; MISHAPS.len()],
}

impl Metrics {
    /// Counts an answer. Each path and status has a row of its own, so the caller names paths from a fixed list.
    pub fn answered(&self, path: &'static str, status: u16) {
        *self.requests.lock().entry((path, status)).or_default() += 1;
    }

    /// Answers so far, by path and status.
    pub fn answers(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.requests.lock().clone()
    }

    /// Counts a mishap.
    pub fn mishap(&self, mishap: Mishap) {
        self.mishaps[mishap as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Mishaps so far: name, explanation and count.
    pub fn mishaps(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        MISHAPS.iter().zip(&self.mishaps).map(|((name, help), count)| (*name, *help, count.load(Ordering::Relaxed)))
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
