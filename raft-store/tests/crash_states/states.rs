//! What a disk may have after the power failed at some point of a recording.
//!
//! The rules promise less than any file system in use does:
//! * What was written to a file before a successful sync of it is there. Each later write is there, or not, or in part:
//!   any subset of its 512-byte sectors. A sector has the contents after one of the writes that touched it.
//! * A name that was created, renamed or removed is certain once its directory was synced. Before that, each such
//!   change has happened or not, independently. A sync of the file says nothing about its name.
//! * A length grows with the data or ahead of it; a gap reads as zeros.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::recorder::{Inode, Op};

const SECTOR: usize = 512;

/// The fate of a change that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Lost,
    Kept,
    /// Only the first sectors; true: with the whole length.
    Prefix(usize, bool),
    /// A random half of the sectors, by this seed; true: with the whole length.
    Sectors(u64, bool),
}

/// The fate of everything that was not synced.
#[derive(Debug, Clone)]
pub struct Choice(Vec<Fate>);

/// The disk after a prefix of the recording.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    durable: HashMap<Inode, Vec<u8>>,
    names: BTreeMap<PathBuf, Inode>,
    directories: BTreeSet<PathBuf>,
    /// Operations that are not certain yet, in order.
    pending: Vec<usize>,
    /// Changes whenever a change becomes certain.
    generation: u64,
}

/// Files and directories; the paths are relative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub directories: BTreeSet<PathBuf>,
}

impl Tree {
    /// Reads a directory.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut left = vec![PathBuf::new()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(root.join(&dir))? {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    tree.directories.insert(path.clone());
                    left.push(path);
                } else {
                    tree.files.insert(path.clone(), fs::read(root.join(&path))?);
                }
            }
        }
        Ok(tree)
    }

    /// Writes it into an empty directory. Runs of zeros become holes.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        for dir in &self.directories {
            fs::create_dir(root.join(dir))?;
        }
        for (path, bytes) in &self.files {
            let file = File::create(root.join(path))?;
            file.set_len(bytes.len() as u64)?;
            for (at, page) in bytes.chunks(SECTOR * 128).enumerate() {
                if page.iter().any(|&byte| byte != 0) {
                    file.write_all_at(page, (at * SECTOR * 128) as u64)?;
                }
            }
        }
        Ok(())
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The file that an operation changes, or the directory.
enum Place<'a> {
    File(Inode),
    Directory(&'a Path),
    Nothing,
}

fn place(op: &Op) -> Place<'_> {
    match op {
        Op::Write { inode, .. } | Op::Truncate { inode, .. } => Place::File(*inode),
        Op::MakeDir(path) | Op::Create(path, _) | Op::Remove(path) | Op::Rename { to: path, .. } => {
            path.parent().map_or(Place::Nothing, Place::Directory)
        }
        Op::Sync(_) | Op::SyncDir(_) | Op::Said(_) => Place::Nothing,
    }
}

impl Disk {
    /// A disk that has these files durably. Inodes are numbered in the order of the paths.
    pub fn of(tree: &Tree) -> Self {
        let mut disk = Self { directories: tree.directories.clone(), ..Self::default() };
        for (inode, (path, bytes)) in tree.files.iter().enumerate() {
            disk.names.insert(path.clone(), inode);
            disk.durable.insert(inode, bytes.clone());
        }
        disk
    }

    /// Applies one operation.
    pub fn step(&mut self, ops: &[Op], at: usize) {
        let certain: HashSet<usize> = match &ops[at] {
            Op::Said(_) => return,
            Op::Sync(synced) => {
                let covered = |op: &Op| matches!(place(op), Place::File(inode) if inode == *synced);
                self.pending.iter().copied().filter(|&op| covered(&ops[op])).collect()
            }
            Op::SyncDir(synced) => {
                let covered = |op: &Op| matches!(place(op), Place::Directory(dir) if dir == synced);
                self.pending.iter().copied().filter(|&op| covered(&ops[op])).collect()
            }
            _ => {
                self.pending.push(at);
                return;
            }
        };
        if certain.is_empty() {
            return;
        }
        self.generation += 1;
        for &op in self.pending.iter().filter(|op| certain.contains(op)) {
            match &ops[op] {
                Op::Write { inode, offset, bytes } => {
                    overwrite(self.durable.entry(*inode).or_default(), *offset, bytes);
                }
                Op::Truncate { inode, bytes } => {
                    self.durable.entry(*inode).or_default().resize(usize::try_from(*bytes).expect("a length"), 0);
                }
                other => rename_in(&mut self.names, &mut self.directories, other),
            }
        }
        self.pending.retain(|op| !certain.contains(op));
    }

    /// The tree, given the fate of each uncertain change.
    pub fn tree(&self, ops: &[Op], Choice(fates): &Choice) -> Tree {
        let mut names = self.names.clone();
        let mut directories = self.directories.clone();
        let mut files: HashMap<Inode, (Vec<u8>, Vec<u8>)> = HashMap::new();
        for (&op, &fate) in self.pending.iter().zip(fates) {
            match &ops[op] {
                Op::Write { inode, .. } | Op::Truncate { inode, .. } => {
                    let (seen, kept) = files.entry(*inode).or_insert_with(|| {
                        let durable = self.durable.get(inode).cloned().unwrap_or_default();
                        (durable.clone(), durable)
                    });
                    change(seen, kept, &ops[op], fate);
                }
                other if fate != Fate::Lost => rename_in(&mut names, &mut directories, other),
                _ => {}
            }
        }
        directories.retain({
            let all = directories.clone();
            move |path| path.ancestors().skip(1).all(|up| up.as_os_str().is_empty() || all.contains(up))
        });
        let reachable = |path: &PathBuf| parent(path).as_os_str().is_empty() || directories.contains(&parent(path));
        let content = |inode| {
            let changed = files.get(&inode).map(|(_, kept)| kept);
            changed.or_else(|| self.durable.get(&inode)).cloned().unwrap_or_default()
        };
        let files =
            names.into_iter().filter(|(path, _)| reachable(path)).map(|(path, inode)| (path, content(inode))).collect();
        Tree { files, directories }
    }

    /// The tree if nothing is lost.
    pub fn everything(&self, ops: &[Op]) -> Tree {
        self.tree(ops, &Choice(vec![Fate::Kept; self.pending.len()]))
    }
}

fn overwrite(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).expect("an offset");
    if file.len() < start + bytes.len() {
        file.resize(start + bytes.len(), 0);
    }
    file[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Makes a change in `seen`, which the process sees, and as much of it as survives in `kept`, which is on the disk.
fn change(seen: &mut Vec<u8>, kept: &mut Vec<u8>, op: &Op, fate: Fate) {
    match op {
        Op::Truncate { bytes, .. } => {
            let bytes = usize::try_from(*bytes).expect("a length");
            seen.resize(bytes, 0);
            if fate != Fate::Lost {
                kept.resize(bytes, 0);
            }
        }
        Op::Write { offset, bytes, .. } => {
            overwrite(seen, *offset, bytes);
            let first = usize::try_from(*offset).expect("an offset") / SECTOR;
            let end = (usize::try_from(*offset).expect("an offset") + bytes.len()).div_ceil(SECTOR);
            let mut rng = StdRng::seed_from_u64(if let Fate::Sectors(seed, _) = fate { seed } else { 0 });
            for sector in first..end {
                let survives = match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Prefix(sectors, _) => sector < first + sectors,
                    Fate::Sectors(..) => rng.random(),
                };
                if survives {
                    let range = sector * SECTOR..((sector + 1) * SECTOR).min(seen.len());
                    overwrite(kept, range.start as u64, &seen[range]);
                }
            }
            if matches!(fate, Fate::Prefix(_, true) | Fate::Sectors(_, true)) && kept.len() < seen.len() {
                kept.resize(seen.len(), 0);
            }
        }
        _ => {}
    }
}

fn rename_in(names: &mut BTreeMap<PathBuf, Inode>, directories: &mut BTreeSet<PathBuf>, op: &Op) {
    match op {
        Op::MakeDir(path) => drop(directories.insert(path.clone())),
        Op::Create(path, inode) => drop(names.insert(path.clone(), *inode)),
        Op::Remove(path) => drop(names.remove(path)),
        Op::Rename { from, to } => {
            // If the creation of `from` was lost, there is nothing to rename.
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        _ => {}
    }
}

/// Chooses the states to check, each once.
pub struct Chooser {
    rng: StdRng,
    seen: HashSet<u64>,
}

impl Chooser {
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), seen: HashSet::new() }
    }

    /// States of the current disk that were not chosen yet, among them `subsets` pairs of random ones. `promised`
    /// changes with every line of the writer: the same disk is checked again when more was promised.
    pub fn choices(&mut self, disk: &Disk, ops: &[Op], promised: usize, subsets: usize) -> Vec<Choice> {
        let pending = disk.pending.len();
        let mut choices = vec![vec![Fate::Lost; pending], vec![Fate::Kept; pending]];
        let is_name = |op: &usize| matches!(place(&ops[*op]), Place::Directory(_));
        for names_survive in [true, false] {
            let fate = |op| if is_name(op) == names_survive { Fate::Kept } else { Fate::Lost };
            choices.push(disk.pending.iter().map(fate).collect());
        }
        for _ in 0..subsets {
            choices.push(disk.pending.iter().map(|&op| self.fate(&ops[op])).collect());
            // Everything, but the last change is torn.
            let mut torn = vec![Fate::Kept; pending];
            if let (Some(last), Some(&op)) = (torn.last_mut(), disk.pending.last()) {
                *last = self.fate(&ops[op]);
            }
            choices.push(torn);
        }
        choices.retain(|fates| {
            let mut hasher = DefaultHasher::new();
            let changed: Vec<_> = disk.pending.iter().zip(fates).filter(|(_, fate)| **fate != Fate::Lost).collect();
            (disk.generation, promised, changed).hash(&mut hasher);
            self.seen.insert(hasher.finish())
        });
        choices.into_iter().map(Choice).collect()
    }

    fn fate(&mut self, op: &Op) -> Fate {
        let sectors = if let Op::Write { bytes, .. } = op { bytes.len().div_ceil(SECTOR) } else { 0 };
        match self.rng.random_range(0..4) {
            0 => Fate::Lost,
            1 if sectors > 1 => Fate::Prefix(self.rng.random_range(1..sectors), self.rng.random()),
            2 if sectors > 0 => Fate::Sectors(self.rng.random(), self.rng.random()),
            _ => Fate::Kept,
        }
    }
}
