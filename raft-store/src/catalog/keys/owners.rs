//! The peers that own idempotency keys, found by id in one lookup.
//!
//! Invariants
//! * Owners are encoded and compared in the order of their ids. Slot numbers belong to this process.
//! * A clone for a snapshot copies one pointer for every few hundred owners. The next key of a peer copies one such
//!   chunk of pointers, and that peer's keys.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::answers::{Answer, OpaqueKey, Session};
use crate::catalog::tables::name_index::{NameIndex, Named};
use crate::catalog::tables::slab::{Id, Slab};
use crate::catalog::tables::small_map::SmallMap;
use crate::types::PeerId;

/// One peer's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::catalog) struct Keys {
    pub(in crate::catalog) sessions: SmallMap<Arc<str>, Session, 1>,
    pub(in crate::catalog) opaque: SmallMap<Arc<str>, OpaqueKey, 0>,
    /// Opaque keys in the order of their first use. Derived.
    #[serde(skip)]
    pub(in crate::catalog) order: SmallMap<u64, Arc<str>, 0>,
    /// The number of answers in all of them (X5). Derived.
    #[serde(skip)]
    pub(in crate::catalog) answers: u64,
}

impl Keys {
    /// All remembered answers.
    pub(in crate::catalog) fn answers(&self) -> impl Iterator<Item = &Answer> {
        let sessions = self.sessions.values().flat_map(|session| session.answers.values());
        sessions.chain(self.opaque.values().flat_map(|key| key.chunks.values()))
    }

    /// Counts the answers anew.
    pub(in crate::catalog) fn count(&self) -> u64 {
        let sessions = self.sessions.values().map(|session| session.answers.len());
        let opaque = self.opaque.values().map(|key| key.chunks.len());
        sessions.chain(opaque).sum::<usize>() as u64
    }
}

/// A peer and its keys.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Owner {
    pub(in crate::catalog) id: PeerId,
    pub(in crate::catalog) keys: Keys,
}

impl Named for Owner {
    fn name(&self) -> &str {
        self.id.as_str()
    }
}

/// All peers that have keys.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Owners {
    records: Slab<Arc<Owner>>,
    ids: NameIndex,
    /// The number of owners forgotten since this catalog was built.
    forgotten: u64,
}

impl Default for Owners {
    fn default() -> Self {
        Self { records: Slab::default(), ids: NameIndex::of_peers(), forgotten: 0 }
    }
}

impl Owners {
    /// The slot of a peer's keys, if it has any. Valid until they are all forgotten.
    pub(in crate::catalog) fn slot(&self, owner: &PeerId) -> Option<Id> {
        self.ids.get(owner.as_str(), &self.records)
    }

    /// Changes whenever a slot that a caller remembers may have passed to another owner.
    pub(in crate::catalog) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The owner of a slot, if it is occupied.
    pub(in crate::catalog) fn owner_at(&self, slot: Id) -> Option<&PeerId> {
        self.records.get(slot).map(|owner| &owner.id)
    }

    /// The keys in a slot.
    pub(in crate::catalog) fn get_at(&self, slot: Id) -> &Keys {
        &self.records[slot].keys
    }

    /// A peer's keys, to be changed; `None` if it has none.
    pub(in crate::catalog) fn get_mut(&mut self, owner: &PeerId) -> Option<&mut Keys> {
        let slot = self.slot(owner)?;
        Some(self.get_mut_at(slot))
    }

    /// A peer's keys, to be changed; created if it has none.
    pub(in crate::catalog) fn get_or_new(&mut self, owner: &PeerId) -> &mut Keys {
        let slot = self.slot(owner).unwrap_or_else(|| self.insert(owner.clone(), Keys::default()));
        self.get_mut_at(slot)
    }

    /// The keys in a slot, to be changed.
    pub(in crate::catalog) fn get_mut_at(&mut self, slot: Id) -> &mut Keys {
        &mut Arc::make_mut(&mut self.records[slot]).keys
    }

    fn insert(&mut self, id: PeerId, keys: Keys) -> Id {
        let name = id.clone();
        let slot = self.records.insert(Arc::new(Owner { id, keys }));
        self.ids.insert(name.as_str(), slot);
        slot
    }

    /// Forgets a peer that no longer has keys.
    pub(in crate::catalog) fn remove_if_empty(&mut self, owner: &PeerId) {
        let Some(slot) = self.slot(owner) else { return };
        let keys = &self.records[slot].keys;
        if keys.sessions.is_empty() && keys.opaque.is_empty() {
            self.records.remove(slot);
            self.ids.remove(owner.as_str(), slot);
            self.forgotten += 1;
        }
    }

    /// All owners in the order of their ids. Sorts them.
    pub(in crate::catalog) fn iter(&self) -> impl ExactSizeIterator<Item = (&PeerId, &Keys)> {
        let mut owners: Vec<&Owner> = self.records.iter().map(|(_, owner)| &**owner).collect();
        owners.sort_unstable_by_key(|owner| &owner.id);
        owners.into_iter().map(|owner| (&owner.id, &owner.keys))
    }

    /// The owners in the slots of this process.
    pub(in crate::catalog) fn records(&self) -> &Slab<Arc<Owner>> {
        &self.records
    }

    /// The stored part without what is derived, for a snapshot, which only encodes it.
    pub(in crate::catalog) fn stored(&self) -> Self {
        Self { records: self.records.clone(), ..Self::default() }
    }

    /// Rebuilds what is derived: the index of ids, and each owner's keys in the order of their first use and their
    /// count.
    pub(in crate::catalog) fn with_indexes(self) -> Self {
        let mut indexed = Self::default();
        for (_, owner) in self.records.iter() {
            let Owner { id, mut keys } = Owner::clone(owner);
            keys.order = SmallMap::default();
            for (name, key) in keys.opaque.iter() {
                keys.order.insert(key.first_used, name.clone());
            }
            keys.answers = keys.count();
            indexed.insert(id, keys);
        }
        indexed
    }

    /// Whether every owner is found by its id.
    pub(in crate::catalog) fn is_consistent(&self) -> bool {
        self.ids.is_consistent(&self.records)
    }
}

impl PartialEq for Owners {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Owners {}

/// As a map in the order of the ids: slots are not part of the format.
impl Serialize for Owners {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owners = self.iter();
        let mut map = serializer.serialize_map(Some(owners.len()))?;
        for (id, keys) in owners {
            map.serialize_entry(id, keys)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Owners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Owners;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of peers and their keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Owners, A::Error> {
                let mut owners = Owners::default();
                let mut last = None;
                while let Some((id, keys)) = access.next_entry::<PeerId, Keys>()? {
                    if last.as_ref().is_some_and(|last| *last >= id) {
                        return Err(serde::de::Error::custom("owners of keys are not in the order of their ids"));
                    }
                    last = Some(id.clone());
                    owners.insert(id, keys);
                }
                Ok(owners)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
