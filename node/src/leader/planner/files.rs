//! What the planner remembers about files, by name.
//!
//! Invariant: a file for which nothing can be done is not kept. Adding a file costs the same however many there are: no
//! entry is applied meanwhile.

use std::collections::BTreeMap;

use raft_store::name_table::NameTable;
use raft_store::types::{FileName, PeerId};

use super::tasks::TaskNo;

/// What the planner remembers of a file.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// Its tasks by peer.
    pub(super) tasks: BTreeMap<PeerId, TaskNo>,
    /// Live copies under which it is in `untried` or `waiting`: it wants more tasks.
    pub(super) short: Option<u32>,
}

impl FileState {
    /// Whether there is nothing to remember.
    pub(super) fn needs_nothing(&self) -> bool {
        self.tasks.is_empty() && self.short.is_none()
    }
}

/// The files that have tasks, or want more of them.
#[derive(Debug, Default)]
pub(super) struct Files {
    states: NameTable<(FileName, FileState)>,
}

impl Files {
    /// What is remembered of a file.
    pub(super) fn get(&self, file: &FileName) -> Option<&FileState> {
        self.states.get(file.as_str(), |(known, _)| known == file).map(|(_, state)| state)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, file: &FileName) -> Option<&mut FileState> {
        self.states.get_mut(file.as_str(), |(known, _)| known == file).map(|(_, state)| state)
    }

    /// The same, and an empty record if there is none.
    pub(super) fn get_or_new(&mut self, file: &FileName) -> &mut FileState {
        let known = self.states.get_or_vacancy(file.as_str(), |(known, _)| known == file);
        &mut known.unwrap_or_else(|vacancy| vacancy.fill((file.clone(), FileState::default()))).1
    }

    /// Everything that is remembered.
    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &FileState> {
        self.states.values().map(|(_, state)| state)
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, file: &FileName) {
        self.states.remove(file.as_str(), |(known, _)| known == file);
    }
}
