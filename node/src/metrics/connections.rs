//! Mishaps: what goes wrong with connections without an answer that could be counted.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use super::encode::counter;

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

/// Each mishap with the name and the help of its counter.
const MISHAPS: [(Mishap, &str, &str); 4] = [
    (Mishap::Refused, "connections_refused", "Connections refused because all places were busy"),
    (Mishap::Closed, "connections_closed", "Connections closed to make room for others, or for being too slow"),
    (Mishap::BadFrame, "bad_frames", "Connections of nodes ended by a bad frame"),
    (Mishap::Accept, "accept_errors", "Errors while accepting connections, such as too many open files"),
];

/// How often each of them happened.
#[derive(Debug, Default)]
pub(super) struct Mishaps([AtomicU64; MISHAPS.len()]);

impl Mishaps {
    pub(super) fn count(&self, mishap: Mishap) {
        self.0[mishap as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for (mishap, name, help) in MISHAPS {
            counter(registry, name, help, self.0[mishap as usize].load(Ordering::Relaxed));
        }
    }
}
