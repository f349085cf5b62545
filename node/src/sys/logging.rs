//! The program's log: lines for the standard error, written by a thread of its own.
//!
//! Invariant: logging never stops or slows a node (N4). A caller puts its line into a bounded queue and goes on. A line
//! is dropped and counted if the queue is full or it cannot be written. Nothing here panics if the standard error is a
//! full disk, a pipe without a reader, a pipe that nobody empties, or closed.
//!
//! Only the programs' `main` starts it. A simulated node logs to whatever its process has set up.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::sys::clock;

/// Lines that may wait for the standard error; the next one is dropped.
const QUEUE_LINES_MAX: usize = 4_096;
/// Bytes of one line; the rest of a longer one is cut off.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How long the end of the process waits for the last lines to be written.
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);

/// Lines dropped since the start of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that were dropped, because the queue was full or the standard error could not be written.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

enum Message {
    Line(Vec<u8>),
    /// Answered once everything before it was written.
    Flush(SyncSender<()>),
}

/// Puts lines into the queue. Cheap to clone; a write takes no lock that the writing thread holds.
#[derive(Clone)]
struct LineQueue(SyncSender<Message>);

impl LineQueue {
    fn push(&self, line: &[u8]) {
        let mut line = line.to_vec();
        if line.len() > LINE_BYTES_MAX {
            line.truncate(LINE_BYTES_MAX);
            line.extend_from_slice(b" ...\n");
        }
        if self.0.try_send(Message::Line(line)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was queued is written, but no longer than `within`.
    #[expect(clippy::disallowed_methods, reason = "the process ends; nothing else is left to run")]
    fn flush(&self, within: Duration) {
        let (done, written) = sync_channel(1);
        let started = clock::now();
        let mut message = Message::Flush(done);
        loop {
            match self.0.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) if started.elapsed() < within => message = again,
                Err(_) => return,
            }
            std::thread::sleep(within / 50);
        }
        match written.recv_timeout(within.saturating_sub(started.elapsed())) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// One line on its way into the queue; the subscriber writes each with a single call.
struct Line(LineQueue);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineQueue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone())
    }
}

/// The running log. When it is dropped, the last lines are written, as far as the standard error takes them in time.
pub struct Logging {
    queue: LineQueue,
}

impl Logging {
    /// Starts the log of this process: what `RAFTSHARE_LOG` lets through, else what `default_filter` does.
    #[expect(clippy::disallowed_methods, reason = "NO_COLOR is a convention of terminals")]
    pub fn start(default_filter: &str, format: LogFormat) -> Self {
        let filter = EnvFilter::try_from_env(client::terminal::variables::LOG)
            .unwrap_or_else(|_| EnvFilter::new(default_filter));
        let (sender, receiver) = sync_channel(QUEUE_LINES_MAX);
        // Without a thread the receiver is dropped, and so is every line.
        let spawned = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&receiver, format, io::stderr));
        let queue = LineQueue(sender);
        if spawned.is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(queue.clone())
            .with_target(false)
            .log_internal_errors(false);
        // A second start within one process keeps the first one's settings.
        let _ = match format {
            LogFormat::Text => builder.with_ansi(colours).try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
        };
        log_panics();
        Self { queue }
    }

    /// A line for people beside the log, for example why the process ends.
    pub fn say(&self, line: &str) {
        self.queue.push(format!("{line}\n").as_bytes());
    }

    /// Waits, for a moment at most, until everything logged so far is written.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_DEADLINE);
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A panic is a line of the log like any other: the standard hook would write to the standard
/// error itself, and wait for it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => {
                let backtrace = backtrace.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" | ");
                tracing::error!(place, thread = thread.name(), backtrace, "panicked: {message}");
            }
            _ => tracing::error!(place, thread = thread.name(), "panicked: {message}"),
        }
    }));
}

/// Writes what is queued until the last sender is gone. `open` names the output, anew for each line.
fn write_lines<W: Write>(queue: &Receiver<Message>, format: LogFormat, open: impl Fn() -> W) {
    // Lines that were dropped before the one that is written now.
    let mut told = 0;
    while let Ok(message) = queue.recv() {
        match message {
            Message::Line(line) => {
                let dropped = dropped_lines();
                if dropped > told && open().write_all(dropped_notice(format, dropped - told).as_bytes()).is_ok() {
                    told = dropped;
                }
                if open().write_all(&line).is_err() {
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Flush(done) => {
                let _ = open().flush();
                // Nobody waits any more if it took too long.
                let _ = done.try_send(());
            }
        }
    }
}

fn dropped_notice(format: LogFormat, lines: u64) -> String {
    match format {
        LogFormat::Text => format!("[{lines} log lines were dropped here]\n"),
        LogFormat::Json => {
            format!("{{\"level\":\"WARN\",\"message\":\"log lines were dropped here\",\"lines\":{lines}}}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// An output that refuses the first `refused` writes.
    #[derive(Clone, Default)]
    struct Output {
        refused: Arc<AtomicU64>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let refuse = self.refused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if refuse.is_ok() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // One test, because the count is the process's.
    #[test]
    fn n4_a_full_queue_and_a_full_disk_drop_lines_count_them_and_say_so() {
        let (sender, receiver) = sync_channel(2);
        let queue = LineQueue(sender);
        let before = dropped_lines();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            queue.push(line.as_bytes());
        }
        assert_eq!(dropped_lines() - before, 2, "two lines found the queue full");

        let output = Output::default();
        let to = output.clone();
        let writer = std::thread::spawn(move || write_lines(&receiver, LogFormat::Json, || to.clone()));
        let wide = Duration::from_secs(60);
        queue.flush(wide);
        output.refused.store(1, Ordering::Relaxed);
        queue.push(b"lost\n");
        queue.flush(wide);
        assert_eq!(dropped_lines() - before, 3, "the disk was full");
        queue.push(&vec![b'x'; 2 * LINE_BYTES_MAX]);
        queue.flush(wide);
        drop(queue);
        writer.join().expect("the writer ends with the last sender");

        let written = output.written.lock().expect("no writer panics");
        let text = String::from_utf8_lossy(&written);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1..3], ["one", "two"], "{lines:?}");
        assert!(lines[3].contains("dropped here"), "{lines:?}");
        assert_eq!(lines[4].len(), LINE_BYTES_MAX + 4, "a long line is cut");
        assert_eq!(lines.len(), 5);

        // A writer that is gone holds up nobody.
        let (sender, receiver) = sync_channel(2);
        drop(receiver);
        let queue = LineQueue(sender);
        queue.push(b"nobody reads this\n");
        queue.flush(wide);
        assert_eq!(dropped_lines() - before, 4);
    }
}
