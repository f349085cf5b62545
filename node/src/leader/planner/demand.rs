//! What one file needs, as a function of the replicated state alone (M1, M2, F7, F8).
//!
//! Invariant: no soft state and no time enters here, so every leader derives the same demand from the same catalog.

use client::contract::TaskKind;
use raft_store::catalog::FileView;
use raft_store::types::{PeerId, Version};

/// The need of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    /// The version to fetch, or the tombstone's.
    pub(super) version: Version,
    /// Its size in bytes, if a holder stated it.
    pub(super) size: Option<u64>,
    /// Live copies wanted (M1); 0 for a tombstone and for a name without a version.
    pub(super) desired: usize,
    /// Live holders of the current version, in id order: the copies that count, and the sources.
    pub(super) live: Vec<PeerId>,
    /// Live holders of an older version, in id order; each gets a task of the kind `upkeep`.
    pub(super) stale: Vec<PeerId>,
    /// What stale holders have to do: update, or remove what was deleted everywhere.
    pub(super) upkeep: TaskKind,
    /// Peers that must not get the file back unasked (F7), in id order.
    pub(super) refused: Vec<PeerId>,
}

impl Demand {
    /// The need of a file as the catalog shows it, at least with its live holders.
    pub(super) fn of(view: &FileView) -> Self {
        let exists = view.version > 0 && !view.deleted;
        let live_holders = || view.holders.iter().filter(|holder| holder.live);
        let ids = |current: bool| {
            let older = |version: Version| version < view.version; // F8: never replace what is not older
            live_holders()
                .filter(|holder| if current { holder.current } else { !holder.current && older(holder.version) })
                .map(|holder| holder.peer.clone())
                .collect()
        };
        Self {
            version: view.version,
            size: view.size,
            desired: if exists { view.replicas_desired as usize } else { 0 },
            live: if exists { ids(true) } else { Vec::new() },
            stale: ids(false),
            upkeep: if view.deleted { TaskKind::Remove } else { TaskKind::Update },
            refused: view.refused.clone(),
        }
    }

    /// Whether nobody live holds any version: there is nothing to copy, and nothing to update or remove.
    pub(super) fn concerns_nobody(&self) -> bool {
        self.live.is_empty() && self.stale.is_empty()
    }

    /// Whether a task can be carried out: somebody live has the bytes, or none are needed.
    pub(super) fn can_upkeep(&self) -> bool {
        self.upkeep == TaskKind::Remove || !self.live.is_empty()
    }

    /// Fewer live copies than wanted.
    pub(super) fn is_under_replicated(&self) -> bool {
        self.live.len() < self.desired
    }

    /// Whether a task of this kind and version makes sense for this peer.
    pub(super) fn admits(&self, peer: &PeerId, kind: TaskKind, version: Version) -> bool {
        version == self.version
            && match kind {
                TaskKind::Replicate => !self.live.is_empty() && !self.holds(peer) && !self.refuses(peer),
                TaskKind::Update | TaskKind::Remove => {
                    kind == self.upkeep && self.can_upkeep() && self.stale.binary_search(peer).is_ok()
                }
            }
    }

    /// Whether the peer is a live holder, current or stale.
    pub(super) fn holds(&self, peer: &PeerId) -> bool {
        self.live.binary_search(peer).is_ok() || self.stale.binary_search(peer).is_ok()
    }

    /// Whether the peer deleted its copy (F7).
    pub(super) fn refuses(&self, peer: &PeerId) -> bool {
        self.refused.binary_search(peer).is_ok()
    }
}
