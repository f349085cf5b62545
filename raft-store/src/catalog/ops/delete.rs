//! `Delete`: drops one copy, or deletes the name everywhere under its lease (F7).
//!
//! Invariant: a peer that deletes its copy is remembered as refusing the file, unless the file itself is deleted: then
//! the copy goes because the index asked for it.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::tables::Id;
use crate::catalog::{Catalog, CommandId, Event, LeaseEnd, Rejection, Reply};
use crate::types::{FileName, LeaseToken, PeerId};

/// Drops one copy, or deletes the file everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// Who deletes.
    pub peer: PeerId,
    /// Which file.
    pub file: FileName,
    /// Whether to publish a tombstone instead of dropping the peer's copy.
    pub everywhere: bool,
    /// The secret of the live lease; needed for `everywhere`.
    pub token: Option<LeaseToken>,
}

impl Operation for Delete {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let peer = catalog.known(&self.peer)?;
        let not_found = || Rejection::NotFound { file: self.file.clone() };
        let file = catalog.settled(&self.file).ok_or_else(not_found)?;
        if self.everywhere {
            if catalog.files[file].hash.is_none() {
                return Err(not_found());
            }
            return catalog.delete_everywhere(file, peer, self.token.as_ref());
        }
        let record = &catalog.files[file];
        let tombstone = record.is_tombstone();
        if record.holder(peer).is_err() {
            let file = self.file.clone();
            return Err(if record.hash.is_none() { not_found() } else { Rejection::NotHolder { file } });
        }
        catalog.drop_holder(file, peer, !tombstone);
        if let Some(listing) = &mut catalog.peers[peer].listing {
            listing.deleted.insert(self.file.as_str().to_owned());
        }
        Ok(Reply::Done)
    }
}

impl Catalog {
    fn delete_everywhere(&mut self, file: Id, peer: Id, token: Option<&LeaseToken>) -> Result<Reply, Rejection> {
        let lease = self.authorize(file, peer, token)?;
        let version = self.set_version(file, None, None, lease.fencing_token);
        let (name, peer) = (self.files[file].file_name(), self.peer_id(peer));
        self.emit(Event::FileDeleted { file: name, number: file, version, peer });
        self.forget_old_versions(file);
        self.end_lease(file, LeaseEnd::Published);
        self.offer_next(file);
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: delete doc everywhere token=t`
    impl Exercised for Delete {
        const WORDS: &[&str] = &["delete"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let (file, everywhere) = (arguments.file()?, arguments.flag("everywhere")?);
            Ok(Delete { peer: arguments.peer()?, file, everywhere, token: arguments.token()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_name(), any::<bool>(), option::of(any_token()));
            let delete = |(peer, file, everywhere, token)| Delete { peer, file, everywhere, token };
            (3, parts.prop_map(delete).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![
                Delete { peer: peer(2), file: name(4), everywhere: false, token: None },
                Delete { peer: peer(1), file: name(2), everywhere: true, token: Some(token(3)) },
            ]
        }
    }
}
