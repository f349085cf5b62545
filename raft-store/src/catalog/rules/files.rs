//! File records: versions, holders and refusals (F2, F5, F7).
//!
//! Invariant: every holder has a remembered version, so the hash of its bytes is known. Totals, the name index and the
//! peers' sets change together with the record.

use crate::catalog::command::Holding;
use crate::catalog::event::Event;
use crate::catalog::records::{FileRecord, Holder, PastVersion};
use crate::catalog::state::{By, Catalog};
use crate::catalog::tables::slab::Id;
use crate::types::{ContentHash, FencingToken, FileName, Version, limits};

impl FileRecord {
    /// Sets the next version: bytes, or a tombstone. The version before it becomes a remembered one.
    fn advance(&mut self, hash: Option<ContentHash>, size: Option<u64>, fencing_token: FencingToken) -> Version {
        if let Some(hash) = self.hash {
            self.past.push(PastVersion { version: self.version, hash });
        }
        self.version += 1;
        self.hash = hash;
        self.size = size;
        self.fencing_token = fencing_token;
        self.version
    }

    /// Adds or updates a holder. Returns whether it was not one before, or held another version. `touched` is the
    /// sequence number of the command that states it.
    fn hold(&mut self, peer: Id, version: Version, touched: u64) -> bool {
        match self.holder(peer) {
            Ok(index) => {
                let holder = &mut self.holders[index];
                holder.touched = touched;
                std::mem::replace(&mut holder.version, version) != version
            }
            Err(index) => {
                self.holders.insert(index, Holder { peer, version, touched });
                true
            }
        }
    }
}

impl Catalog {
    pub(in crate::catalog) fn file_id(&self, name: &FileName) -> Option<Id> {
        self.names.get(name.as_str(), &self.files)
    }

    /// A record for a name that has none. It has version 0, and the caller has to grant a lease on it at once (L6).
    pub(in crate::catalog) fn new_file(&mut self, name: &FileName) -> Id {
        self.insert_file(name, FileRecord::new(name))
    }

    pub(in crate::catalog) fn insert_file(&mut self, name: &FileName, record: FileRecord) -> Id {
        let file = self.files.insert(record);
        self.names.insert(name.as_str(), file);
        file
    }

    /// Creates a name with its first version and holder. The record is complete before it is stored: each later change
    /// would have to check whether a snapshot shares it.
    ///
    /// The caller emits the event of the version, and then that of the holder ([`Catalog::holder_added`]).
    pub(in crate::catalog) fn new_version(&mut self, peer: Id, holding: &Holding) -> (Id, Version) {
        let mut record = FileRecord::new(&holding.name);
        let version = record.advance(Some(holding.hash), holding.size, 0);
        record.hold(peer, version, self.sequence);
        let file = self.insert_file(&holding.name, record);
        self.count(file);
        (file, version)
    }

    /// Removes the record of a name that has no version and no attribute, once nobody has or wants its lease (L6, K1).
    pub(in crate::catalog) fn remove_if_vacant(&mut self, file: Id) {
        let record = &self.files[file];
        if record.version == 0 && record.contention.is_none() && record.attributes.is_empty() {
            let name = record.name.clone();
            self.names.remove(&name, file);
            self.files.remove(file);
        }
    }

    /// Sets the next version: bytes, or a tombstone if `hash` is `None`. Its earlier holders become stale (F5).
    ///
    /// The caller emits the event, because it knows who published and why.
    pub(in crate::catalog) fn set_version(
        &mut self,
        file: Id,
        hash: Option<ContentHash>,
        size: Option<u64>,
        fencing_token: FencingToken,
    ) -> Version {
        self.discount(file);
        let version = self.files[file].advance(hash, size, fencing_token);
        self.count(file);
        version
    }

    /// Forgets versions that are too old to be remembered (F2), and holdings of them, which nobody could verify.
    pub(in crate::catalog) fn forget_old_versions(&mut self, file: Id) {
        let record = &self.files[file];
        let current = record.version;
        let remembered = |version: Version| version + limits::REMEMBERED_VERSIONS as u64 > current;
        if record.past.first().is_none_or(|past| remembered(past.version)) {
            return;
        }
        let lost: Vec<Id> =
            record.holders.iter().filter(|holder| !remembered(holder.version)).map(|holder| holder.peer).collect();
        self.files[file].past.retain(|past| remembered(past.version));
        for peer in lost {
            self.drop_holder(file, peer, false);
        }
    }

    /// Adds a name to the totals.
    pub(in crate::catalog) fn count(&mut self, file: Id) {
        let record = &self.files[file];
        self.totals.records += u64::from(record.is_record());
        if record.hash.is_some() {
            self.totals.files += 1;
            self.totals.bytes += u128::from(record.size.unwrap_or(0));
        } else if record.is_tombstone() {
            self.totals.tombstones += 1;
        }
    }

    /// Takes a name out of the totals, before a change.
    pub(in crate::catalog) fn discount(&mut self, file: Id) {
        let record = &self.files[file];
        self.totals.records -= u64::from(record.is_record());
        if record.hash.is_some() {
            self.totals.files -= 1;
            self.totals.bytes -= u128::from(record.size.unwrap_or(0));
        } else if record.is_tombstone() {
            self.totals.tombstones -= 1;
        }
    }

    /// Records the size that a holder of the current bytes states, if none is known.
    pub(in crate::catalog) fn fill_size(&mut self, file: Id, size: Option<u64>) {
        if size.is_some() && self.files[file].size.is_none() {
            self.discount(file);
            self.files[file].size = size;
            self.count(file);
        }
    }

    /// Records that a peer has the bytes of a remembered version. A peer that refused the file wants it again (F7).
    pub(in crate::catalog) fn add_holder(&mut self, file: Id, by: By<'_>, version: Version) {
        let (peer, touched) = (by.slot, self.sequence);
        let record = &mut self.files[file];
        let changed = record.hold(peer, version, touched);
        if let Ok(index) = record.refused.binary_search(&peer) {
            record.refused.remove(index);
            self.sets_mut(peer).refused.remove(&file);
        }
        self.holder_added(file, by, version, changed);
    }

    /// What follows once a record has a holder. `changed`: the holder is new, or held another version.
    pub(in crate::catalog) fn holder_added(&mut self, file: Id, by: By<'_>, version: Version, changed: bool) {
        let peer = by.slot;
        self.state_holding(peer, file, changed);
        if changed {
            let record = &self.files[file];
            let (file, current) = (record.file_name(), version == record.version);
            self.emit(Event::HolderAdded { file, peer: by.id.clone(), version, current });
        }
        if self.peers[peer].listing.as_ref().is_some_and(|listing| !listing.deleted.is_empty()) {
            let name = self.files[file].name.clone();
            if let Some(listing) = &mut self.peers[peer].listing {
                listing.deleted.remove(&*name);
            }
        }
    }

    /// Forgets a holding, if there is one. `refused`: the peer deleted it and must not be given it again unasked (F7).
    pub(in crate::catalog) fn drop_holder(&mut self, file: Id, peer: Id, refused: bool) {
        let record = &mut self.files[file];
        let Ok(index) = record.holder(peer) else { return };
        record.holders.remove(index);
        self.remove_holding(peer, file);
        if refused {
            self.refuse(file, peer);
        }
        let event = Event::HolderDropped { file: self.files[file].file_name(), peer: self.peer_id(peer), refused };
        self.emit(event);
    }

    fn refuse(&mut self, file: Id, peer: Id) {
        let record = &mut self.files[file];
        if let Err(index) = record.refused.binary_search(&peer) {
            record.refused.insert(index, peer);
            self.sets_mut(peer).refused.insert(file);
        }
    }

    /// Forgets a refusal together with its peer. The event says that the peer neither holds nor refuses the file.
    pub(in crate::catalog) fn forget_refusal(&mut self, file: Id, peer: Id) {
        let record = &mut self.files[file];
        if let Ok(index) = record.refused.binary_search(&peer) {
            record.refused.remove(index);
        }
        self.sets_mut(peer).refused.remove(&file);
        let event =
            Event::HolderDropped { file: self.files[file].file_name(), peer: self.peer_id(peer), refused: false };
        self.emit(event);
    }
}
