//! Who was heard from recently: the leader's soft state about peers and waiters (P3, P4, L5).
//!
//! Nothing here is replicated, and nothing here decides. The leader *proposes* what `expired_peers` and
//! `silent_waiters` return, and the catalog ignores a proposal that no longer fits.
//!
//! Invariants:
//! * Silence is measured in *counted time*: the time between two ticks that both confirmed a majority
//!   and lie at most [`Config::gap_ms`] apart. A paused, partitioned or starved leader therefore never
//!   blames a peer for its own absence.
//! * After a start and after every longer gap there is a grace period in which nobody expires.
//! * A sign of life costs one lookup. The cost of any other call grows with what it returns and what became due, not
//!   with the number of peers: peers and waiters are ordered by due time, and a peer that is heard from is due once per
//!   TTL.

use std::collections::{BTreeMap, HashMap};

use raft_store::catalog::{Catalog, Event};
use raft_store::types::{FileName, Incarnation, PeerId, limits};

/// The times of this module, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Silence after which a peer expires (P3).
    pub peer_ttl_ms: u64,
    /// Length of the grace period (P4).
    pub grace_ms: u64,
    /// Silence after which a waiter loses its position (L5).
    pub waiter_silence_ms: u64,
    /// The longest stretch between two confirmed ticks that still counts; a longer one starts a grace period (P4).
    pub gap_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { peer_ttl_ms: 45_000, grace_ms: 15_000, waiter_silence_ms: limits::CLAIM_WINDOW_MS, gap_ms: 5_000 }
    }
}

/// Items one call of `expired_peers` or `silent_waiters` returns; the rest follows in the next call.
pub const REPORT_ITEMS_MAX: usize = limits::CLEANUP_ITEMS_MAX;

/// Peers that one call of `expired_peers` examines: a millisecond's work, in which nothing can be applied.
pub const LOOKS_MAX: usize = 2 * 1_024;

/// Counted time until an item that was reported, but is still here, is reported again: its proposal may have been lost.
pub const REPORT_AGAIN_MS: u64 = 5_000;

/// What is known of one peer.
#[derive(Debug)]
struct Seen {
    incarnation: Incarnation,
    /// Counted time of its newest sign of life, or of the start.
    last_sign: u64,
    /// Where it stands in `Liveness::peers_due`: not later than its silence can be long enough.
    due: Due,
    /// The grace period in which it was last heard from; see `Liveness::grace_number`.
    heard_in: u64,
}

/// What is known of one waiter.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    due: Due,
}

/// A moment of counted time, and a serial number that makes it unique.
type Due = (u64, u64);

/// A position in a wait queue: for which name, and whose.
type WaiterKey = (FileName, PeerId);

/// The leader's view of who is alive, created anew for every leadership term.
#[derive(Debug)]
pub struct Liveness {
    config: Config,
    /// Counted time since the start of the leadership, in milliseconds.
    counted_ms: u64,
    /// The newest tick, on the leader's monotonic clock.
    last_tick_ms: u64,
    /// Whether the newest tick confirmed the majority.
    confirmed: bool,
    /// The newest tick that confirmed the majority, on the leader's monotonic clock.
    last_confirmed_ms: u64,
    /// Counted time at which the grace period ends.
    grace_until: u64,
    /// Grows with every grace period, so that starting one costs the same for any number of peers.
    grace_number: u64,
    /// Peers not heard from since the grace period began; it ends early at zero (P4).
    unheard: usize,
    /// Counted time before which no waiter is reported: everyone gets a full window after a start or gap (L5).
    waiters_from: u64,
    peers: HashMap<PeerId, Seen>,
    peers_due: BTreeMap<Due, PeerId>,
    waiters: HashMap<WaiterKey, Waiter>,
    waiters_due: BTreeMap<Due, WaiterKey>,
    serial: u64,
}

impl Liveness {
    /// Starts a leadership at `now_ms` with the live peers: each gets a full TTL, and the grace period begins (P4).
    ///
    /// Waiters of lines that exist already are added with [`Liveness::add_waiter`].
    pub fn new(config: Config, peers: impl IntoIterator<Item = (PeerId, Incarnation)>, now_ms: u64) -> Self {
        let mut liveness = Self {
            config,
            counted_ms: 0,
            last_tick_ms: now_ms,
            confirmed: true, // an election is a confirmation
            last_confirmed_ms: now_ms,
            grace_until: 0,
            grace_number: 0,
            unheard: 0,
            waiters_from: 0,
            peers: HashMap::new(),
            peers_due: BTreeMap::new(),
            waiters: HashMap::new(),
            waiters_due: BTreeMap::new(),
            serial: 0,
        };
        for (peer, incarnation) in peers {
            liveness.insert_peer(peer, incarnation, 0);
        }
        liveness.start_grace();
        liveness
    }

    /// [`Liveness::new`] with the live peers and every waiter of the catalog.
    pub fn from_catalog(config: Config, catalog: &Catalog, now_ms: u64) -> Self {
        let live = catalog.peers().filter(|peer| peer.live).map(|peer| (peer.id, peer.incarnation));
        let mut liveness = Self::new(config, live, now_ms);
        for lease in catalog.leases() {
            for waiter in lease.line {
                liveness.add_waiter(lease.file.clone(), waiter.peer, waiter.ticket, now_ms);
            }
        }
        liveness
    }

    /// The leader's timer ran; `majority_confirmed` tells whether a majority confirmed the
    /// leadership since the last tick.
    ///
    /// Call it about once a second, and before the questions below.
    pub fn tick(&mut self, now_ms: u64, majority_confirmed: bool) {
        let step = now_ms.saturating_sub(self.last_tick_ms);
        if majority_confirmed {
            if now_ms.saturating_sub(self.last_confirmed_ms) > self.config.gap_ms {
                self.start_grace();
            } else if self.confirmed {
                self.counted_ms += step;
            }
            self.last_confirmed_ms = now_ms;
        }
        self.confirmed = majority_confirmed;
        self.last_tick_ms = self.last_tick_ms.max(now_ms);
    }

    /// An accepted request named this peer (P3). Unknown peers are ignored: only a registration adds one.
    pub fn sign_of_life(&mut self, peer: &PeerId, now_ms: u64) {
        let now = self.counted_at(now_ms);
        let Some(seen) = self.peers.get_mut(peer) else { return };
        if seen.heard_in != self.grace_number {
            seen.heard_in = self.grace_number;
            self.unheard -= 1;
        }
        // Its due time is corrected when it becomes due: signs of life are far more frequent.
        seen.last_sign = now;
    }

    /// A waiter asked for its position, or its hanging request is still open (L5). Unknown waiters are ignored: only
    /// joining the wait queue adds one.
    pub fn waiter_polled(&mut self, file: &FileName, peer: &PeerId, ticket: u64, now_ms: u64) {
        let due = (self.counted_at(now_ms) + self.config.waiter_silence_ms, self.next_serial());
        let Some(waiter) = self.waiters.get_mut(&(file.clone(), peer.clone())) else { return };
        if ticket != waiter.ticket {
            return; // a late poll of a place that was given up
        }
        let old = std::mem::replace(&mut waiter.due, due);
        if let Some(key) = self.waiters_due.remove(&old) {
            self.waiters_due.insert(due, key);
        }
    }

    /// Adds a waiter that is in line; it gets a full window (L5).
    pub fn add_waiter(&mut self, file: FileName, peer: PeerId, ticket: u64, now_ms: u64) {
        let due = (self.counted_at(now_ms) + self.config.waiter_silence_ms, self.next_serial());
        self.remove_waiter(&file, &peer);
        self.waiters_due.insert(due, (file.clone(), peer.clone()));
        self.waiters.insert((file, peer), Waiter { ticket, due });
    }

    /// Follows the catalog: registrations are signs of life; expired peers and waiters that left are dropped.
    pub fn observe(&mut self, event: &Event, now_ms: u64) {
        match event {
            Event::PeerRegistered { peer, incarnation, live: true } => {
                let now = self.counted_at(now_ms);
                match self.peers.get_mut(peer) {
                    Some(seen) => seen.incarnation = *incarnation,
                    None => self.insert_peer(peer.clone(), *incarnation, now),
                }
                self.sign_of_life(peer, now_ms);
            }
            Event::PeerRegistered { peer, live: false, .. }
            | Event::PeerExpired { peer }
            | Event::PeerForgotten { peer } => self.remove_peer(peer),
            Event::LineJoined { file, peer, ticket } => {
                self.add_waiter(file.clone(), peer.clone(), *ticket, now_ms);
            }
            // From the offer on, the claim window of the replicated state counts, not silence (L5).
            Event::LineLeft { file, peer, .. }
            | Event::LeaseOffered { file, peer, .. }
            | Event::LeaseGranted { file, peer, .. } => self.remove_waiter(file, peer),
            Event::PeerListed { .. }
            | Event::FilePublished { .. }
            | Event::FileDeleted { .. }
            | Event::HolderAdded { .. }
            | Event::HolderDropped { .. }
            | Event::LeaseRenewed { .. }
            | Event::LeaseEnded { .. }
            | Event::AttributesChanged { .. }
            | Event::ReplicasSet { .. }
            | Event::MembersChanged { .. } => {}
        }
    }

    /// Peers silent for the TTL, with the incarnation that was silent; to be proposed as `expire peer` (P3).
    ///
    /// Nobody expires in the grace period, nor while the newest tick did not confirm the majority.
    pub fn expired_peers(&mut self) -> Vec<(PeerId, Incarnation)> {
        let mut expired = Vec::new();
        if !self.confirmed || self.grace_remaining_ms() > 0 {
            return expired;
        }
        for _ in 0..LOOKS_MAX {
            let Some(first) = self.peers_due.first_entry() else { break };
            if first.key().0 > self.counted_ms || expired.len() == REPORT_ITEMS_MAX {
                break;
            }
            let peer = first.remove();
            let serial = self.next_serial();
            if let Some(seen) = self.peers.get_mut(&peer) {
                let silent_at = seen.last_sign + self.config.peer_ttl_ms;
                if silent_at <= self.counted_ms {
                    expired.push((peer.clone(), seen.incarnation));
                    seen.due = (self.counted_ms + REPORT_AGAIN_MS, serial);
                } else {
                    seen.due = (silent_at, serial);
                }
                self.peers_due.insert(seen.due, peer);
            }
        }
        expired
    }

    /// Waiters silent for their window, with the ticket that was silent; to be proposed as `drop waiter` (L5).
    pub fn silent_waiters(&mut self) -> Vec<(FileName, PeerId, u64)> {
        let mut silent = Vec::new();
        if !self.confirmed || self.counted_ms < self.waiters_from {
            return silent;
        }
        while silent.len() < REPORT_ITEMS_MAX {
            let Some(first) = self.waiters_due.first_entry() else { break };
            if first.key().0 > self.counted_ms {
                break;
            }
            let key = first.remove();
            let due = (self.counted_ms + REPORT_AGAIN_MS, self.next_serial());
            if let Some(waiter) = self.waiters.get_mut(&key) {
                waiter.due = due;
                silent.push((key.0.clone(), key.1.clone(), waiter.ticket));
                self.waiters_due.insert(due, key);
            }
        }
        silent
    }

    /// What is left of the grace period in milliseconds of counted time; 0 when it is over (P4).
    pub fn grace_remaining_ms(&self) -> u64 {
        if self.unheard == 0 { 0 } else { self.grace_until.saturating_sub(self.counted_ms) }
    }

    /// Counted time since the peer's newest sign of life, or since the start of the leadership;
    /// `None` if it is not live.
    pub fn silent_for_ms(&self, peer: &PeerId, now_ms: u64) -> Option<u64> {
        let seen = self.peers.get(peer).filter(|seen| seen.heard_in > 0)?;
        Some(self.counted_at(now_ms).saturating_sub(seen.last_sign))
    }

    /// Counted time at a moment after the newest tick. If that stretch turns out not to count, a sign of life is dated
    /// too late, by at most the gap. So a peer may expire late, never early.
    fn counted_at(&self, now_ms: u64) -> u64 {
        self.counted_ms + now_ms.saturating_sub(self.last_tick_ms).min(self.config.gap_ms)
    }

    fn start_grace(&mut self) {
        self.grace_number += 1;
        self.grace_until = self.counted_ms + self.config.grace_ms;
        self.unheard = self.peers.len();
        self.waiters_from = self.counted_ms + self.config.waiter_silence_ms;
    }

    fn insert_peer(&mut self, peer: PeerId, incarnation: Incarnation, last_sign: u64) {
        self.remove_peer(&peer);
        let due = (last_sign + self.config.peer_ttl_ms, self.next_serial());
        // A newcomer is not among those the grace period waits for.
        let seen = Seen { incarnation, last_sign, due, heard_in: self.grace_number };
        self.peers_due.insert(due, peer.clone());
        self.peers.insert(peer, seen);
    }

    fn remove_peer(&mut self, peer: &PeerId) {
        if let Some(seen) = self.peers.remove(peer) {
            self.peers_due.remove(&seen.due);
            if seen.heard_in != self.grace_number {
                self.unheard -= 1;
            }
        }
    }

    fn remove_waiter(&mut self, file: &FileName, peer: &PeerId) {
        if let Some(waiter) = self.waiters.remove(&(file.clone(), peer.clone())) {
            self.waiters_due.remove(&waiter.due);
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

#[cfg(test)]
mod tests;
