//! Attributes of names, and records: names that have nothing else (K1, K3, K4).
//!
//! Invariants
//! * A name has at most [`limits::ATTRIBUTES_PER_NAME_MAX`] attributes, sorted by key. A name without a version, a
//!   lease and an attribute has no record.
//! * Attributes are drafted on copies; [`Catalog::carry_out`] cannot fail. Each change of a record is one event.

use smallvec::SmallVec;

use crate::catalog::event::Event;
use crate::catalog::ops::{Action, Change, FEW_NAMES, Test};
use crate::catalog::records::FileRecord;
use crate::catalog::rejection::Rejection;
use crate::catalog::reply::TxnName;
use crate::catalog::state::Catalog;
use crate::catalog::tables::slab::Id;
use crate::types::{AttributeKey, AttributeValue, Attributes, FileName, LeaseToken, PeerId, TxnId, limits};

/// The attributes that a name will have.
pub(in crate::catalog) struct Draft<'a> {
    name: &'a FileName,
    file: Option<Id>,
    attributes: Attributes,
}

impl FileRecord {
    /// Whether the name has a current version or an attribute (K1).
    pub(in crate::catalog) fn exists(&self) -> bool {
        self.hash.is_some() || !self.attributes.is_empty()
    }

    /// Whether the name has attributes and no current version (K1).
    pub(in crate::catalog) fn is_record(&self) -> bool {
        self.hash.is_none() && !self.attributes.is_empty()
    }
}

impl Catalog {
    /// Whether a name passes a test (K3). A tombstone is no version, and only a live lease counts.
    pub(in crate::catalog) fn satisfies(&self, file: Option<Id>, test: &Test) -> bool {
        let record = file.map(|file| &self.files[file]);
        match test {
            Test::Exists(wanted) => record.is_some_and(FileRecord::exists) == *wanted,
            Test::Version(version) => record.is_some_and(|record| record.hash.is_some() && record.version == *version),
            Test::Hash(hash) => record.is_some_and(|record| record.hash == Some(*hash)),
            Test::Attribute { key, is, value } => {
                is.holds(record.and_then(|record| record.attributes.get(key.as_str())), value)
            }
            Test::Lease(token) => record.and_then(FileRecord::lease).is_some_and(|lease| lease.token == *token),
        }
    }

    /// What the operations make of the names they concern, in the order of their first operation. `files` are the slots
    /// of `names`.
    pub(in crate::catalog) fn draft<'a>(
        &self,
        names: &'a [FileName],
        files: &[Option<Id>],
        changes: &[Change],
    ) -> Result<SmallVec<[Draft<'a>; FEW_NAMES]>, Rejection> {
        let mut drafts: SmallVec<[Draft<'a>; FEW_NAMES]> = SmallVec::new();
        for change in changes {
            let place = usize::from(change.name);
            let (Some(name), Some(file)) = (names.get(place), files.get(place)) else { continue };
            self.may_change(*file, name, change.token.as_ref())?;
            // Names are stored once, so the same name is the same reference.
            let known = drafts.iter().position(|draft| std::ptr::eq(draft.name, name));
            let known = known.unwrap_or_else(|| {
                let attributes = file.map_or_else(Attributes::new, |file| self.files[file].attributes.clone());
                drafts.push(Draft { name, file: *file, attributes });
                drafts.len() - 1
            });
            drafts[known].change(&change.action)?;
        }
        let bytes: usize = drafts.iter().map(Draft::bytes).sum();
        if bytes > limits::TXN_ANSWER_BYTES_MAX {
            return Err(Rejection::AnswerTooLarge { bytes: bytes as u64 });
        }
        Ok(drafts)
    }

    /// While a name is leased, its attributes change only with that lease's token (K4). A token that is shown has to be
    /// that of the live lease even so: who shows it relies on nobody else having written since the grant.
    fn may_change(&self, file: Option<Id>, name: &FileName, token: Option<&LeaseToken>) -> Result<(), Rejection> {
        let record = file.map(|file| &self.files[file]);
        let lease = record.and_then(FileRecord::lease);
        if lease.map(|lease| &lease.token) == token {
            return Ok(());
        }
        let holder = lease.map(|lease| self.peer_id(lease.peer));
        let ended = token.and_then(|token| record.and_then(|record| record.ended_under(token)));
        Err(match ended {
            Some(fencing_token) => Rejection::LeaseExpired {
                current_version: record.map_or(0, |record| record.version),
                holder,
                fencing_token: Some(fencing_token),
            },
            None => Rejection::AttributesLeased { file: name.clone(), holder },
        })
    }

    /// Gives a name its drafted attributes. Returns the name as it is then.
    pub(in crate::catalog) fn carry_out(&mut self, draft: Draft<'_>, peer: &PeerId, txn: TxnId) -> TxnName {
        let Draft { name, file, attributes } = draft;
        let after = attributes.clone();
        let version = file.map(|file| &self.files[file]).filter(|record| record.hash.is_some());
        let version = version.map(|record| record.version);
        let (changed, removed) = match file {
            Some(file) => differences(&self.files[file].attributes, &attributes),
            None => (attributes.clone(), Vec::new()),
        };
        if !changed.is_empty() || !removed.is_empty() {
            let number = self.set_attributes(file, name, attributes);
            let (file, peer, is_left) = (name.clone(), peer.clone(), !after.is_empty());
            self.emit(Event::AttributesChanged { file, number, peer, txn, changed, removed, is_left });
            self.remove_if_vacant(number);
        }
        TxnName { name: name.clone(), version, attributes: after }
    }

    /// Stores the attributes; creates a record for a name that has none.
    fn set_attributes(&mut self, file: Option<Id>, name: &FileName, attributes: Attributes) -> Id {
        let Some(file) = file else {
            let file = self.insert_file(name, FileRecord { attributes, ..FileRecord::new(name) });
            self.count(file);
            return file;
        };
        self.discount(file);
        self.files[file].attributes = attributes;
        self.count(file);
        file
    }
}

/// What differs afterwards: attributes with other values or new ones, and keys that are gone. Both are sorted.
fn differences(before: &Attributes, after: &Attributes) -> (Attributes, Vec<AttributeKey>) {
    let is_new = |(key, value): &(&AttributeKey, &AttributeValue)| before.get(key.as_str()) != Some(*value);
    let changed = after.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect();
    let is_gone = |key: &&AttributeKey| after.get(key.as_str()).is_none();
    (changed, before.iter().map(|(key, _)| key).filter(is_gone).cloned().collect())
}

impl Draft<'_> {
    fn change(&mut self, action: &Action) -> Result<(), Rejection> {
        match action {
            Action::Set { key, value } => self.set(key, value.clone())?,
            Action::Add { key, by, min, max } => {
                let before = match self.attributes.get(key.as_str()) {
                    None => 0,
                    Some(AttributeValue::Integer(value)) => *value,
                    Some(AttributeValue::Text(_)) => {
                        return Err(Rejection::NotAnInteger { file: self.name.clone(), key: key.clone() });
                    }
                };
                let is_within = |sum: &i64| min.is_none_or(|min| *sum >= min) && max.is_none_or(|max| *sum <= max);
                let Some(sum) = before.checked_add(*by).filter(is_within) else {
                    let file = self.name.clone();
                    return Err(Rejection::OutOfBounds { file, key: key.clone(), value: before, by: *by });
                };
                self.set(key, sum.into())?;
            }
            Action::Unset { key } => drop(self.attributes.remove(key.as_str())),
            Action::Delete => self.attributes.clear(),
        }
        Ok(())
    }

    fn set(&mut self, key: &AttributeKey, value: AttributeValue) -> Result<(), Rejection> {
        let is_full = self.attributes.len() >= limits::ATTRIBUTES_PER_NAME_MAX;
        if is_full && self.attributes.get(key.as_str()).is_none() {
            return Err(Rejection::TooManyAttributes { file: self.name.clone() });
        }
        self.attributes.set(key.clone(), value);
        Ok(())
    }

    /// The most bytes that it takes in an answer.
    fn bytes(&self) -> usize {
        /// The most that numbers and lengths of an item take.
        const ITEM_BYTES: usize = 16;
        let attribute = |(key, value): (&AttributeKey, &AttributeValue)| {
            ITEM_BYTES + key.as_str().len() + value.as_text().map_or(0, str::len)
        };
        2 * ITEM_BYTES + self.name.as_str().len() + self.attributes.iter().map(attribute).sum::<usize>()
    }
}
