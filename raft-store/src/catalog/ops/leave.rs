//! `Leave`: gives up a place in the wait queue, or a pending grant (L5).
//!
//! Invariant: leaving without a place changes nothing and succeeds, so that a peer may repeat it.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, LineEnd, Rejection, Reply};
use crate::types::{FileName, PeerId};

/// Gives up a place in the wait queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Who leaves.
    pub peer: PeerId,
    /// Of which file.
    pub file: FileName,
}

impl Operation for Leave {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let peer = catalog.known(&self.peer)?;
        if let Some(file) = catalog.settled(&self.file) {
            catalog.leave_queue(file, peer, LineEnd::Left);
        }
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: leave doc`
    impl Exercised for Leave {
        const WORDS: &[&str] = &["leave"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            Ok(Leave { peer: arguments.peer()?, file: arguments.file()? })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            (1, (any_peer(), any_name()).prop_map(|(peer, file)| Leave { peer, file }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![Leave { peer: peer(3), file: name(1) }]
        }
    }
}
