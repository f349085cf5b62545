//! `<data>/MARK`: a small file beside the log that says how far the log has been acknowledged.
//!
//! sled takes damage in its file for the torn end of its last write, and silently returns to an earlier state. The mark
//! distinguishes a log that has lost its end or its vote from one that never had it.
//!
//! Invariant: the mark never says more than the log has. It is raised after the log's sync, and lowered durably before
//! a truncation. After loss of power it may say less, because it is synced only with votes and now and then. A killed
//! process leaves it exact. Two slots are written in turn, so that one of them is always intact.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StorageError;
use super::tail::LogMemory;
use super::{LogId, Vote, codec, durable};

/// The distance between the two slots in bytes: a torn write damages only one of them.
const SLOT_BYTES: u64 = 4_096;
/// The mark is synced after this many flushes of the log.
const SYNC_EVERY: u32 = 64;

/// What the log is known to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub(crate) sequence: u64,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) vote: Option<Vote>,
}

impl Marked {
    /// The mark of a log in this state.
    pub(crate) fn of(memory: &LogMemory) -> Self {
        Self { sequence: 0, last: memory.last, purged: memory.purged, vote: memory.vote }
    }

    /// Compares the mark with what was found in the log. `found_last` is the entry at the index of the mark's last.
    pub(crate) fn check(&self, found: &LogMemory, found_last: Option<LogId>) -> Result<(), StorageError> {
        let lost = |what: String| Err(StorageError::damaged("the log", format!("it has lost its newest part: {what}")));
        let vote_is_there = found.vote >= self.vote;
        if !vote_is_there {
            return lost("this node has voted, and the vote is missing".to_owned());
        }
        let purged = found.purged.map(|purged| purged.index);
        if purged < self.purged.map(|purged| purged.index) {
            return lost("the purge point has moved back".to_owned());
        }
        let Some(last) = self.last else { return Ok(()) };
        if purged.is_some_and(|purged| purged >= last.index) {
            return Ok(());
        }
        match found_last {
            Some(log_id) if log_id == last => Ok(()),
            Some(other) => lost(format!("entry {} was {last}, and is {other}", last.index)),
            None => lost(format!("entry {} was acknowledged and is missing", last.index)),
        }
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    path: PathBuf,
    file: File,
    current: Marked,
    since_sync: u32,
}

impl MarkFile {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(|source| StorageError::io("open", path, source))?;
        path.parent().map_or(Ok(()), durable::sync_directory)?;
        let mut current = Marked::default();
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT_BYTES as usize];
            let read = read_fully(&file, &mut bytes, slot * SLOT_BYTES);
            let read = read.map_err(|source| StorageError::io("read", path, source))?;
            let Some((length, rest)) = bytes.get(..read).and_then(|bytes| bytes.split_first_chunk::<2>()) else {
                continue;
            };
            let Some(record) = rest.get(..usize::from(u16::from_le_bytes(*length))) else { continue };
            // An empty or a torn slot: the other one counts.
            if let Ok(marked) = codec::decode::<Marked>(record, || path.display().to_string())
                && marked.sequence > current.sequence
            {
                current = marked;
            }
        }
        Ok(Self { path: path.to_path_buf(), file, current, since_sync: 0 })
    }

    /// What the file says.
    pub(crate) fn current(&self) -> &Marked {
        &self.current
    }

    /// Writes a new mark. `durable` makes it survive loss of power before this returns.
    pub(crate) fn write(&mut self, marked: Marked, durable: bool) -> io::Result<()> {
        let unchanged = Marked { sequence: self.current.sequence, ..marked } == self.current;
        if unchanged && !durable {
            return Ok(());
        }
        self.current = Marked { sequence: self.current.sequence + 1, ..marked };
        let record = codec::encode(&self.current).map_err(io::Error::other)?;
        let length = u16::try_from(record.len()).map_err(io::Error::other)?;
        let slot = [&length.to_le_bytes()[..], &record].concat();
        self.file.write_all_at(&slot, self.current.sequence % 2 * SLOT_BYTES)?;
        self.since_sync += 1;
        if durable || self.since_sync >= SYNC_EVERY {
            self.file.sync_data()?;
            self.since_sync = 0;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read_fully(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..)
        && !rest.is_empty()
    {
        match file.read_at(rest, offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
