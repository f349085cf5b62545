//! Examines the cluster from outside after every step of simulated time.
//!
//! Invariants it holds the cluster to
//! * No two nodes, in any of their lives, apply different entries at one log index.
//! * Nodes that applied the same index have the same state, byte for byte (D1).
//! * A term has one leader at most.
//! * No peer expires sooner after its registration than its time to live on the fastest clock (P3).
//! * No node ends by itself unless its disk was made to fail, and none panics.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use raft_store::catalog::Event;
use raft_store::storage::FeedItem;
use raft_store::types::PeerId;
use sha2::{Digest, Sha256};

use super::journal::Journal;
use super::machine::{Live, Machine};
use super::plan::PEER_TTL;

/// Every this many indexes the whole state is compared; a digest costs far more than a step.
const COMPARED_EVERY: u64 = 4;

/// The fastest clock runs at 200 %; what is seen of an entry comes a little after it was applied.
const EXPIRES_AFTER_STEPS: u64 = PEER_TTL.as_millis() as u64 / 2 - 100;

/// What was seen of one node at the last step. Its debug form, the name included, goes into the trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) term: u64,
    pub(super) leads: bool,
    pub(super) applied: u64,
    pub(super) snapshot: u64,
    pub(super) purged: u64,
    pub(super) membership: u64,
    pub(super) installs: u64,
}

/// Everything seen so far.
#[derive(Default)]
pub(super) struct Watch {
    entries: BTreeMap<u64, (u64, Arc<Vec<Event>>, u64)>,
    digests: BTreeMap<u64, (String, u64)>,
    leaders: BTreeMap<u64, u64>,
    /// Step at which each serving peer's newest registration was first seen applied.
    registered: BTreeMap<PeerId, u64>,
    pub(super) observed: BTreeMap<u64, Glance>,
    pub(super) violations: Vec<String>,
    pub(super) checks: u64,
    trace: Sha256,
}

impl Watch {
    /// Examines every running machine; `step` goes into the trace.
    pub(super) fn observe(&mut self, step: u64, machines: &[Machine], journal: &Journal) {
        for machine in machines {
            let mut inside = machine.inside.lock();
            let Some(live) = inside.live.as_mut() else { continue };
            let before = self.observed.get(&machine.id).copied().unwrap_or_default();
            let mut now = seen_now(live, before);
            self.follow(step, machine.id, live, &mut now, journal);
            if now.leads && now != before {
                let first = *self.leaders.entry(now.term).or_insert(machine.id);
                self.expect(first == machine.id, || {
                    format!("nodes {first} and {} both lead term {}", machine.id, now.term)
                });
            }
            if now.leads && !before.leads {
                journal.count("leaders");
            }
            if now.applied != before.applied && now.applied.is_multiple_of(COMPARED_EVERY) {
                self.compare(machine.id, live, now.applied);
            }
            if now.purged > before.purged {
                journal.count("purges");
            }
            if now.snapshot > before.snapshot {
                journal.count("snapshots");
            }
            if now != before {
                self.trace.update(format!("{step} {} {now:?};", machine.id));
                self.observed.insert(machine.id, now);
            }
        }
    }

    /// The leader with the newest term, among those seen.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = self.observed.iter().filter(|(_, seen_now)| seen_now.leads);
        leads.max_by_key(|(_, seen_now)| seen_now.term).map(|(id, _)| *id)
    }

    /// Forgets what a machine showed before it crashed.
    pub(super) fn crashed(&mut self, id: u64) {
        self.observed.remove(&id);
    }

    /// Adds to the trace.
    pub(super) fn note(&mut self, what: &str) {
        self.trace.update(what);
    }

    /// A hash over everything that was seen.
    pub(super) fn trace(&self) -> String {
        let hash = self.trace.clone().finalize();
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Counts one fact; a false one is a violation.
    pub(super) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds && self.violations.len() < 20 {
            self.violations.push(what());
        }
    }

    /// Samples often enough to see each entry; a step is a millisecond.
    fn follow_peers(&mut self, step: u64, events: &[Event]) {
        for event in events {
            match event {
                Event::PeerRegistered { peer, live: true, .. } => drop(self.registered.insert(peer.clone(), step)),
                Event::PeerExpired { peer } => {
                    let silent = self.registered.remove(peer).map_or(u64::MAX, |registered| step - registered);
                    self.expect(silent >= EXPIRES_AFTER_STEPS, || {
                        format!("peer {peer} expired {silent} ms after it had registered")
                    });
                }
                _ => {}
            }
        }
    }

    fn follow(&mut self, step: u64, id: u64, live: &mut Live, now: &mut Glance, journal: &Journal) {
        for item in live.feed.drain(usize::MAX) {
            match item {
                FeedItem::Applied(entry) => {
                    if !self.entries.contains_key(&entry.log_index) {
                        self.follow_peers(step, &entry.events);
                    }
                    let known = self.entries.entry(entry.log_index);
                    let (term, events, first) = known.or_insert((entry.term, Arc::clone(&entry.events), id)).clone();
                    self.expect(term == entry.term && *events == *entry.events, || {
                        format!(
                            "nodes {first} and {id} applied different entries at {} (terms {term} and {})",
                            entry.log_index, entry.term
                        )
                    });
                }
                FeedItem::Replaced { .. } => {
                    now.installs += 1;
                    journal.count("snapshots installed");
                }
                FeedItem::Lagged { missed } => self.expect(false, || format!("the watch missed {missed} entries")),
                FeedItem::Closed => break,
            }
        }
    }

    fn compare(&mut self, id: u64, live: &Live, applied: u64) {
        let digest = live.state.read().catalog().digest().to_string();
        let (known, first) = self.digests.entry(applied).or_insert_with(|| (digest.clone(), id)).clone();
        self.expect(known == digest, || format!("nodes {first} and {id} differ after entry {applied}"));
    }
}

fn seen_now(live: &Live, before: Glance) -> Glance {
    let Some(node) = live.node.upgrade() else { return before };
    let metrics = node.raft.metrics();
    let metrics = metrics.borrow_watched();
    let index = |log_id: &Option<raft_store::raft::LogId>| log_id.as_ref().map_or(0, |log_id| log_id.index);
    Glance {
        term: metrics.current_term,
        leads: metrics.state == ServerState::Leader,
        applied: live.state.applied_index().unwrap_or(0),
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
        membership: index(metrics.membership_config.log_id()),
        installs: before.installs,
    }
}
