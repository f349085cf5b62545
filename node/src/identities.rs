//! Who this node is, and what every connection needs to know about the others: which process was last seen with a
//! member's directory, and where it was reached (C1, C3, C4).
//!
//! An address says where a member is reached, not who it is. A connection counts only once the hello has shown the
//! right directory.
//!
//! Invariant: nothing here waits for a disk or the network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use raft_store::raft::{LogId, Member};
use raft_store::storage::{KnownStore, StartId, StartsHandle};
use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::config::MemberSpec;

/// Directories whose address is kept. Beyond that all are forgotten, and the next connections fill the table again.
const ADDRESSES_MAX: usize = 256;
/// Processes of one directory whose acknowledgements are kept.
const ACKED_PROCESSES_MAX: usize = 2;
/// Callers of a node without a membership that are kept.
const CALLERS_MAX: usize = 16;

/// One side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Node id.
    pub node: NodeId,
    /// Store id; a node with another data directory is another node (C3).
    pub store: u64,
}

/// What a process acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The process: a random number of its own.
    pub boot: u64,
    /// The term of the leader that it acknowledged it to.
    pub term: u64,
    /// The last log entry.
    pub upto: LogId,
}

/// What another node said about this one when it refused a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A later start of this directory is known: this process, or its directory, is a copy (C3, C5).
    OlderCopy(String),
    /// This node is no member (C6). A suspicion, until a confirmed leader says so.
    NotMember,
}

/// Who this node is, for every hello.
pub struct Identities {
    side: Side,
    start: StartId,
    /// Where this node can be reached.
    address: String,
    cluster: RwLock<Option<u64>>,
    /// Starts of this directory and of others.
    pub starts: StartsHandle,
    /// Where the command line says that members are.
    hints: Vec<MemberSpec>,
    /// Where each directory was reached last.
    reached: Mutex<BTreeMap<u64, String>>,
    /// What the last processes of each directory acknowledged to this node as a leader, older ones first.
    acked: Mutex<BTreeMap<u64, Vec<Acked>>>,
    /// The addresses named by callers while this node knew of no member.
    callers: Mutex<BTreeSet<String>>,
    told: Mutex<Option<Told>>,
    /// Whether this node must not call members.
    silent: AtomicBool,
    news: Notify,
}

impl Identities {
    /// The identity that the data directory records, for this start of a node that is reached at `address`.
    pub fn new(
        side: Side,
        start: StartId,
        address: String,
        cluster: Option<u64>,
        starts: StartsHandle,
        hints: Vec<MemberSpec>,
    ) -> Self {
        Self {
            side,
            start,
            address,
            cluster: RwLock::new(cluster),
            starts,
            hints,
            reached: Mutex::default(),
            acked: Mutex::default(),
            callers: Mutex::default(),
            told: Mutex::default(),
            silent: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    /// Node and store id.
    pub fn side(&self) -> Side {
        self.side
    }

    /// This start of the data directory.
    pub fn start(&self) -> StartId {
        self.start
    }

    /// Where this node can be reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The cluster this node belongs to.
    pub fn cluster(&self) -> Option<u64> {
        *self.cluster.read()
    }

    /// Notes the cluster that the data directory records now.
    pub fn set_cluster(&self, cluster: u64) {
        *self.cluster.write() = Some(cluster);
    }

    /// Where the command line says that members are (C4).
    pub fn hints(&self) -> &[MemberSpec] {
        &self.hints
    }

    /// Whether this node calls no member, because it was removed or its directory is an older copy: every member would
    /// refuse the call.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Calls no member from now on, or calls them again.
    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Notes that a directory was reached at an address.
    pub fn note_reached(&self, store: u64, address: &str) {
        let mut reached = self.reached.lock();
        if reached.get(&store).is_some_and(|known| known == address) {
            return;
        }
        if reached.len() >= ADDRESSES_MAX {
            reached.clear();
        }
        reached.insert(store, address.to_owned());
    }

    /// Notes that a process acknowledged log entries for its directory.
    pub fn note_acked(&self, store: u64, acked: Acked) {
        let mut all = self.acked.lock();
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&store) {
            all.clear();
        }
        let known = all.entry(store).or_default();
        match known.last_mut() {
            Some(last) if (last.boot, last.term) == (acked.boot, acked.term) => last.upto = last.upto.max(acked.upto),
            _ => {
                if known.len() == ACKED_PROCESSES_MAX {
                    known.remove(0);
                }
                known.push(acked);
            }
        }
    }

    /// What the last processes of a directory acknowledged to this node as the leader of a term, older ones first.
    pub fn acked(&self, store: u64, term: u64) -> Vec<Acked> {
        let acked = self.acked.lock();
        acked.get(&store).into_iter().flatten().filter(|acked| acked.term == term).copied().collect()
    }

    /// The address of a member: where it was reached last, else what the membership says.
    pub fn address_of(&self, member: &Member) -> String {
        self.reached_at(member).unwrap_or_else(|| member.address.clone())
    }

    fn reached_at(&self, member: &Member) -> Option<String> {
        self.reached.lock().get(&member.store_id).cloned()
    }

    /// Addresses to try for a member, most likely first: where it was reached last, what it named at its last start,
    /// what the membership says, and what the command line says.
    pub fn addresses_of(&self, id: NodeId, member: &Member) -> Vec<String> {
        let reached = self.reached_at(member);
        let told = self.starts.read(|starts| {
            let known = starts.store(member.store_id).filter(|known| known.start.is_some());
            known.map(|known| known.address.clone())
        });
        let hinted = self.hints.iter().filter(|hint| hint.id == id).map(|hint| hint.address.clone());
        let mut addresses: Vec<String> = Vec::new();
        for address in reached.into_iter().chain(told).chain([member.address.clone()]).chain(hinted) {
            if !address.is_empty() && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Notes the address of a caller while this node knows of no member: it is asked later who the members are.
    pub fn note_caller(&self, address: &str) {
        let mut callers = self.callers.lock();
        if callers.len() < CALLERS_MAX {
            callers.insert(address.to_owned());
        }
    }

    /// Those callers.
    pub fn callers(&self) -> Vec<String> {
        self.callers.lock().iter().cloned().collect()
    }

    /// Notes what another node said about this one.
    pub fn tell(&self, told: Told) {
        let mut current = self.told.lock();
        // The more serious statement stays.
        if !matches!(*current, Some(Told::OlderCopy(_))) {
            *current = Some(told);
        }
        drop(current);
        self.news.notify_one();
    }

    /// Waits for the next statement of another node about this one.
    pub async fn told(&self) -> Told {
        loop {
            let heard = self.news.notified();
            if let Some(told) = self.told.lock().take() {
                return told;
            }
            heard.await;
        }
    }
}

/// Why a process that started as `own` must not act for its directory when `recorded` is known; `None` if it may.
pub fn superseded(recorded: StartId, own: StartId, address: &str) -> Option<String> {
    (recorded.number >= own.number && recorded != own).then(|| {
        format!("it was started as number {}, and start number {} was seen at {address}", own.number, recorded.number)
    })
}

/// The same for a process that introduces itself.
pub fn is_superseded(known: Option<&KnownStore>, start: StartId) -> Option<String> {
    let known = known?;
    superseded(known.start?, start, &known.address)
}

#[cfg(test)]
mod tests {
    use raft_store::storage::{OpenOptions, SimDisk, Storage};

    use super::*;

    #[tokio::test]
    async fn a_member_is_looked_for_where_it_was_reached_then_where_it_said_then_where_it_was_listed() {
        let options = OpenOptions { node_id: 1, new_store_id: 7 };
        let storage = Storage::open_simulated(&SimDisk::default(), &options).expect("opens");
        let hints =
            vec![MemberSpec { id: 2, address: "hint:1".into() }, MemberSpec { id: 3, address: "other:1".into() }];
        let side = Side { node: 1, store: 7 };
        let ids = Identities::new(side, StartId::default(), "own:1".into(), None, storage.starts.clone(), hints);
        let member = Member { address: "listed:1".into(), store_id: 9 };
        assert_eq!(ids.addresses_of(2, &member), ["listed:1", "hint:1"]);
        storage.starts.update(|starts| starts.record(9, StartId::default(), 1, "told:1")).await.expect("durable");
        assert_eq!(ids.addresses_of(2, &member), ["told:1", "listed:1", "hint:1"]);
        assert_eq!(ids.address_of(&member), "listed:1", "what nobody has checked is only tried");
        ids.note_reached(9, "reached:1");
        assert_eq!(ids.addresses_of(2, &member), ["reached:1", "told:1", "listed:1", "hint:1"]);
        assert_eq!(ids.address_of(&member), "reached:1");
    }

    #[tokio::test]
    async fn the_graver_word_stays() {
        let options = OpenOptions { node_id: 1, new_store_id: 7 };
        let storage = Storage::open_simulated(&SimDisk::default(), &options).expect("opens");
        let side = Side { node: 1, store: 7 };
        let ids = Identities::new(side, StartId::default(), "own:1".into(), None, storage.starts, Vec::new());
        ids.tell(Told::OlderCopy("why".into()));
        ids.tell(Told::NotMember);
        assert_eq!(ids.told().await, Told::OlderCopy("why".into()));
    }
}
