//! Queries: plain values copied out of the catalog.
//!
//! Invariant: to a reader, what is past its deadline has ended, even before its clean-up. All results have an order.

use std::ops::Range;

use super::view::{Counts, FileView, HolderView, LeaseView, NumberedName, PeerView, Place, WaiterView};
use crate::catalog::event::FileNumber;
use crate::catalog::records::{FileRecord, Holder, PeerRecord};
use crate::catalog::reply::TxnOutcome;
use crate::catalog::state::Catalog;
use crate::catalog::tables::slab::Id;
use crate::types::{Attributes, FileName, LogTime, PeerId, TxnId, Version};

impl Catalog {
    /// The log clock, in milliseconds (T1).
    pub fn now(&self) -> LogTime {
        self.clock
    }

    /// A file, its tombstone, a record, or a name that only has a lease; `None` if the catalog does not know the name.
    pub fn file(&self, name: &FileName) -> Option<FileView> {
        Some(self.file_view(&self.files[self.file_id(name)?], |_| true))
    }

    /// A file with its number and only its live holders: what the planner needs. Costs only what is live.
    pub fn file_with_live_holders(&self, name: &FileName) -> Option<(FileNumber, FileView)> {
        let is_live = |holder: &Holder| self.peers[holder.peer].is_live();
        let file = self.file_id(name)?;
        Some((file, self.file_view(&self.files[file], is_live)))
    }

    /// The current version of a name, if it exists.
    pub fn current_version(&self, name: &FileName) -> Option<Version> {
        let record = &self.files[self.file_id(name)?];
        record.hash.is_some().then_some(record.version)
    }

    /// All files whose current version exists, in name order. Sorts all names on every call.
    pub fn files(&self) -> impl Iterator<Item = FileView> {
        let mut records: Vec<&FileRecord> = self.existing().map(|(_, record)| record).collect();
        records.sort_unstable_by_key(|record| &record.name);
        records.into_iter().map(|record| self.file_view(record, |_| true))
    }

    /// The names that exist (K1), by number, within a range of numbers.
    pub fn names_numbered(&self, range: Range<FileNumber>) -> impl Iterator<Item = NumberedName> {
        let within = self.files.iter_from(range.start).take_while(move |(number, _)| *number < range.end);
        within.filter(|(_, record)| record.exists()).map(|(number, record)| NumberedName {
            number,
            name: record.file_name(),
            has_version: record.hash.is_some(),
            has_attributes: !record.attributes.is_empty(),
        })
    }

    /// What became of a transaction; `None` unless it had a key and its answer is still remembered (K5).
    pub fn txn(&self, txn: TxnId) -> Option<TxnOutcome> {
        self.answers.txn(txn)
    }

    /// One more than the greatest number that a file has.
    pub fn file_numbers_end(&self) -> FileNumber {
        self.files.end()
    }

    /// Up to `limit` names of files whose current version exists, from position `from` in the catalog's internal order;
    /// and the position to continue at, `None` at the end. A walk in steps misses no file that exists throughout it.
    pub fn file_names_from(&self, from: u32, limit: usize) -> (Vec<FileName>, Option<u32>) {
        let mut next = None;
        let step = self.files.iter_from(from).filter(|(_, record)| record.hash.is_some()).take(limit);
        let names: Vec<FileName> = step.map(|(id, record)| (next = Some(id + 1), record.file_name()).1).collect();
        let next = next.filter(|_| names.len() == limit);
        (names, next)
    }

    fn existing(&self) -> impl Iterator<Item = (Id, &FileRecord)> {
        self.files.iter().filter(|(_, record)| record.hash.is_some())
    }

    /// Whether a search finds a name: a file that exists and of which a live peer holds a remembered version (P5), or,
    /// if `records` are wanted, a record (K1). `accepts` then decides by its attributes.
    pub fn is_found(&self, name: &FileName, records: bool, accepts: impl FnOnce(&Attributes) -> bool) -> bool {
        let Some(file) = self.file_id(name) else { return false };
        let record = &self.files[file];
        let is_found = match record.hash {
            Some(_) => record.holders.iter().any(|holder| self.peers[holder.peer].is_live()),
            None => records && record.is_record(),
        };
        is_found && accepts(&record.attributes)
    }

    fn file_view(&self, record: &FileRecord, is_shown: impl Fn(&Holder) -> bool) -> FileView {
        let shown = record.holders.iter().filter(|holder| is_shown(holder));
        let mut holders: Vec<HolderView> = shown.filter_map(|holder| self.holder_view(record, holder)).collect();
        holders.sort_unstable_by(|a, b| a.peer.cmp(&b.peer));
        let mut refused: Vec<PeerId> = record.refused.iter().map(|peer| self.peer_id(*peer)).collect();
        refused.sort_unstable();
        FileView {
            name: record.file_name(),
            version: record.version,
            size: record.size,
            hash: record.hash,
            deleted: record.is_tombstone(),
            fencing_token: record.fencing_token,
            holders,
            refused,
            replicas_desired: self.settings.replicas,
            attributes: record.attributes.clone(),
        }
    }

    fn holder_view(&self, record: &FileRecord, holder: &Holder) -> Option<HolderView> {
        let peer = &self.peers[holder.peer];
        Some(HolderView {
            peer: peer.id.clone(),
            address: peer.address.clone(),
            version: holder.version,
            hash: record.hash_of(holder.version)?,
            current: holder.version == record.version,
            live: peer.is_live(),
        })
    }

    /// The lease or pending grant on a name; `None` if it has neither now.
    pub fn lease(&self, file: &FileName) -> Option<LeaseView> {
        self.lease_view(self.file_id(file)?)
    }

    /// Every live lease and pending grant, in name order.
    pub fn leases<'a>(&'a self) -> Box<dyn Iterator<Item = LeaseView> + 'a> {
        let mut files: Vec<Id> = self.contended.iter().copied().collect();
        files.sort_unstable_by_key(|file| &self.files[*file].name);
        Box::new(files.into_iter().filter_map(|file| self.lease_view(file)))
    }

    fn lease_view(&self, file: Id) -> Option<LeaseView> {
        let record = &self.files[file];
        let contention = record.contention.as_ref()?;
        let (peer, fencing_token, deadline) = match (&contention.lease, &contention.offer) {
            (Some(lease), _) => (lease.peer, Some(lease.fencing_token), lease.deadline),
            (None, Some(offer)) => (offer.peer, None, offer.deadline),
            (None, None) => return None,
        };
        if self.is_over(deadline) {
            return None;
        }
        let waiter = |waiter: &crate::catalog::records::Waiter| WaiterView {
            peer: self.peer_id(waiter.peer),
            ticket: waiter.ticket,
        };
        Some(LeaseView {
            file: record.file_name(),
            holder: self.peer_id(peer),
            fencing_token,
            deadline: deadline.at,
            line: contention.queue.iter().map(waiter).collect(),
        })
    }

    /// A peer's place in the wait queue of a file; `None` if it does not wait.
    pub fn place(&self, file: &FileName, peer: &PeerId) -> Option<Place> {
        let (file, peer) = (self.file_id(file)?, self.peer_slot(peer)?);
        let ticket = *self.sets(peer).places.get(&file)?;
        match self.files[file].offer().filter(|offer| offer.peer == peer) {
            Some(offer) if self.is_over(offer.deadline) => None,
            Some(offer) => Some(Place::Offered { ticket, deadline: offer.deadline.at }),
            None => Some(Place::Waiting { ticket, position: self.position(file, peer)? }),
        }
    }

    /// A peer, live or not.
    pub fn peer(&self, id: &PeerId) -> Option<PeerView> {
        Some(self.peer_view(self.peer_slot(id)?))
    }

    /// All peers in id order, live or not. Sorts all ids on every call.
    pub fn peers<'a>(&'a self) -> Box<dyn Iterator<Item = PeerView> + 'a> {
        let mut peers: Vec<(Id, &PeerRecord)> = self.peers.iter().collect();
        peers.sort_unstable_by_key(|(_, record)| &record.id);
        Box::new(peers.into_iter().map(|(peer, _)| self.peer_view(peer)))
    }

    /// What a peer holds, in name order.
    pub fn holdings<'a>(&'a self, peer: &PeerId) -> Box<dyn Iterator<Item = (FileName, HolderView)> + 'a> {
        let Some(peer) = self.peer_slot(peer) else { return Box::new(std::iter::empty()) };
        let mut records: Vec<&FileRecord> = self.sets(peer).holdings().map(|file| &self.files[file]).collect();
        records.sort_unstable_by_key(|record| &record.name);
        Box::new(records.into_iter().filter_map(move |record| {
            let holder = &record.holders[record.holder(peer).ok()?];
            Some((record.file_name(), self.holder_view(record, holder)?))
        }))
    }

    /// Up to `limit` of a peer's holdings, each with whether it is current, from position `from` in the catalog's
    /// internal order; and the position to continue at, `None` at the end. A walk in steps misses nothing that is held
    /// throughout it.
    pub fn holdings_from(&self, peer: &PeerId, from: u32, limit: usize) -> (Vec<(FileName, bool)>, Option<u32>) {
        let Some(peer) = self.peer_slot(peer) else { return (Vec::new(), None) };
        let files = self.sets(peer).holdings_from(from, limit);
        let next = files.last().filter(|_| files.len() == limit).map(|last| last + 1);
        let holding = |file: Id| {
            let record = &self.files[file];
            let is_current = record.holder(peer).is_ok_and(|index| record.holders[index].version == record.version);
            (record.file_name(), is_current)
        };
        (files.into_iter().map(holding).collect(), next)
    }

    /// Whether log time has to advance: there is a lease or a pending grant (T3), live or waiting for its clean-up.
    pub fn needs_ticks(&self) -> bool {
        !self.contended.is_empty()
    }

    /// The default number of live copies (M1).
    pub fn replicas_default(&self) -> u32 {
        self.settings.replicas
    }

    /// Totals. Every change keeps them up to date, so reading them costs nothing.
    pub fn counts(&self) -> Counts {
        let totals = &self.totals;
        Counts {
            peers: self.peers.len() as u64,
            peers_live: totals.peers_live,
            files: totals.files,
            records: totals.records,
            bytes: u64::try_from(totals.bytes).unwrap_or(u64::MAX),
            tombstones: totals.tombstones,
            leases: totals.leases,
            waiting: totals.waiting,
            answers: self.answers.total,
        }
    }

    fn peer_view(&self, peer: Id) -> PeerView {
        let record = &self.peers[peer];
        PeerView {
            id: record.id.clone(),
            address: record.address.to_string(),
            zone: record.zone.clone(),
            capacity_bytes: record.capacity_bytes,
            incarnation: record.incarnation,
            live: record.is_live(),
            holdings: self.sets(peer).holdings_count() as u64,
        }
    }
}
