//! `ExpirePeer`: the leader has seen no sign of life of a peer for the peer TTL (P3).
//!
//! Invariant: it does nothing if the peer has registered again since, or if the entry is of another term: the leader
//! judged by what it saw in its own term.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, Event, Rejection, Reply};
use crate::types::{Incarnation, PeerId};

/// Ends a silent peer's liveness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpirePeer {
    /// The silent peer.
    pub peer: PeerId,
    /// The incarnation that was silent.
    pub incarnation: Incarnation,
    /// The proposer's term (T2).
    pub term: u64,
}

impl Operation for ExpirePeer {
    fn apply(&self, catalog: &mut Catalog, at: CommandId) -> Result<Reply, Rejection> {
        if self.term == at.entry.term {
            catalog.expire_peer(&self.peer, self.incarnation);
        }
        Ok(Reply::Done)
    }
}

impl Catalog {
    fn expire_peer(&mut self, id: &PeerId, incarnation: Incarnation) {
        let Some(peer) = self.peer_slot(id) else { return };
        let record = &self.peers[peer];
        if record.incarnation == incarnation && record.is_live() {
            self.set_live(peer, false);
            self.emit(Event::PeerExpired { peer: id.clone() });
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: expire incarnation=1 term=1`
    impl Exercised for ExpirePeer {
        const WORDS: &[&str] = &["expire"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            let incarnation = arguments.number("incarnation")?.ok_or("which incarnation?")?;
            Ok(ExpirePeer { peer: arguments.peer()?, incarnation, term: arguments.number("term")?.unwrap_or(1) })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), 0..12u64, 0..2u64);
            (1, parts.prop_map(|(peer, incarnation, term)| ExpirePeer { peer, incarnation, term }).boxed())
        }

        fn samples() -> Vec<Self> {
            vec![ExpirePeer { peer: peer(1), incarnation: 1, term: 1 }]
        }
    }
}
