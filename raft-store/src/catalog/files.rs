//! File records: versions, holders, refusals, deletion (F2, F5, F7).
//!
//! Invariant: every holder's version is a remembered one, so its hash is known; totals, the name index and the peers'
//! sets change together with the record they describe.

use super::reply::{Event, LeaseEnd, Rejection, Reply};
use super::slab::Id;
use super::state::{Catalog, FileRecord, Holder, PastVersion};
use crate::types::{ContentHash, FencingToken, FileName, LeaseToken, PeerId, Version, limits};

/// Holders for which a record takes no more memory than they need: most files have one or two.
const FEW_HOLDERS: usize = 4;

impl Catalog {
    pub(super) fn file_id(&self, name: &FileName) -> Option<Id> {
        self.names.get(name.as_str(), &self.files)
    }

    /// A record for a name that has none; it has version 0 and needs a lease or a version at once (L6).
    pub(super) fn new_file(&mut self, name: &FileName) -> Id {
        let record = FileRecord::new(name);
        let file = self.files.insert(record);
        self.names.insert(name.as_str(), file);
        file
    }

    /// Drops what is left of a name that nobody has created and nobody has a lease on any more (L6).
    pub(super) fn remove_if_vacant(&mut self, file: Id) {
        let record = &self.files[file];
        if record.version == 0 && record.contention.is_none() {
            let name = record.name.clone();
            self.names.remove(&name, file);
            self.files.remove(file);
        }
    }

    /// Sets the next version: bytes, or a tombstone. Earlier holders become stale by it (F5).
    ///
    /// `hash` is `None` for a tombstone. The caller emits the event, so that it can name who and why.
    pub(super) fn set_version(
        &mut self,
        file: Id,
        hash: Option<ContentHash>,
        size: Option<u64>,
        fencing_token: FencingToken,
    ) -> Version {
        self.discount(file);
        let record = &mut self.files[file];
        if let Some(hash) = record.hash {
            record.past.push(PastVersion { version: record.version, hash });
        }
        record.version += 1;
        record.hash = hash;
        record.size = size;
        record.fencing_token = fencing_token;
        let version = record.version;
        self.count(file);
        version
    }

    /// Forgets the versions that fell out of the memory (F2), and with them holdings nobody could verify any more.
    pub(super) fn forget_old_versions(&mut self, file: Id) {
        let record = &mut self.files[file];
        let remembered = |version: Version| version + limits::REMEMBERED_VERSIONS as u64 > record.version;
        if record.past.first().is_none_or(|past| remembered(past.version)) {
            return;
        }
        let lost: Vec<Id> =
            record.holders.iter().filter(|holder| !remembered(holder.version)).map(|holder| holder.peer).collect();
        let current = record.version;
        record.past.retain(|past| past.version + limits::REMEMBERED_VERSIONS as u64 > current);
        for peer in lost {
            self.drop_holder(file, peer, false);
        }
    }

    fn count(&mut self, file: Id) {
        let record = &self.files[file];
        if record.hash.is_some() {
            self.totals.files += 1;
            self.totals.bytes += u128::from(record.size.unwrap_or(0));
        } else if record.is_tombstone() {
            self.totals.tombstones += 1;
        }
    }

    fn discount(&mut self, file: Id) {
        let record = &self.files[file];
        if record.hash.is_some() {
            self.totals.files -= 1;
            self.totals.bytes -= u128::from(record.size.unwrap_or(0));
        } else if record.is_tombstone() {
            self.totals.tombstones -= 1;
        }
    }

    /// Takes the size a holder of the current bytes states, if nobody has stated one.
    pub(super) fn fill_size(&mut self, file: Id, size: Option<u64>) {
        if size.is_some() && self.files[file].size.is_none() {
            self.discount(file);
            self.files[file].size = size;
            self.count(file);
        }
    }

    /// Records that a peer has the bytes of a remembered version; it thereby asks for the file again (F7).
    pub(super) fn add_holder(&mut self, file: Id, peer: Id, version: Version) {
        let touched = self.sequence;
        let record = &mut self.files[file];
        let current = version == record.version;
        let changed = match record.holder(peer) {
            Ok(index) => {
                let holder = &mut record.holders[index];
                holder.touched = touched;
                std::mem::replace(&mut holder.version, version) != version
            }
            Err(index) => {
                if record.holders.len() < FEW_HOLDERS {
                    record.holders.reserve_exact(1);
                }
                record.holders.insert(index, Holder { peer, version, touched });
                true
            }
        };
        if let Ok(index) = record.refused.binary_search(&peer) {
            record.refused.remove(index);
            self.sets_mut(peer).refused.remove(&file);
        }
        self.state_holding(peer, file, changed);
        if changed {
            let event =
                Event::HolderAdded { file: self.files[file].file_name(), peer: self.peer_id(peer), version, current };
            self.emit(event);
        }
        if self.peers[peer].listing.as_ref().is_some_and(|listing| !listing.deleted.is_empty()) {
            let name = self.files[file].name.clone();
            if let Some(listing) = &mut self.peers[peer].listing {
                listing.deleted.remove(&*name);
            }
        }
    }

    /// Forgets a holding, if there is one. `refused`: the peer deleted it and must not get it back unasked (F7).
    pub(super) fn drop_holder(&mut self, file: Id, peer: Id, refused: bool) {
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

    /// Forgets a refusal with its peer. The event tells observers that the peer neither holds nor refuses the file.
    pub(super) fn forget_refusal(&mut self, file: Id, peer: Id) {
        let record = &mut self.files[file];
        if let Ok(index) = record.refused.binary_search(&peer) {
            record.refused.remove(index);
        }
        self.sets_mut(peer).refused.remove(&file);
        let event =
            Event::HolderDropped { file: self.files[file].file_name(), peer: self.peer_id(peer), refused: false };
        self.emit(event);
    }

    /// `Delete` (F7).
    pub(super) fn delete(
        &mut self,
        peer: &PeerId,
        name: &FileName,
        everywhere: bool,
        token: Option<&LeaseToken>,
    ) -> Result<Reply, Rejection> {
        let peer = self.known(peer)?;
        let not_found = || Rejection::NotFound { file: name.clone() };
        let file = self.settled(name).ok_or_else(not_found)?;
        if everywhere {
            if self.files[file].hash.is_none() {
                return Err(not_found());
            }
            return self.delete_everywhere(file, peer, token);
        }
        let record = &self.files[file];
        let tombstone = record.is_tombstone();
        if record.holder(peer).is_err() {
            return Err(if record.hash.is_none() { not_found() } else { Rejection::NotHolder { file: name.clone() } });
        }
        // A copy of a deleted file goes because the index asked for it: no refusal of a later version.
        self.drop_holder(file, peer, !tombstone);
        if let Some(listing) = &mut self.peers[peer].listing {
            listing.deleted.insert(name.as_str().to_owned());
        }
        Ok(Reply::Done)
    }

    fn delete_everywhere(&mut self, file: Id, peer: Id, token: Option<&LeaseToken>) -> Result<Reply, Rejection> {
        let lease = self.authorize(file, peer, token)?;
        let version = self.set_version(file, None, None, lease.fencing_token);
        let event = Event::FileDeleted { file: self.files[file].file_name(), version, peer: self.peer_id(peer) };
        self.emit(event);
        self.forget_old_versions(file);
        self.end_lease(file, LeaseEnd::Published);
        self.offer_next(file);
        Ok(Reply::Done)
    }
}
