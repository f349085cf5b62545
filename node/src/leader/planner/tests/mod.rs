//! The planner against a real catalog: a small world in which commands are applied and observed.

mod properties;
mod scenarios;

use client::contract::{FailedTask, TaskKind};
use raft_store::catalog::{
    Acquire, Announce, Batch, Catalog, Command, Delete, EntryId, ExpirePeer, Holding, Listing, Op, Register, Reply,
    SetReplicas,
};
use raft_store::types::{ContentHash, FileName, LeaseToken, PeerId};

use super::*;

pub(super) fn peer(id: &str) -> PeerId {
    PeerId::parse(id).expect("a valid id")
}

pub(super) fn file(name: &str) -> FileName {
    FileName::parse(name).expect("a valid name")
}

/// Bytes of a version, told apart by one number.
pub(super) fn holding(name: &str, bytes: u8) -> Holding {
    Holding { name: file(name), version: None, size: Some(1_000), hash: ContentHash([bytes; 32]) }
}

/// A catalog, its planner, and the time.
#[derive(Debug)]
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) planner: Planner,
    pub(super) now_ms: u64,
    pub(super) grace: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self { catalog: Catalog::default(), planner: Planner::new(1), now_ms: 1_000, grace: false }
    }

    /// Applies one command and lets the planner observe it.
    pub(super) fn apply(&mut self, op: Op) -> Option<Reply> {
        let batch = Batch { stamp: None, commands: vec![Command { key: None, op }] };
        let mut applied = self.catalog.apply(EntryId { term: 1, index: 1 }, &batch);
        self.planner.observe(&self.catalog, &applied.events);
        applied.replies.pop().and_then(|outcome| outcome.result.ok())
    }

    /// Plans until nothing is left to do; answers the woken peers.
    pub(super) fn plan(&mut self) -> Vec<String> {
        let mut woken = BTreeSet::new();
        for _ in 0..1_000 {
            woken.extend(self.planner.plan(&self.catalog, self.now_ms, self.grace));
            if !self.planner.has_more(self.grace) {
                return woken.iter().map(ToString::to_string).collect();
            }
        }
        panic!("planning does not come to an end");
    }

    /// A new leader takes over: everything soft is lost.
    pub(super) fn fail_over(&mut self, term: u64) {
        self.planner = Planner::new(term);
        self.planner.rebuild(&self.catalog);
    }

    pub(super) fn register_in(&mut self, id: &str, zone: Option<&str>, files: &[(&str, u8)]) {
        let files = files.iter().map(|(name, bytes)| holding(name, *bytes)).collect();
        self.apply(Op::Register(Register {
            peer: peer(id),
            address: format!("http://{id}"),
            zone: zone.map(str::to_owned),
            capacity_bytes: None,
            serving: true,
            listing: Listing::Whole(files),
        }));
    }

    pub(super) fn register(&mut self, id: &str, files: &[(&str, u8)]) {
        self.register_in(id, None, files);
    }

    pub(super) fn announce(&mut self, id: &str, name: &str, bytes: u8) {
        let announce = Announce { peer: peer(id), holding: holding(name, bytes), token: None, keep_lease: false };
        self.apply(Op::Announce(announce));
    }

    /// Publishes the next version, or deletes the name everywhere (`None`), under a lease.
    pub(super) fn publish(&mut self, id: &str, name: &str, bytes: Option<u8>) {
        let token = LeaseToken([bytes.unwrap_or(0); 16]);
        self.apply(Op::Acquire(Acquire { peer: peer(id), file: file(name), ttl_ms: 60_000, wait: false, token }));
        match bytes {
            Some(bytes) => {
                let holding = holding(name, bytes);
                self.apply(Op::Announce(Announce { peer: peer(id), holding, token: Some(token), keep_lease: false }));
            }
            None => {
                self.apply(Op::Delete(Delete {
                    peer: peer(id),
                    file: file(name),
                    everywhere: true,
                    token: Some(token),
                }));
            }
        }
    }

    pub(super) fn delete(&mut self, id: &str, name: &str) {
        self.apply(Op::Delete(Delete { peer: peer(id), file: file(name), everywhere: false, token: None }));
    }

    pub(super) fn expire(&mut self, id: &str) {
        let Some(view) = self.catalog.peer(&peer(id)) else { return };
        self.apply(Op::ExpirePeer(ExpirePeer { peer: peer(id), incarnation: view.incarnation, term: 1 }));
    }

    pub(super) fn heartbeat(&mut self, id: &str, working: &[&str], failed: &[(&str, &str)], free: Option<u64>) {
        let working: Vec<String> = working.iter().map(|id| (*id).to_owned()).collect();
        let failed: Vec<FailedTask> =
            failed.iter().map(|(id, code)| FailedTask { id: (*id).to_owned(), code: (*code).to_owned() }).collect();
        self.planner.heartbeat(&peer(id), &working, &failed, free, self.now_ms);
    }

    /// The tasks a peer would be sent, as `KIND name vVERSION`.
    pub(super) fn tasks(&self, id: &str) -> Vec<String> {
        let kind = |kind| match kind {
            TaskKind::Replicate => "REPLICATE",
            TaskKind::Update => "UPDATE",
            TaskKind::Remove => "REMOVE",
        };
        let tasks = self.planner.tasks_for(&self.catalog, &peer(id));
        tasks.iter().map(|task| format!("{} {} v{}", kind(task.kind), task.file, task.version)).collect()
    }

    pub(super) fn task_ids(&self, id: &str) -> Vec<String> {
        self.planner.tasks_for(&self.catalog, &peer(id)).into_iter().map(|task| task.id).collect()
    }

    pub(super) fn reasons(&self, name: &str) -> Vec<String> {
        let why = self.planner.why(&self.catalog, &file(name), self.now_ms, self.grace).expect("the file exists");
        why.refused.iter().flatten().map(|refused| format!("{}: {}", refused.peer, refused.reason)).collect()
    }
}
