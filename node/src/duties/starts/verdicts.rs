//! A member's answer to a start: probes whether the recorded process still runs, then records the new one (C3, C5).
//!
//! Invariant: `Recorded` is answered only after the record is durable.

use std::time::Duration;

use super::judge::{Judgement, judge};
use super::note_acknowledgements;
use crate::node::Node;
use crate::transport::{Notice, Seen, Verdict, who_within};

/// How long the process that started first may take to answer (C5).
const PROBE_DEADLINE: Duration = Duration::from_millis(500);

/// Judges a start, and records it.
pub async fn record(node: &Node, notice: &Notice) -> Result<Verdict, String> {
    let starts = &node.identities.starts;
    // What a leader saw a moment ago counts as well.
    note_acknowledgements(node).await.map_err(|error| error.to_string())?;
    let judged = starts.read(|starts| judge(starts.store(notice.side.store), notice));
    match judged {
        Judgement::OlderCopy(reason) => return Ok(refuse(notice, reason)),
        Judgement::Newer(Some((boot, address))) if still_runs(node, notice.side.store, boot, &address).await => {
            tracing::warn!(
                node = notice.side.node,
                first = address,
                second = notice.address,
                "two processes run with copies of one data directory; the second one was refused"
            );
            return Ok(Verdict::InUse(address));
        }
        // Recorded again even if it is known, because it may have been noted without a flush.
        Judgement::Known | Judgement::Newer(_) => {}
    }
    let recorded = starts.update(|starts| {
        // Another process may have been recorded meanwhile.
        match judge(starts.store(notice.side.store), notice) {
            Judgement::OlderCopy(reason) => Err(reason),
            Judgement::Known | Judgement::Newer(_) => {
                starts.record(notice.side.store, notice.start, notice.boot, &notice.address);
                Ok(())
            }
        }
    });
    match recorded.await.map_err(|error| error.to_string())? {
        Err(reason) => Ok(refuse(notice, reason)),
        Ok(()) => Ok(Verdict::Recorded(seen(node))),
    }
}

fn refuse(notice: &Notice, reason: String) -> Verdict {
    tracing::warn!(node = notice.side.node, address = notice.address, %reason, "refused an older copy of a data directory");
    Verdict::OlderCopy(reason)
}

/// Whether the process that was recorded for a directory answers at its address.
async fn still_runs(node: &Node, store: u64, boot: u64, address: &str) -> bool {
    let asked = who_within(&*node.net, address, PROBE_DEADLINE).await;
    asked.is_ok_and(|identity| identity.side.store == store && identity.boot == boot)
}

/// The starts of other members that this node knows.
fn seen(node: &Node) -> Vec<Seen> {
    let members = node.members();
    node.identities.starts.read(|starts| {
        let of = |member: &raft_store::raft::Member| {
            let known = starts.store(member.store_id)?;
            Some(Seen { store: member.store_id, start: known.start?, boot: known.boot, address: known.address.clone() })
        };
        members.values().filter_map(of).collect()
    })
}
