//! `Renew`: extends a live lease (L1).
//!
//! Invariant: a renewal never shortens a lease and never revives one that has ended.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::state::Due;
use crate::catalog::{Catalog, CommandId, Event, Grant, Rejection, Reply};
use crate::types::{FileName, LeaseToken, PeerId};

/// Extends a live lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The holder.
    pub peer: PeerId,
    /// The leased name.
    pub file: FileName,
    /// The secret of the live lease.
    pub token: LeaseToken,
    /// New duration from now in milliseconds; the granted duration if absent.
    pub ttl_ms: Option<u64>,
}

impl Operation for Renew {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let (file, mut lease) = catalog.shown_lease(&self.peer, &self.file, &self.token)?;
        let ttl_ms = self.ttl_ms.unwrap_or(lease.ttl_ms);
        if catalog.clock.saturating_add(ttl_ms) > lease.deadline.at {
            catalog.due.remove(&lease.deadline);
            lease.deadline = catalog.deadline_in(ttl_ms);
            catalog.due.insert(lease.deadline, Due::Lease(file));
            if let Some(contention) = &mut catalog.files[file].contention {
                contention.lease = Some(lease);
            }
        }
        let grant = Grant { ttl_ms, ..catalog.grant_of(file, &lease) };
        catalog.emit(Event::LeaseRenewed {
            file: self.file.clone(),
            peer: self.peer.clone(),
            fencing_token: lease.fencing_token,
            deadline: lease.deadline.at,
        });
        Ok(Reply::Granted(grant))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: renew doc ttl=60s token=t`
    impl Exercised for Renew {
        const WORDS: &[&str] = &["renew"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let (peer, file, token) = (arguments.peer()?, arguments.file()?, arguments.own_token()?);
            Ok(Renew { peer, file, token, ttl_ms: arguments.ttl()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_name(), any_token(), option::of(any_ttl()));
            (2, parts.prop_map(|(peer, file, token, ttl_ms)| Renew { peer, file, token, ttl_ms }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![
                Renew { peer: peer(1), file: name(1), token: token(1), ttl_ms: Some(90_000) },
                Renew { peer: peer(1), file: name(2), token: token(3), ttl_ms: None },
            ]
        }
    }
}
