//! What peers say and hear: heartbeats in, tasks out (M1, M3).

use std::collections::{BTreeMap, BTreeSet};

use client::contract::{FailedTask, Task, TaskKind};
use raft_store::catalog::{Catalog, HolderView};
use raft_store::types::{FileName, PeerId, Version};

use super::demand::Demand;
use super::tasks::{Fingerprint, TaskNo};
use super::{Planner, TASKS_PER_PEER_MAX};

/// The most ids in `working` and in `failed` that are read from one heartbeat; the rest is ignored.
pub const HEARTBEAT_IDS_MAX: usize = 16 * TASKS_PER_PEER_MAX;

/// Tasks that peers work on for an earlier leader, as their newest heartbeats say.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    by_peer: BTreeMap<PeerId, BTreeMap<Fingerprint, String>>,
    peers: BTreeMap<Fingerprint, BTreeSet<PeerId>>,
}

impl Foreign {
    fn set(&mut self, peer: &PeerId, tasks: BTreeMap<Fingerprint, String>) {
        for fingerprint in self.by_peer.remove(peer).unwrap_or_default().into_keys() {
            if let Some(peers) = self.peers.get_mut(&fingerprint) {
                peers.remove(peer);
                if peers.is_empty() {
                    self.peers.remove(&fingerprint);
                }
            }
        }
        for fingerprint in tasks.keys() {
            self.peers.entry(*fingerprint).or_default().insert(peer.clone());
        }
        if !tasks.is_empty() {
            self.by_peer.insert(peer.clone(), tasks);
        }
    }
}

impl Planner {
    /// Takes in what a heartbeat says. Call `plan` after it if `failed` is not empty.
    ///
    /// `working` replaces what the peer said before, and a task that it no longer names is repeated. After a failed
    /// task this peer backs off for the file, which goes to another one (M2). `free_bytes` is what the peer would still
    /// take.
    pub fn heartbeat(
        &mut self,
        peer: &PeerId,
        working: &[String],
        failed: &[FailedTask],
        free_bytes: Option<u64>,
        now_ms: u64,
    ) {
        if self.peers.get(peer).is_none() {
            return;
        }
        if let Some(free_bytes) = free_bytes {
            self.peers.set_free(peer, free_bytes, self.waiting_bytes_min, now_ms);
        }
        for failure in failed.iter().take(HEARTBEAT_IDS_MAX) {
            if let Some(no) = self.own_task(peer, &failure.id) {
                self.give_up(no, &failure.code, now_ms);
            }
        }
        self.forget_working(peer);
        let mut foreign = BTreeMap::new();
        for id in working.iter().take(HEARTBEAT_IDS_MAX) {
            match self.tasks.by_id(id) {
                Some(no) if self.own_task(peer, id).is_some() => self.tasks.set_working(no, true),
                Some(_) => {}
                None => {
                    if let Some(fingerprint) = Fingerprint::parse(id)
                        && !self.rename(peer, fingerprint, id)
                    {
                        foreign.insert(fingerprint, id.clone());
                    }
                }
            }
        }
        self.foreign.set(peer, foreign);
    }

    /// Tasks that the peer is not working on, ready to be sent (M3). A task that no longer fits the catalog is left
    /// out.
    pub fn tasks_for(&self, catalog: &Catalog, peer: &PeerId) -> Vec<Task> {
        let given = self.peers.get(peer).into_iter().flat_map(|state| &state.given);
        given.filter_map(|no| self.render(catalog, *no)).collect()
    }

    /// Gives up the tasks that are overdue. Each pair backs off, and the file goes to another peer (M2). `plan` does
    /// this too.
    pub fn abandon_overdue(&mut self, now_ms: u64) {
        while let Some(no) = self.tasks.first_overdue(now_ms) {
            self.give_up(no, "overdue", now_ms);
        }
    }

    fn give_up(&mut self, no: TaskNo, code: &str, now_ms: u64) {
        if let Some(task) = self.tasks.get(no) {
            self.backoffs.fail(&task.peer, &task.file, code, now_ms);
            self.end(no);
        }
    }

    fn render(&self, catalog: &Catalog, no: TaskNo) -> Option<Task> {
        let task = self.tasks.get(no).filter(|task| !task.working)?;
        let view = catalog.file(&task.file)?;
        if !Demand::of(&view).admits(&task.peer, task.kind, task.version) {
            return None;
        }
        let mut sources = Vec::new();
        if task.kind != TaskKind::Remove {
            let is_source = |holder: &&HolderView| holder.live && holder.current;
            sources.extend(view.holders.iter().filter(is_source).map(|holder| holder.address.to_string()));
            // Different tasks start at different sources, so that one peer does not carry all the load.
            let first = usize::try_from(no).unwrap_or(0) % sources.len().max(1);
            sources.rotate_left(first);
        }
        Some(Task {
            id: task.id.clone(),
            kind: task.kind,
            file: task.file.clone(),
            version: task.version,
            size: if task.kind == TaskKind::Remove { 0 } else { view.size.unwrap_or(0) },
            hash: view.hash,
            fencing_token: view.fencing_token,
            source: sources.first().cloned().unwrap_or_default(),
            sources,
        })
    }

    /// The task of this id, if it is this peer's.
    fn own_task(&self, peer: &PeerId, id: &str) -> Option<TaskNo> {
        let no = self.tasks.by_id(id)?;
        (self.tasks.get(no)?.peer == *peer).then_some(no)
    }

    /// A peer's tasks count as not begun.
    pub(super) fn forget_working(&mut self, peer: &PeerId) {
        for no in self.peers.get(peer).into_iter().flat_map(|state| &state.given) {
            self.tasks.set_working(*no, false);
        }
    }

    pub(super) fn forget_foreign(&mut self, peer: &PeerId) {
        self.foreign.set(peer, BTreeMap::new());
    }

    /// If the peer has a task of this leader about the same, it keeps the id that the peer works under.
    fn rename(&mut self, peer: &PeerId, fingerprint: Fingerprint, id: &str) -> bool {
        let given = self.peers.get(peer).into_iter().flat_map(|state| &state.given);
        let is_same = |no: &&TaskNo| {
            let task = self.tasks.get(**no);
            task.is_some_and(|task| {
                !task.working && Fingerprint::of(task.kind, task.version, &task.file) == fingerprint
            })
        };
        let same = given.into_iter().find(is_same).copied();
        same.is_some_and(|no| {
            self.tasks.rename(no, id);
            true
        })
    }

    /// The id under which the peer already does what a new task would ask of it.
    pub(super) fn adoptable(
        &mut self,
        peer: &PeerId,
        kind: TaskKind,
        version: Version,
        file: &FileName,
    ) -> Option<String> {
        if self.foreign.by_peer.is_empty() {
            return None;
        }
        let mut tasks = self.foreign.by_peer.get(peer)?.clone();
        let id = tasks.remove(&Fingerprint::of(kind, version, file))?;
        self.foreign.set(peer, tasks);
        self.tasks.by_id(&id).is_none().then_some(id)
    }

    /// A peer with a slot that does this task already, for an earlier leader.
    pub(super) fn working_elsewhere(
        &self,
        kind: TaskKind,
        version: Version,
        file: &FileName,
        admits: impl Fn(&PeerId) -> bool,
    ) -> Option<PeerId> {
        if self.foreign.peers.is_empty() {
            return None;
        }
        let peers = self.foreign.peers.get(&Fingerprint::of(kind, version, file))?;
        let has_slot = |peer: &PeerId| self.peers.get(peer).is_some_and(|state| state.has_slot());
        peers.iter().find(|peer| has_slot(peer) && admits(peer)).cloned()
    }
}
