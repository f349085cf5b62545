//! The files of a simulated disk: what a file system may do to files and names when the power fails.
//!
//! Invariants
//! * A synced file keeps its bytes. An unsynced one may keep its old bytes, some of the new ones, or all of them.
//! * Names change in order: after a crash, a prefix of the changes since the last directory sync has survived.
//! * A crash may cut work at any of its steps, although the simulation runs the work in one go: steps are settled only
//!   when the work has ended.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::Path;

use super::directory::{Directory, Fill};
use super::sim::SimDisk;

/// Draws a number below the given bound. The only source of chance in this module.
pub type Choose<'a> = &'a mut dyn FnMut(u64) -> u64;

type Bytes = std::sync::Arc<[u8]>;

#[derive(Debug, Clone)]
enum Step {
    Write(String, Bytes),
    SyncFile(String),
    Rename(String, String),
    Remove(String),
    SyncNames,
}

#[derive(Debug, Clone)]
struct Inode {
    durable: Bytes,
    current: Bytes,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, usize),
    Remove(String),
}

/// Names and files: as they are, and as they would be after a crash.
#[derive(Debug, Clone, Default)]
struct Tree {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced: Vec<NameChange>,
}

impl Tree {
    fn change(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write(name, bytes) => match self.names.get(name).copied() {
                Some(inode) => {
                    if let Some(inode) = self.inodes.get_mut(inode) {
                        inode.current = bytes.clone();
                    }
                }
                None => {
                    self.inodes.push(Inode { durable: Bytes::from([]), current: bytes.clone() });
                    self.change(NameChange::Set(name.clone(), self.inodes.len() - 1));
                }
            },
            Step::SyncFile(name) => {
                let inode = self.names.get(name).and_then(|&inode| self.inodes.get_mut(inode));
                if let Some(inode) = inode {
                    inode.durable = inode.current.clone();
                }
            }
            Step::Rename(from, to) => {
                if let Some(inode) = self.names.get(from).copied() {
                    // A rename is one change of the directory: after a crash there may be both names, but never none.
                    self.change(NameChange::Set(to.clone(), inode));
                    self.change(NameChange::Remove(from.clone()));
                }
            }
            Step::Remove(name) => self.change(NameChange::Remove(name.clone())),
            Step::SyncNames => {
                self.durable_names = self.names.clone();
                self.unsynced.clear();
            }
        }
    }

    fn bytes(&self, name: &str) -> io::Result<Bytes> {
        let inode = self.names.get(name).and_then(|&inode| self.inodes.get(inode));
        inode.map(|inode| inode.current.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The files after a crash.
    fn crashed(mut self, choose: Choose<'_>) -> Self {
        let kept = choose(self.unsynced.len() as u64 + 1) as usize;
        let mut names = std::mem::take(&mut self.durable_names);
        for change in self.unsynced.iter().take(kept) {
            apply_name(&mut names, change);
        }
        let mut found = Self::default();
        for (name, inode) in names {
            let Some(inode) = self.inodes.get(inode) else { continue };
            let bytes = if inode.durable == inode.current { inode.durable.clone() } else { torn(inode, choose) };
            found.inodes.push(Inode { durable: bytes.clone(), current: bytes });
            found.names.insert(name.clone(), found.inodes.len() - 1);
            found.durable_names.insert(name, found.inodes.len() - 1);
        }
        found
    }
}

fn torn(inode: &Inode, choose: Choose<'_>) -> Bytes {
    match choose(4) {
        0 => inode.durable.clone(),
        1 => inode.current.clone(),
        2 => inode.current.iter().copied().take(choose(inode.current.len() as u64 + 1) as usize).collect(),
        // The file has its length but not all of its bytes.
        _ => {
            let from = choose(inode.current.len() as u64 + 1) as usize;
            inode.current.iter().enumerate().map(|(at, &byte)| if at < from { byte } else { 0 }).collect()
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => names.insert(name.clone(), *inode),
        NameChange::Remove(name) => names.remove(name),
    };
}

/// The files of a disk.
#[derive(Debug, Clone, Default)]
pub(super) struct SimFiles {
    settled: Tree,
    /// Steps since then, whose work may not have ended.
    steps: Vec<Step>,
    now: Tree,
}

impl SimFiles {
    fn step(&mut self, step: Step) {
        self.now.apply(&step);
        self.steps.push(step);
    }

    /// Notes that all work so far has ended.
    pub(super) fn settle(&mut self) {
        if !self.steps.is_empty() {
            self.settled = self.now.clone();
            self.steps.clear();
        }
    }

    /// Cuts the power at any step of the current work.
    pub(super) fn crash(&mut self, choose: Choose<'_>) {
        let cut = choose(self.steps.len() as u64 + 1) as usize;
        let mut tree = std::mem::take(&mut self.settled);
        for step in self.steps.iter().take(cut) {
            tree.apply(step);
        }
        self.now = tree.crashed(choose);
        self.settled = self.now.clone();
        self.steps.clear();
    }
}

/// One process's view of the files.
#[derive(Debug)]
pub(super) struct SimDirectory {
    disk: SimDisk,
    epoch: u64,
}

impl SimDirectory {
    pub(super) fn new(disk: SimDisk, epoch: u64) -> Self {
        Self { disk, epoch }
    }

    fn with<T>(&self, work: impl FnOnce(&mut SimFiles) -> io::Result<T>) -> io::Result<T> {
        self.disk.with_files(self.epoch, work)
    }

    fn step(&self, step: Step) -> io::Result<()> {
        self.with(|files| {
            files.step(step);
            Ok(())
        })
    }
}

impl Directory for SimDirectory {
    fn names(&self) -> io::Result<Vec<String>> {
        self.with(|files| Ok(files.now.names.keys().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.with(|files| Ok(files.now.bytes(name)?.to_vec()))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.with(|files| Ok(files.now.bytes(name)?.len() as u64))
    }

    /// Writes everything at once: a crash in the middle may leave any prefix of the bytes anyway.
    fn create(&self, name: &str, fill: Fill<'_>) -> io::Result<()> {
        let mut bytes = Cursor::new(Vec::new());
        let filled = fill(&mut bytes);
        self.step(Step::Write(name.to_owned(), bytes.into_inner().into()))?;
        filled?;
        self.step(Step::SyncFile(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(Step::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(Step::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.step(Step::SyncNames)
    }

    fn path(&self) -> &Path {
        Path::new("the simulated disk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishes a file as snapshots are: written aside, renamed, names synced.
    fn publish(dir: &dyn Directory, name: &str, bytes: &[u8]) {
        dir.create("aside", &|file| file.write_all(bytes)).expect("creates");
        dir.rename("aside", name).expect("renames");
        dir.sync_names().expect("syncs");
    }

    fn choices(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        }
    }

    #[test]
    fn what_was_published_survives_and_what_was_under_way_is_old_or_new() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::default();
            publish(&disk.files(), "one", b"first");
            disk.settle_files();
            publish(&disk.files(), "one", b"second");
            disk.crash_by_chance(&mut choices(seed));
            let found = disk.files().read("one").expect("the name survives");
            assert!(found == b"first" || found == b"second", "{found:?}");
            outcomes.insert(found);
        }
        assert_eq!(outcomes.len(), 2, "the work under way was cut at different steps");
    }

    #[test]
    fn bytes_without_a_sync_may_be_torn() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::default();
            let dir = SimDirectory::new(disk.clone(), 0);
            dir.step(Step::Write("x".into(), Bytes::from(*b"0123456789"))).expect("writes");
            dir.sync_names().expect("syncs");
            disk.settle_files();
            disk.crash_by_chance(&mut choices(seed));
            lengths.insert(disk.files().length("x").expect("its name was synced"));
        }
        assert!(lengths.contains(&0) && lengths.contains(&10) && lengths.len() > 4, "{lengths:?}");
    }
}
