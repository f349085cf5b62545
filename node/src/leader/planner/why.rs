//! Why a file has the copies it has: the rule, the holders, the tasks, and why the other peers have none (`GET /why`).

use client::contract::{RefusedPeer, ReplicationRule, WhyHolder, WhyResponse, WhyTask};
use raft_store::catalog::{Catalog, FileView, HolderView};
use raft_store::types::{FileName, PeerId};

use super::demand::Demand;
use super::peers::PeerState;
use super::{Planner, TASKS_PER_PEER_MAX};

/// Refused peers that an answer names at most.
pub const REFUSED_PEERS_MAX: usize = 1_000;

/// What the replicated state alone tells, on a node that does not lead and so plans nothing (R4).
pub fn without_plan(catalog: &Catalog, file: &FileName) -> Option<WhyResponse> {
    let view = catalog.file(file).filter(|view| view.version > 0)?;
    let demand = Demand::of(&view);
    let (desired, live) = (demand.desired as u64, demand.live.len() as u64);
    let summary = format!("live copies: {live}, wanted: {desired}; this node does not lead and knows of no tasks");
    let rule = ReplicationRule { desired, live, under_way: None, summary };
    Some(WhyResponse { name: view.name.clone(), rule, holders: holders(view), tasks: None, refused: None })
}

fn holders(view: FileView) -> Vec<WhyHolder> {
    let entry = |holder: HolderView| WhyHolder {
        id: holder.peer,
        version: holder.version,
        current: holder.current,
        live: holder.live,
    };
    view.holders.into_iter().map(entry).collect()
}

impl Planner {
    /// Explains the copies of a file; `None` if the name has no version.
    pub fn why(&self, catalog: &Catalog, file: &FileName, now_ms: u64, grace: bool) -> Option<WhyResponse> {
        let view = catalog.file(file).filter(|view| view.version > 0)?;
        let demand = Demand::of(&view);
        let missing = self.missing(file, &demand, now_ms);
        let under_way = demand.desired as isize - missing - demand.live.len() as isize;
        let tasks: Vec<WhyTask> = self
            .files
            .get(file)
            .into_iter()
            .flat_map(|state| state.tasks.values())
            .filter_map(|no| {
                let task = self.tasks.get(*no)?;
                let (id, peer, working) = (task.id.clone(), task.peer.clone(), task.working);
                Some(WhyTask { id, peer, kind: task.kind, version: task.version, working })
            })
            .collect();
        let is_unserved = |peer: &PeerId| {
            let is_asked = missing > 0 || demand.stale.binary_search(peer).is_ok();
            is_asked && demand.live.binary_search(peer).is_err() && !tasks.iter().any(|task| task.peer == *peer)
        };
        let unserved = self.peers.iter().filter(|(peer, _)| is_unserved(peer));
        let refused = unserved
            .map(|(peer, state)| RefusedPeer {
                peer: peer.clone(),
                reason: self.reason(file, &demand, peer, state, now_ms, grace),
            })
            .take(REFUSED_PEERS_MAX)
            .collect();
        Some(WhyResponse {
            name: file.clone(),
            rule: ReplicationRule {
                desired: demand.desired as u64,
                live: demand.live.len() as u64,
                under_way: Some(under_way.max(0) as u64),
                summary: self.summary(&view, &demand, missing, grace),
            },
            holders: holders(view),
            tasks: Some(tasks),
            refused: Some(refused),
        })
    }

    fn summary(&self, view: &FileView, demand: &Demand, missing: isize, grace: bool) -> String {
        let (live, desired) = (demand.live.len(), demand.desired);
        if view.deleted {
            return match demand.stale.len() {
                0 => "deleted everywhere".to_owned(),
                left => format!("deleted everywhere; {left} live peers still have a copy to remove"),
            };
        }
        match (live, missing) {
            (0, _) => "no live peer has the current version, so nobody can send it; it waits for a holder to return"
                .to_owned(),
            _ if live >= desired => format!("live copies: {live}, wanted: {desired}"),
            (_, ..=0) => format!("live copies: {live}, wanted: {desired}; the rest is under way"),
            _ if grace => {
                format!("live copies: {live}, wanted: {desired}; a new leader gives every peer time to report first")
            }
            _ => format!("live copies: {live}, wanted: {desired}; {missing} cannot be placed now"),
        }
    }

    fn reason(
        &self,
        file: &FileName,
        demand: &Demand,
        peer: &PeerId,
        state: &PeerState,
        now_ms: u64,
        grace: bool,
    ) -> String {
        let is_stale = demand.stale.binary_search(peer).is_ok();
        if let Some((left_ms, code)) = self.backoffs.remaining(peer, file, now_ms) {
            format!("it failed ({code}) and rests for {} s", left_ms.div_ceil(1_000))
        } else if is_stale && !demand.can_upkeep() {
            "it has an older version, and no live peer can send the current one".to_owned()
        } else if is_stale {
            "it has an older version; its task waits for one of its others to finish".to_owned()
        } else if demand.refuses(peer) {
            "its user deleted the file there; `get` it on that peer to have it again".to_owned()
        } else if let (Some(size), Some(room)) = (demand.size, state.room())
            && size > room
        {
            format!("no room: the file has {size} bytes, the peer takes {room} more")
        } else if !state.has_slot() {
            format!("busy: it has {TASKS_PER_PEER_MAX} tasks under way")
        } else if demand.live.is_empty() {
            "nobody can send the file".to_owned()
        } else if grace {
            "a new leader gives every peer time to report first".to_owned()
        } else {
            "it is about to be asked".to_owned()
        }
    }
}
