//! `Acquire`: asks for the lease of a file, claims an offered one, or waits in line for it (L1–L6).
//!
//! Invariant: a waiter may repeat the command as often as it likes. While it waits, the reply is its position; once the
//! lease is offered to it, the command claims it.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::catalog::{Catalog, CommandId, LeaseEnd, Rejection, Reply};
use crate::types::{FileName, LeaseToken, PeerId};

/// Asks for the lease of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Who asks.
    pub peer: PeerId,
    /// For which name; it need not exist yet (L6).
    pub file: FileName,
    /// Requested duration in milliseconds, within the limits of L1.
    pub ttl_ms: u64,
    /// Whether to wait if the lease is taken (L5).
    pub wait: bool,
    /// The secret of the grant, drawn by the proposer (D2).
    pub token: LeaseToken,
}

impl Operation for Acquire {
    fn peer(&self) -> Option<&PeerId> {
        Some(&self.peer)
    }

    fn apply(&self, catalog: &mut Catalog, _: CommandId) -> Result<Reply, Rejection> {
        let peer = catalog.known(&self.peer)?;
        let known = catalog.settled(&self.file);
        if let Some(file) = known {
            let record = &catalog.files[file];
            if let Some(lease) = record.lease().copied() {
                // A newer incarnation of the holder takes its own lease over (L4).
                if lease.peer != peer || catalog.peers[peer].incarnation <= lease.incarnation {
                    return catalog.deny(file, peer, lease.peer, lease.deadline, self.wait);
                }
                catalog.end_lease(file, LeaseEnd::TakenOver);
            } else if let Some(offer) = record.offer().copied() {
                if offer.peer != peer {
                    return catalog.deny(file, peer, offer.peer, offer.deadline, self.wait);
                }
                catalog.take_offer(file);
            }
        }
        let file = known.unwrap_or_else(|| catalog.new_file(&self.file));
        Ok(Reply::Granted(catalog.grant(file, peer, self.ttl_ms, self.token)))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::catalog::tests::exercise::*;

    /// `P: acquire doc ttl=60s token=t wait`; without a label, the token has that of the peer's name.
    impl Exercised for Acquire {
        const WORDS: &[&str] = &["acquire"];

        fn read(arguments: &mut Arguments<'_>) -> Parsed<Self> {
            Ok(Acquire {
                peer: arguments.peer()?,
                file: arguments.file()?,
                ttl_ms: arguments.ttl()?.unwrap_or(limits::LEASE_TTL_MS_DEFAULT),
                wait: arguments.flag("wait")?,
                token: arguments.own_token()?,
            })
        }

        fn any() -> (u32, BoxedStrategy<Self>) {
            let parts = (any_peer(), any_name(), any_ttl(), any::<bool>(), any_token());
            (6, parts.prop_map(|(peer, file, ttl_ms, wait, token)| Acquire { peer, file, ttl_ms, wait, token }).boxed())
        }

        fn samples() -> Vec<Self> {
            let acquire = |id, file, ttl_ms, wait, secret| Acquire {
                peer: peer(id),
                file: name(file),
                ttl_ms,
                wait,
                token: token(secret),
            };
            vec![acquire(1, 1, 60_000, false, 1), acquire(2, 1, 5_000, true, 2), acquire(1, 2, 30_000, false, 3)]
        }
    }
}
