//! `Announce`: states one holding; creates a name, or publishes a version under its lease (F3–F6).
//!
//! Invariant: without a token, a single announcement is decided as those of `AnnounceMany` and of listings are
//! ([`Catalog::hold`]). With a token, nothing is published unless it is the token of the live lease.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::command::Holding;
use crate::catalog::rules::{Stated, no_such_version};
use crate::catalog::state::By;
use crate::catalog::tables::Id;
use crate::catalog::{Catalog, CommandId, LeaseEnd, Rejection, Reply};
use crate::types::{LeaseToken, PeerId};

/// One announced file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Who announces.
    pub peer: PeerId,
    /// What it holds.
    pub holding: Holding,
    /// The lease under which a new version is published (F5).
    pub token: Option<LeaseToken>,
    /// Keep the lease after publishing.
    pub keep_lease: bool,
}

impl Operation for Announce {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let by = catalog.known_as(&self.peer)?;
        let holding = &self.holding;
        let Some(token) = &self.token else {
            let version = catalog.hold(by, holding, Stated::Announced)?;
            return Ok(Reply::Announced { version, fencing_token: None });
        };
        let Some(file) = catalog.settled(&holding.name) else {
            // The name has no record, so the token is wrong; creating a file takes none (F3).
            return Err(match holding.version {
                None | Some(1) => Rejection::LeaseRequired { current_version: 0, holder: None },
                Some(_) => no_such_version(),
            });
        };
        let record = &catalog.files[file];
        let current = record.version;
        if holding.version.is_none_or(|version| version == current + 1) {
            return catalog.publish(file, by, holding, token, self.keep_lease);
        }
        if current > 0 && holding.version == Some(current) && record.hash == Some(holding.hash) {
            catalog.hold_version(file, by, current, holding);
            return Ok(Reply::Announced { version: current, fencing_token: None });
        }
        Err(catalog.version_conflict(file))
    }
}

impl Catalog {
    /// Publishes the next version under the live lease (F5).
    fn publish(
        &mut self,
        file: Id,
        by: By<'_>,
        holding: &Holding,
        token: &LeaseToken,
        keep_lease: bool,
    ) -> Result<Reply, Rejection> {
        let lease = self.authorize(file, by.slot, Some(token))?;
        let version = self.publish_version(file, by, holding, lease.fencing_token);
        if !keep_lease {
            self.end_lease(file, LeaseEnd::Published);
            self.offer_next(file);
        }
        Ok(Reply::Announced { version, fencing_token: Some(lease.fencing_token) })
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: announce doc=x@2 token=t keep`
    impl Exercised for Announce {
        const WORDS: &[&str] = &["announce"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let (token, keep_lease) = (arguments.token()?, arguments.flag("keep")?);
            let holding = arguments.holdings()?.into_iter().next().ok_or("what does it announce?")?;
            Ok(Announce { peer: arguments.peer()?, holding, token, keep_lease })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_holding(), option::of(any_token()), any::<bool>());
            let announce = |(peer, holding, token, keep_lease)| Announce { peer, holding, token, keep_lease };
            (4, parts.prop_map(announce).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![
                Announce { peer: peer(2), holding: holding(4, None, None, 4), token: None, keep_lease: false },
                Announce {
                    peer: peer(1),
                    holding: holding(1, Some(2), Some(7), 5),
                    token: Some(token(1)),
                    keep_lease: true,
                },
            ]
        }
    }
}
