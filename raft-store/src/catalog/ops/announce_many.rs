//! `AnnounceMany`: states many holdings at once (F3, F4, F6).
//!
//! Invariant: each holding is decided by itself, so a refused one changes nothing for the others. None can carry a
//! lease token.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::command::Holding;
use crate::catalog::rules::Stated;
use crate::catalog::{Catalog, CommandId, Rejection, Reply};
use crate::types::PeerId;

/// Many announced files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceMany {
    /// Who announces.
    pub peer: PeerId,
    /// What it holds.
    pub files: Vec<Holding>,
}

impl Operation for AnnounceMany {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let by = catalog.known_as(&self.peer)?;
        let hold = |holding| catalog.hold(by, holding, Stated::Announced);
        Ok(Reply::AnnouncedMany(self.files.iter().map(hold).collect()))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: announce_many doc=x other=y`
    impl Exercised for AnnounceMany {
        const WORDS: &[&str] = &["announce_many"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            Ok(AnnounceMany { peer: arguments.peer()?, files: arguments.holdings()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), vec(any_holding(), 0..3));
            (1, parts.prop_map(|(peer, files)| AnnounceMany { peer, files }).boxed())
        }

        fn samples() -> Vec<Self> {
            let files = vec![holding(1, Some(1), None, 1), holding(2, Some(1), None, 9)];
            vec![AnnounceMany { peer: peer(2), files }]
        }
    }
}
