//! Opening a log: reads and checks every record, finishes an interrupted purge, and finds the bounds.
//!
//! Invariant: a log that opens has an intact entry at every index from the purge point to its end, and terms never
//! fall. Anything else is an error for the operator; nothing is repaired by guessing.

use std::io;

use openraft::entry::RaftEntry;
use serde::de::DeserializeOwned;

use super::device::{LogDevice, MetaKey};
use super::error::StorageError;
use super::flusher::{PURGE_STEP_RECORDS, delete_records};
use super::mark::Marked;
use super::tail::LogMemory;
use super::{Entry, LogId, codec};

/// Records checked at a time.
const SCAN_STEP: usize = 1_024;

/// Reads and checks the whole log, and compares it with what it is known to have held.
pub(crate) fn recover(device: &dyn LogDevice, marked: Option<&Marked>) -> Result<LogMemory, StorageError> {
    let purged: Option<LogId> = read_meta(device, MetaKey::Purged)?;
    if let Some(purged) = purged {
        while delete_records(device, purged.index).map_err(read_error)? == PURGE_STEP_RECORDS {}
        device.sync().map_err(read_error)?;
    }
    let first = purged.map_or(0, |purged| purged.index + 1);
    let mut memory = LogMemory::new(first, purged, purged);
    let mut next = first;
    let mut at_mark = None;
    loop {
        let indexes = device.indexes(next..u64::MAX, SCAN_STEP).map_err(read_error)?;
        let Some(&end) = indexes.last() else { break };
        for (index, record) in device.records(next..end + 1).map_err(read_error)? {
            if index != next {
                return Err(StorageError::damaged(
                    "the log",
                    format!("entry {next} is missing, entry {index} is there"),
                ));
            }
            let entry = decode_entry(index, &record)?;
            if memory.last.is_some_and(|last| last.leader_id > entry.log_id().leader_id) {
                return Err(StorageError::damaged("the log", format!("the term falls at entry {index}")));
            }
            if marked.and_then(|marked| marked.last).is_some_and(|last| last.index == index) {
                at_mark = Some(entry.log_id());
            }
            memory.push(entry, record.len());
            next = index + 1;
            memory.set_on_device(next);
        }
    }
    memory.vote = read_meta(device, MetaKey::Vote)?;
    if let Some(marked) = marked {
        marked.check(&memory, at_mark)?;
    }
    let committed: Option<Option<LogId>> = read_meta(device, MetaKey::Committed)?;
    // A leader may have known an entry as committed before its own disk had it. Only what is here can be applied.
    memory.committed = committed.flatten().min(memory.last);
    Ok(memory)
}

/// Reads a named record.
pub(crate) fn read_meta<T: DeserializeOwned>(device: &dyn LogDevice, key: MetaKey) -> Result<Option<T>, StorageError> {
    let bytes = device.meta(key).map_err(read_error)?;
    bytes.map(|bytes| codec::decode(&bytes, || format!("the log's record '{}'", key.name()))).transpose()
}

/// Decodes a log record and checks that it belongs to this index.
pub(crate) fn decode_entry(index: u64, record: &[u8]) -> Result<Entry, StorageError> {
    let name = || format!("log entry {index}");
    let entry: Entry = codec::decode(record, name)?;
    if entry.log_id().index != index {
        return Err(StorageError::damaged(
            name(),
            format!("it is entry {} in the place of another", entry.log_id().index),
        ));
    }
    Ok(entry)
}

fn read_error(source: io::Error) -> StorageError {
    StorageError::io("read", "the log", source)
}
