//! The table of known files: a journal on disk to which several processes append, and its copy in memory.
//!
//! `serve` and one-shot commands use the folder at the same time. So every change is one JSON line, which is appended
//! under a file lock and flushed. A process that sees the journal grow reads only the new lines. A line is a whole
//! record, so the last line of a name wins.
//!
//! Invariants: the highest version and fencing token of a name never decrease, even when its bytes are gone (L8). A
//! last line that a crash left incomplete is ignored, and the next writer cuts it off.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use raft_store::types::{ContentHash, FencingToken, FileName, Version};
use serde::{Deserialize, Serialize};

use super::error::FolderError;
use crate::files::{self, Stamp};

/// The journal is rewritten when it has this many lines for each record.
const COMPACT_FACTOR: usize = 4;
/// The journal is not rewritten below this many lines.
const COMPACT_LINES_MIN: usize = 4_096;

/// This peer's copy of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The version.
    pub version: Version,
    /// Its hash.
    pub hash: ContentHash,
    /// The file's stamp when it was hashed.
    pub stamp: Stamp,
    /// The fencing token that the version was published under, if known.
    #[serde(default)]
    pub fence: FencingToken,
}

/// What the peer knows about one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name.
    pub name: FileName,
    /// The copy that the index knows this peer to hold.
    #[serde(default)]
    pub held: Option<Copy>,
    /// A copy in place that the index has not accepted yet, also after a crash between the two.
    #[serde(default)]
    pub pending: Option<Copy>,
    /// Whether the pending bytes are the user's own (a running publication) and not fetched from a holder.
    #[serde(default)]
    pub pending_own: bool,
    /// The highest version that this peer has held or removed.
    #[serde(default)]
    pub version: Version,
    /// The highest fencing token that this peer has seen for the name (L8).
    #[serde(default)]
    pub fence: FencingToken,
}

impl Record {
    /// The record of an unknown name.
    pub fn new(name: FileName) -> Self {
        Self { name, held: None, pending: None, pending_own: false, version: 0, fence: 0 }
    }

    /// Records that the index accepted `copy`: this peer is now a holder.
    ///
    /// Responses may arrive out of order, so an older copy never displaces a newer one.
    pub fn hold(&mut self, copy: Copy) {
        self.saw(copy.version, copy.fence);
        if self.held.is_none_or(|held| held.version <= copy.version) {
            self.held = Some(copy);
        }
        if self.pending.is_some_and(|pending| pending.version <= copy.version) {
            self.no_longer_pending();
        }
    }

    /// Whether a newer version than `version` is in place or being put in place, so that announcing it would be too
    /// late.
    pub fn is_overtaken(&self, version: Version) -> bool {
        let newer = |copy: &Copy| copy.version > version;
        version > 0 && (self.held.as_ref().is_some_and(newer) || self.pending.as_ref().is_some_and(newer))
    }

    /// Clears the pending copy.
    pub fn no_longer_pending(&mut self) {
        (self.pending, self.pending_own) = (None, false);
    }

    /// Records a version and a token; neither ever decreases.
    pub fn saw(&mut self, version: Version, fence: FencingToken) {
        self.version = self.version.max(version);
        self.fence = self.fence.max(fence);
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u64,
}

/// The position in the journal up to which the memory copy is current.
struct Position {
    inode: u64,
    offset: u64,
    lines: usize,
}

/// The table.
pub struct Table {
    path: PathBuf,
    lock_path: PathBuf,
    /// Serialises file access within this process, and is meant to be held during I/O. The file lock does the same
    /// between processes.
    position: Mutex<Position>,
    records: RwLock<BTreeMap<FileName, Record>>,
}

impl Table {
    /// Opens or creates the journal in the state folder. Blocking.
    ///
    /// # Errors
    /// I/O errors, or an unknown format; the file is then left as it is.
    pub fn open(state: &Path) -> Result<Self, FolderError> {
        let table = Self {
            path: state.join("files.jsonl"),
            lock_path: state.join("lock"),
            position: Mutex::new(Position { inode: 0, offset: 0, lines: 0 }),
            records: RwLock::new(BTreeMap::new()),
        };
        let mut position = table.position.lock();
        let _guard = table.lock()?;
        if !table.path.exists() {
            let header = serde_json::to_string(&Header { format: super::identity::FORMAT }).expect("plain data") + "\n";
            files::write_atomic(&table.path, header.as_bytes())
                .map_err(|error| FolderError::io("create", &table.path, error))?;
        }
        table.catch_up(&mut position)?;
        drop(position);
        Ok(table)
    }

    fn lock(&self) -> Result<File, FolderError> {
        let failed = |error| FolderError::io("lock", &self.lock_path, error);
        let options = File::options().write(true).create(true).truncate(false).mode(0o600).open(&self.lock_path);
        let file = options.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// Reads what other processes have appended; one `stat` call if there is nothing. Blocking.
    pub fn refresh(&self) -> Result<(), FolderError> {
        self.catch_up(&mut self.position.lock())
    }

    fn catch_up(&self, position: &mut Position) -> Result<(), FolderError> {
        let failed = |error| FolderError::io("read", &self.path, error);
        let metadata = fs::metadata(&self.path).map_err(failed)?;
        if metadata.ino() == position.inode && metadata.len() == position.offset {
            return Ok(());
        }
        let mut file = File::open(&self.path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        if inode != position.inode {
            *position = Position { inode, offset: 0, lines: 0 }; // rewritten: read it from the start
        }
        file.seek(SeekFrom::Start(position.offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in bytes[..complete].split_inclusive(|byte| *byte == b'\n') {
            self.take_line(line, position)?;
            position.offset += line.len() as u64;
            position.lines += 1;
        }
        Ok(())
    }

    fn take_line(&self, line: &[u8], position: &Position) -> Result<(), FolderError> {
        if position.offset == 0 {
            let header: Header = serde_json::from_slice(line)
                .map_err(|error| FolderError::Damaged { path: self.path.clone(), detail: error.to_string() })?;
            if header.format != super::identity::FORMAT {
                let (found, known) = (header.format, super::identity::FORMAT);
                return Err(FolderError::Format { path: self.path.clone(), found, known });
            }
            return Ok(());
        }
        match serde_json::from_slice::<Record>(line) {
            Ok(record) => {
                self.records.write().insert(record.name.clone(), record);
            }
            // A lost record only means that its file is hashed again. A refusal would make the whole folder unusable.
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "skipped a damaged line of the table"),
        }
        Ok(())
    }

    /// The record of a name, as of the last refresh.
    pub fn get(&self, name: &FileName) -> Option<Record> {
        self.records.read().get(name).cloned()
    }

    /// All records in name order, as of the last refresh.
    pub fn records(&self) -> Vec<Record> {
        self.records.read().values().cloned().collect()
    }

    /// Changes one record durably. Blocking.
    pub fn update(&self, name: &FileName, change: impl FnOnce(&mut Record)) -> Result<Record, FolderError> {
        let mut change = Some(change);
        let changed = self.update_many(std::slice::from_ref(name), |record| {
            if let Some(change) = change.take() {
                change(record);
            }
        })?;
        Ok(changed.into_iter().next().unwrap_or_else(|| Record::new(name.clone())))
    }

    /// Changes several records with one flush. `change` sees each record with the changes of all other processes.
    pub fn update_many(
        &self,
        names: &[FileName],
        mut change: impl FnMut(&mut Record),
    ) -> Result<Vec<Record>, FolderError> {
        let mut position = self.position.lock();
        let _guard = self.lock()?;
        self.catch_up(&mut position)?;
        let mut changed = Vec::with_capacity(names.len());
        let mut lines = Vec::new();
        for name in names {
            let before = self.get(name);
            let mut record = before.clone().unwrap_or_else(|| Record::new(name.clone()));
            change(&mut record);
            if before.as_ref() != Some(&record) {
                serde_json::to_writer(&mut lines, &record).expect("a record is plain data");
                lines.push(b'\n');
                position.lines += 1;
            }
            changed.push(record);
        }
        if lines.is_empty() {
            return Ok(changed);
        }
        self.append(&lines, &mut position)?;
        self.records.write().extend(changed.iter().map(|record| (record.name.clone(), record.clone())));
        self.compact_if_worth_it(&mut position)?;
        Ok(changed)
    }

    fn append(&self, lines: &[u8], position: &mut Position) -> Result<(), FolderError> {
        let failed = |error| FolderError::io("write", &self.path, error);
        let mut file = File::options().write(true).open(&self.path).map_err(failed)?;
        // Cuts off a line that a crashed writer left incomplete; no other process writes while we hold the lock.
        file.set_len(position.offset).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.write_all(lines).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        position.offset += lines.len() as u64;
        Ok(())
    }

    fn compact_if_worth_it(&self, position: &mut Position) -> Result<(), FolderError> {
        let records = self.records.read().len();
        if position.lines < COMPACT_LINES_MIN || position.lines < records.saturating_mul(COMPACT_FACTOR) {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(&Header { format: super::identity::FORMAT }).expect("plain data");
        bytes.push(b'\n');
        for record in self.records.read().values() {
            serde_json::to_writer(&mut bytes, record).expect("a record is plain data");
            bytes.push(b'\n');
        }
        let failed = |error| FolderError::io("write", &self.path, error);
        files::write_atomic(&self.path, &bytes).map_err(failed)?;
        let inode = fs::metadata(&self.path).map_err(failed)?.ino();
        *position = Position { inode, offset: bytes.len() as u64, lines: records + 1 };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::parse(text).expect("valid name")
    }

    fn copy(version: Version, fence: FencingToken) -> Copy {
        let stamp = Stamp { size: 1, mtime_ns: 2, inode: 3 };
        Copy { version, hash: ContentHash([version as u8; 32]), stamp, fence }
    }

    #[test]
    fn two_openers_see_each_others_changes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let serve = Table::open(dir.path()).expect("open");
        let one_shot = Table::open(dir.path()).expect("open again");
        one_shot.update(&name("a"), |record| record.hold(copy(1, 7))).expect("update");
        assert_eq!(serve.get(&name("a")), None);
        serve.refresh().expect("refresh");
        assert_eq!(serve.get(&name("a")).and_then(|record| record.held), Some(copy(1, 7)));
        serve.update(&name("a"), |record| record.hold(copy(2, 5))).expect("update");
        one_shot.update(&name("b"), |record| record.hold(copy(1, 0))).expect("update");
        let seen = one_shot.get(&name("a")).expect("known");
        assert_eq!((seen.version, seen.fence), (2, 7), "the highest token stays (L8)");
    }

    #[test]
    fn a_late_acceptance_displaces_nothing_newer() {
        let mut record = Record::new(name("a"));
        record.pending = Some(copy(3, 0));
        record.hold(copy(2, 0));
        assert_eq!((record.held, record.pending), (Some(copy(2, 0)), Some(copy(3, 0))));
        record.hold(copy(3, 0));
        record.hold(copy(2, 0));
        assert_eq!((record.held, record.pending), (Some(copy(3, 0)), None));
    }

    #[test]
    fn a_version_is_overtaken_by_a_newer_one_that_is_held_or_being_put_in_place() {
        let mut record = Record::new(name("a"));
        assert!(!record.is_overtaken(1));
        record.hold(copy(2, 0));
        assert!(record.is_overtaken(1) && !record.is_overtaken(2));
        record.pending = Some(copy(3, 0));
        assert!(record.is_overtaken(2) && !record.is_overtaken(3));
        assert!(!record.is_overtaken(0), "bytes whose version is not known are announced (F6)");
    }

    #[test]
    fn a_half_written_line_is_ignored_and_cut_off() {
        let dir = tempfile::tempdir().expect("temp dir");
        let table = Table::open(dir.path()).expect("open");
        table.update(&name("a"), |record| record.hold(copy(1, 0))).expect("update");
        let path = dir.path().join("files.jsonl");
        let mut file = File::options().append(true).open(&path).expect("open");
        file.write_all(b"{\"name\":\"b\",\"vers").expect("write");
        let reopened = Table::open(dir.path()).expect("a torn line does not matter");
        assert_eq!(reopened.records().len(), 1);
        reopened.update(&name("c"), |record| record.hold(copy(1, 0))).expect("update");
        assert_eq!(Table::open(dir.path()).expect("open").records().len(), 2);
    }

    #[test]
    fn the_journal_is_rewritten_before_it_grows_without_bound() {
        let dir = tempfile::tempdir().expect("temp dir");
        let table = Table::open(dir.path()).expect("open");
        let other = Table::open(dir.path()).expect("open");
        let names: Vec<_> = (0..64).map(|n| name(&format!("f{n}"))).collect();
        for version in 1..=70 {
            table.update_many(&names, |record| record.hold(copy(version, 0))).expect("update");
        }
        let lines = fs::read_to_string(dir.path().join("files.jsonl")).expect("readable").lines().count();
        assert!(lines < COMPACT_LINES_MIN, "{lines} lines");
        other.refresh().expect("a rewritten journal is read from its start");
        assert_eq!(other.records(), table.records());
    }

    #[test]
    fn an_unknown_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("files.jsonl"), "{\"format\":9}\n").expect("write");
        let error = Table::open(dir.path()).err().expect("format 9 is unknown");
        assert!(matches!(error, FolderError::Format { found: 9, .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("files.jsonl")).expect("readable"), "{\"format\":9}\n");
    }
}
