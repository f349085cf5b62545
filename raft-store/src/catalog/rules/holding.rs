//! What a stated holding means: a new file, a new version, a current or a stale holder, or a contradiction (F3–F6).
//!
//! Invariants: a refusal changes nothing. An announcement never sets a peer's holding back to an older version; only a
//! listing does. Single and multiple announcements without a token and the pages of a registration all go through
//! [`Catalog::hold`], so that they are decided alike.

use crate::catalog::command::Holding;
use crate::catalog::event::Event;
use crate::catalog::rejection::Rejection;
use crate::catalog::state::{By, Catalog};
use crate::catalog::tables::slab::Id;
use crate::types::{FileName, Version};

/// How a holding is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum Stated {
    /// In an announcement, which a newer one may have overtaken.
    Announced,
    /// In a listing: what the peer holds now, whatever it held before (P2).
    Listed,
}

impl Catalog {
    /// Records a holding that is stated without a lease token. Returns the version of its bytes (F3, F4, F6), or the
    /// current version if the peer has announced a newer holding.
    pub(in crate::catalog) fn hold(
        &mut self,
        by: By<'_>,
        holding: &Holding,
        stated: Stated,
    ) -> Result<Version, Rejection> {
        let known = self.settled(&holding.name);
        let Some(file) = known.filter(|file| self.files[*file].version > 0) else {
            return self.create(by, holding, known);
        };
        let record = &self.files[file];
        if holding.version.is_some_and(|version| version > record.version) {
            return Err(self.lease_required(file));
        }
        if let Some(version) = record.version_of(&holding.hash) {
            let held = record.holder(by.slot).map_or(0, |index| record.holders[index].version);
            if stated == Stated::Announced && held > version {
                return Ok(record.version);
            }
            self.hold_version(file, by, version, holding);
            return Ok(version);
        }
        if let Some(named) = holding.version.filter(|named| record.has_forgotten(*named)) {
            // The bytes are old, whatever they are; the oldest version that is known stands for them.
            let set_back = stated != Stated::Announced || record.holder(by.slot).is_err();
            let Some(oldest) = record.past.first().map(|past| past.version).filter(|_| set_back) else {
                return Ok(record.version);
            };
            self.hold_version(file, by, oldest, holding);
            return Ok(named);
        }
        if record.version == 1 && holding.version == Some(1) {
            // Two peers created the name; this one lost the race (F3).
            return Err(self.version_conflict(file));
        }
        Err(Rejection::HashConflict { current_version: record.version, hash: record.hash, size: record.size })
    }

    pub(in crate::catalog) fn hold_version(&mut self, file: Id, by: By<'_>, version: Version, holding: &Holding) {
        self.add_holder(file, by, version);
        if version == self.files[file].version {
            self.fill_size(file, holding.size);
        }
    }

    /// Publishes version 1 without a lease (F3), unless another peer has the lease of the name (L6). `known` is the
    /// name's record, if it has one.
    fn create(&mut self, by: By<'_>, holding: &Holding, known: Option<Id>) -> Result<Version, Rejection> {
        if !matches!(holding.version, None | Some(1)) {
            return Err(match known {
                Some(file) => self.version_conflict(file),
                None => no_such_version(),
            });
        }
        if let Some(file) = known
            && self.claimant(file).is_some_and(|claimant| claimant != by.slot)
        {
            return Err(self.lease_required(file));
        }
        let Some(file) = known else {
            let (file, version) = self.new_version(by.slot, holding);
            self.emit_published(file, by, holding, version, 0);
            self.holder_added(file, by, version, true);
            return Ok(version);
        };
        Ok(self.publish_version(file, by, holding, 0))
    }

    /// The next version of a name, and its first holder.
    pub(in crate::catalog) fn publish_version(
        &mut self,
        file: Id,
        by: By<'_>,
        holding: &Holding,
        fencing_token: u64,
    ) -> Version {
        let version = self.set_version(file, Some(holding.hash), holding.size, fencing_token);
        self.emit_published(file, by, holding, version, fencing_token);
        self.add_holder(file, by, version);
        self.forget_old_versions(file);
        version
    }

    fn emit_published(&mut self, number: Id, by: By<'_>, holding: &Holding, version: Version, fencing_token: u64) {
        let (file, hash, peer) = (holding.name.clone(), holding.hash, by.id.clone());
        self.emit(Event::FilePublished { file, number, version, hash, peer, fencing_token });
    }

    pub(in crate::catalog) fn version_conflict(&self, file: Id) -> Rejection {
        let record = &self.files[file];
        Rejection::VersionConflict {
            current_version: record.version,
            hash: record.hash,
            size: record.size,
            holder: self.claimant(file).map(|peer| self.peer_id(peer)),
        }
    }

    pub(in crate::catalog) fn lease_required(&self, file: Id) -> Rejection {
        Rejection::LeaseRequired {
            current_version: self.files[file].version,
            holder: self.claimant(file).map(|peer| self.peer_id(peer)),
        }
    }

    /// The current version and hash: a registration reports them as a conflict instead of refusing.
    pub(in crate::catalog) fn current(&self, name: &FileName) -> (Version, Option<crate::types::ContentHash>) {
        self.file_id(name).map_or((0, None), |file| (self.files[file].version, self.files[file].hash))
    }
}

/// The refusal for a version of a name that does not exist.
pub(in crate::catalog) fn no_such_version() -> Rejection {
    Rejection::VersionConflict { current_version: 0, hash: None, size: None, holder: None }
}
