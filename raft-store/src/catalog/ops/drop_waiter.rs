//! `DropWaiter`: the leader has seen no poll of a waiter for 15 s (L5).
//!
//! Invariant: it does nothing if the waiter has left the queue or joined it again since, or if the entry is of another
//! term: the leader judged by what it saw in its own term.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, LineEnd, Rejection, Reply};
use crate::types::{FileName, PeerId};

/// Removes a silent waiter from a wait queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropWaiter {
    /// The silent waiter.
    pub peer: PeerId,
    /// Of which file.
    pub file: FileName,
    /// The ticket that it had.
    pub ticket: u64,
    /// The proposer's term (T2).
    pub term: u64,
}

impl Operation for DropWaiter {
    fn apply(&self, catalog: &mut Catalog, at: CommandId) -> Result<Reply, Rejection> {
        if self.term == at.entry.term {
            let file = catalog.settled(&self.file);
            if let (Some(peer), Some(file)) = (catalog.peer_slot(&self.peer), file)
                && catalog.sets(peer).places.get(&file) == Some(&self.ticket)
            {
                catalog.leave_queue(file, peer, LineEnd::Silent);
            }
        }
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: drop doc ticket=1 term=1`
    impl Exercised for DropWaiter {
        const WORDS: &[&str] = &["drop"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let (file, ticket) = (arguments.file()?, arguments.number("ticket")?.ok_or("which ticket?")?);
            Ok(DropWaiter { peer: arguments.peer()?, file, ticket, term: arguments.number("term")?.unwrap_or(1) })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_name(), 0..12u64, 0..2u64);
            (1, parts.prop_map(|(peer, file, ticket, term)| DropWaiter { peer, file, ticket, term }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![DropWaiter { peer: peer(2), file: name(1), ticket: 7, term: 1 }]
        }
    }
}
