//! `Release`: ends a live lease (L7).
//!
//! Invariant: a lease is released only with its own token.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, LeaseEnd, Rejection, Reply};
use crate::types::{FileName, LeaseToken, PeerId};

/// Ends a live lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The holder.
    pub peer: PeerId,
    /// The leased name.
    pub file: FileName,
    /// The secret of the live lease.
    pub token: LeaseToken,
}

impl Operation for Release {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let (file, _) = catalog.shown_lease(&self.peer, &self.file, &self.token)?;
        catalog.end_lease(file, LeaseEnd::Released);
        catalog.offer_next(file);
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: release doc token=t`
    impl Exercised for Release {
        const WORDS: &[&str] = &["release"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            Ok(Release { peer: arguments.peer()?, file: arguments.file()?, token: arguments.own_token()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_name(), any_token());
            (3, parts.prop_map(|(peer, file, token)| Release { peer, file, token }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![Release { peer: peer(1), file: name(1), token: token(1) }]
        }
    }
}
