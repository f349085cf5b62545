//! What a connection may ask for, and a short-lived record of senders that other nodes were asked about.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::identities::Side;
use crate::sys::clock;

/// Senders whose check is remembered.
const CHECKED_MAX: usize = 64;
/// How long an outcome is remembered.
const CHECKED_FOR: Duration = Duration::from_secs(1);
/// Checks under way at once: each asks all members.
const CHECKS_MAX: usize = 4;

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRequests {
    /// Everything: the other side is this member.
    Member(Side),
    /// Only what founding and joining a cluster need, and what nodes ask about members.
    Outsider,
}

/// What came of asking others about a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched {
    /// A node with a newer membership confirms it.
    Member,
    /// A node whose membership is at least as new as this node's does not know it.
    Stranger {
        /// The log index that set that membership.
        as_of: u64,
    },
    /// Nobody could say.
    Unknown,
}

/// Senders that this node did not know, and what came of asking about them.
#[derive(Debug)]
pub struct Admissions {
    checked: Mutex<BTreeMap<(u64, u64), (Vouched, Instant)>>,
    checks: Semaphore,
}

impl Default for Admissions {
    fn default() -> Self {
        Self { checked: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) }
    }
}

impl Admissions {
    /// What came of asking about a sender a moment ago.
    pub fn recall(&self, side: Side) -> Option<Vouched> {
        let checked = self.checked.lock();
        let (outcome, at) = checked.get(&(side.node, side.store))?;
        (at.elapsed() < CHECKED_FOR).then_some(*outcome)
    }

    /// Remembers what came of asking about a sender.
    pub fn remember(&self, side: Side, outcome: Vouched) {
        let mut checked = self.checked.lock();
        if checked.len() >= CHECKED_MAX {
            checked.retain(|_, (_, at)| at.elapsed() < CHECKED_FOR);
        }
        if checked.len() < CHECKED_MAX {
            checked.insert((side.node, side.store), (outcome, clock::now()));
        }
    }

    /// Permission to ask about a sender; `None` while too many are being asked about.
    pub fn begin(&self) -> Option<SemaphorePermit<'_>> {
        self.checks.try_acquire().ok()
    }
}
