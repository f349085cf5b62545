//! Writing a history while a run goes on, and reading one back.
//!
//! Invariants: recording never waits for the disk (a separate thread writes); a file that `load` accepts has the
//! format of this version and is complete up to its last line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Cursor, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::Mutex;
use raft_store::types::NodeId;

use crate::history::{Event, FORMAT, Micros, Op, OpId, Record, RunInfo};

/// File name of the history inside a report directory.
pub const FILE: &str = "history.jsonl";

/// Why a history could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be used.
    #[error("cannot use the history file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not an event.
    #[error("line {line} of {path} is not an event of a history: {source}")]
    Line {
        /// Which file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// The file was written by another version.
    #[error("{path} is not a history of format {FORMAT}: its first line must be a `run` event of that format")]
    Format {
        /// Which file.
        path: String,
    },
    /// The thread that writes the file ended early.
    #[error("the history was not written completely: the writing thread panicked")]
    Writer,
}

/// Takes events from every task of a run and writes them down.
///
/// Cheap to share. A separate thread writes the file, so recording never waits for the disk. The queue is bounded
/// because the number of rounds is.
#[derive(Debug, Clone)]
pub struct Recorder {
    began: Instant,
    began_us: Micros,
    next_op: Arc<AtomicU64>,
    events: mpsc::Sender<Event>,
    written: Arc<Mutex<Vec<Event>>>,
}

/// The writing side of a [`Recorder`]; ends when every recorder is dropped.
#[derive(Debug)]
pub struct Writer {
    thread: std::thread::JoinHandle<Result<(), HistoryError>>,
    written: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// Begins a history in `directory`; its clock starts now.
    #[expect(clippy::disallowed_methods, reason = "a recorder that made clients wait would change the run")]
    pub fn create(directory: &Path, run: RunInfo) -> Result<(Self, Writer), HistoryError> {
        let path = directory.join(FILE);
        let file = File::create(&path).map_err(|source| file_error(&path, source))?;
        let (events, received) = mpsc::channel();
        let written: Arc<Mutex<Vec<Event>>> = Arc::default();
        let shared = written.clone();
        let thread = std::thread::spawn(move || write_all(&path, BufWriter::new(file), &received, &shared));
        let next_op = Arc::new(AtomicU64::new(1));
        let recorder =
            Self { began: Instant::now(), began_us: monotonic_us(), next_op, events, written: written.clone() };
        recorder.record(Record::Run(run));
        Ok((recorder, Writer { thread, written }))
    }

    /// When the run began, on the machine's monotonic clock: for processes that write a part of the history.
    pub fn began_us(&self) -> Micros {
        self.began_us
    }

    /// Now, on the run's clock.
    pub fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes down what happens now.
    pub fn record(&self, record: Record) {
        self.record_at(self.now(), record);
    }

    /// Writes down what happened at `at`.
    pub fn record_at(&self, at: Micros, record: Record) {
        // The writer outlives every recorder unless its thread panicked, which `Writer::finish` reports.
        let _ = self.events.send(Event { at, record });
    }

    /// What was written down so far, in order of time; nothing if that is more than `most` events.
    pub fn so_far(&self, most: usize) -> Option<Vec<Event>> {
        let mut events = {
            let written = self.written.lock();
            if written.len() > most {
                return None;
            }
            written.clone()
        };
        events.sort_by_key(|event| event.at);
        Some(events)
    }

    /// Writes down that an operation is about to be sent, and gives it its number.
    pub fn invoke(&self, client: &str, op: Op, key: Option<String>, to: Option<NodeId>) -> OpId {
        let id = self.next_op.fetch_add(1, Ordering::Relaxed);
        self.record(Record::Invoke { id, client: client.to_owned(), op, key, to });
        id
    }
}

/// The machine's monotonic clock, which all processes share.
pub fn monotonic_us() -> Micros {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

impl Writer {
    /// Waits for the last event and returns all of them in order of time. Every [`Recorder`] must be dropped first.
    pub fn finish(self) -> Result<Vec<Event>, HistoryError> {
        self.thread.join().map_err(|_| HistoryError::Writer)??;
        let mut events = std::mem::take(&mut *self.written.lock());
        events.sort_by_key(|event| event.at);
        Ok(events)
    }
}

fn write_all(
    path: &Path,
    mut file: BufWriter<File>,
    received: &mpsc::Receiver<Event>,
    written: &Mutex<Vec<Event>>,
) -> Result<(), HistoryError> {
    for (line, event) in received.iter().enumerate() {
        let text = serde_json::to_string(&event).map_err(|source| HistoryError::Line {
            path: path.display().to_string(),
            line: line + 1,
            source,
        })?;
        writeln!(file, "{text}").map_err(|source| file_error(path, source))?;
        written.lock().push(event);
    }
    file.flush().map_err(|source| file_error(path, source))
}

/// Opens a history, packed by gzip or not.
fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(Box::new(BufReader::new(file)));
    }
    let unpacked = Command::new("gzip").args(["-d", "-c"]).stdin(file).output()?;
    if !unpacked.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&unpacked.stderr).trim().to_owned()));
    }
    Ok(Box::new(Cursor::new(unpacked.stdout)))
}

/// Reads a history back, in order of time; one that a matrix packed, too.
pub fn load(path: &Path) -> Result<Vec<Event>, HistoryError> {
    let file = open(path).map_err(|source| file_error(path, source))?;
    let mut events = Vec::new();
    for (index, line) in file.lines().enumerate() {
        let line = line.map_err(|source| file_error(path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(&line).map_err(|source| HistoryError::Line {
            path: path.display().to_string(),
            line: index + 1,
            source,
        })?;
        events.push(event);
    }
    match events.first().map(|event| &event.record) {
        Some(Record::Run(run)) if run.format == FORMAT => {}
        _ => return Err(HistoryError::Format { path: path.display().to_string() }),
    }
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn file_error(path: &Path, source: std::io::Error) -> HistoryError {
    HistoryError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, FaultName, FaultOutcome, FaultRecord, Seen};

    fn run() -> RunInfo {
        RunInfo {
            format: FORMAT,
            scenario: "test".into(),
            seed: 7,
            nodes: 3,
            rounds: 1,
            version: "0".into(),
            ..RunInfo::default()
        }
    }

    #[test]
    fn a_history_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (recorder, writer) = Recorder::create(directory.path(), run()).expect("begins");
        let op = Op::Publish {
            peer: "p".into(),
            file: "f".into(),
            fence: Some(u64::MAX),
            version: None,
            hash: "h".into(),
            keep: true,
        };
        let id = recorder.invoke("c", op, Some("k".into()), Some(2));
        let seen = Some(Seen { node: 1, boot: "b".into(), applied: 9, index: Some(9) });
        recorder.record(Record::Ok { id, answer: Answer::Published { version: 3 }, seen });
        recorder.record(Record::Fault(FaultRecord {
            round: 1,
            fault: FaultName::Kill,
            node: Some(2),
            led: true,
            term: Some(4),
            outcome: FaultOutcome::Skipped("nobody leads".into()),
        }));
        drop(recorder);
        let written = writer.finish().expect("written");
        assert_eq!(written.len(), 4);
        let path = directory.path().join(FILE);
        assert_eq!(load(&path).expect("reads"), written);
        assert!(Command::new("gzip").arg(&path).status().expect("gzip runs").success());
        assert_eq!(load(&directory.path().join(format!("{FILE}.gz"))).expect("reads"), written);
    }

    #[test]
    fn other_files_are_refused_with_the_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("x");
        std::fs::write(&path, "{\"at\":1}\n").expect("writes");
        let error = load(&path).expect_err("no event").to_string();
        assert!(error.contains("line 1"), "{error}");
        std::fs::write(&path, "").expect("writes");
        assert!(matches!(load(&path), Err(HistoryError::Format { .. })));
    }
}
