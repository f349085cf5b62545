//! What commands print: results on the standard output as a table, JSON or tab-separated text; everything else on the
//! standard error.
//!
//! Invariant: the standard output holds nothing but the result, so that it can be piped; JSON has the API's shapes. No
//! write to it panics: the first failure is remembered, and [`conclude`] turns it into the exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::exit::{Exit, Failure};
use crate::api::headers::STALENESS_UNKNOWN_MS;
use crate::cluster::Freshness;

/// The first failure of the standard output. Nothing is written to it any more after that.
static STDOUT_FAILED: OnceLock<StdoutFailure> = OnceLock::new();

/// Bytes that go to the standard output at once.
const COPY_BYTES: usize = 64 * 1024;

/// Why the standard output cannot be written.
#[derive(Debug)]
struct StdoutFailure {
    kind: io::ErrorKind,
    reason: String,
}

/// Writes to the standard output and flushes it. After a failure every later call fails as well, so that a command that
/// prints for ever can stop.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    if let Some(failed) = STDOUT_FAILED.get() {
        return Err(io::Error::new(failed.kind, failed.reason.clone()));
    }
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.inspect_err(note_stdout_failure)
}

/// Remembers that the standard output failed, for a command that writes to it by itself.
pub fn note_stdout_failure(error: &io::Error) {
    // Only the first failure counts.
    let _ = STDOUT_FAILED.set(StdoutFailure { kind: error.kind(), reason: error.to_string() });
}

/// Copies to the standard output, to its end or to where that fails; only reading is an error here.
pub fn copy_to_stdout(from: &mut impl io::Read) -> io::Result<()> {
    let mut part = vec![0; COPY_BYTES];
    loop {
        match from.read(&mut part)? {
            0 => return Ok(()),
            length if write_stdout(&part[..length]).is_err() => return Ok(()),
            _ => {}
        }
    }
}

/// The outcome of a command once it has printed its result. A closed pipe (`| head`) changes nothing: the reader had
/// enough. Any other failure lost the result, so a command must not claim that it is done.
pub fn conclude(outcome: Result<(), Failure>) -> Result<(), Failure> {
    conclude_with(outcome, STDOUT_FAILED.get())
}

fn conclude_with(outcome: Result<(), Failure>, failed: Option<&StdoutFailure>) -> Result<(), Failure> {
    let Some(failed) = failed.filter(|failed| failed.kind != io::ErrorKind::BrokenPipe) else { return outcome };
    match outcome {
        Err(failure) if !failure.what.is_empty() => Err(failure),
        // Without words of its own a failure told everything in the result, which is lost.
        Ok(()) | Err(_) => {
            let what = format!("cannot write the result to the standard output: {}", failed.reason);
            Err(Failure::new(Exit::Disk, what)
                .hint("free the disk, or send the output elsewhere, and repeat the command"))
        }
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON value, of a stable schema.
    Json,
    /// Tab-separated, without a header, for `cut` and `awk`.
    Plain,
}

/// Where results and remarks go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// How results are printed.
    pub format: Format,
    /// Whether remarks are left out.
    pub quiet: bool,
}

impl Output {
    /// Prints one result: as JSON, or as rows under a header.
    pub fn result<T: Serialize>(&self, value: &T, header: &[&str], rows: &[Vec<String>]) {
        match self.format {
            Format::Json => self.line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Plain => rows.iter().for_each(|row| self.line(&row.join("\t"))),
            Format::Table if rows.is_empty() => {}
            Format::Table => align(header, rows).iter().for_each(|line| self.line(line)),
        }
    }

    /// Prints one result that for people is a sentence.
    pub fn sentence<T: Serialize>(&self, value: &T, sentence: &str) {
        match self.format {
            Format::Json => self.line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Plain | Format::Table => self.line(sentence),
        }
    }

    /// A line of the result.
    pub fn line(&self, line: &str) {
        // A failure is remembered; `conclude` reports it.
        let _ = write_stdout(format!("{line}\n").as_bytes());
    }

    /// A remark for people, on the standard error.
    pub fn remark(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// A warning, on the standard error, even when quiet.
    pub fn warn(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "  ! {line}");
    }

    /// A failure, on the standard error: a sentence, or one JSON object for programs.
    pub fn failure(&self, failure: &Failure) {
        let _ = writeln!(std::io::stderr(), "{}", self.words_of(failure));
    }

    /// What [`Output::failure`] prints.
    pub fn words_of(&self, failure: &Failure) -> String {
        match self.format {
            Format::Json => failure.to_json(),
            Format::Plain | Format::Table => format!("{}: {failure}", program()),
        }
    }

    /// Says so if an answer may be old.
    pub fn freshness(&self, freshness: &Freshness) {
        if let Some(line) = stale_remark(freshness) {
            self.warn(&line);
        }
    }

    /// Whether progress may be drawn.
    pub fn draws_progress(&self) -> bool {
        !self.quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

/// The binary's own name, as it was called.
fn program() -> String {
    let called = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = called.as_deref().and_then(std::path::Path::file_name);
    name.map_or_else(|| "raftshare".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The sentence about a stale answer; `None` if it is not stale.
pub fn stale_remark(freshness: &Freshness) -> Option<String> {
    if !freshness.stale {
        return None;
    }
    let role = if freshness.role.is_empty() { "server" } else { freshness.role.as_str() };
    let node = freshness.node.map_or_else(|| "?".to_owned(), |node| node.to_string());
    let age = match freshness.staleness_ms {
        STALENESS_UNKNOWN_MS.. => "of unknown age".to_owned(),
        ms => format!("{:.1} s behind", Duration::from_millis(ms).as_secs_f64()),
    };
    let own = if freshness.misses_own_writes { "; it misses what you just wrote" } else { "" };
    let why = if role == "leader" { "no majority has confirmed it yet" } else { "no leader answers" };
    Some(format!("stale answer from {role} {node}: {age}, {why}{own}"))
}

/// Pads every column to its widest cell; numbers, by their header, to the right.
fn align(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |cell: &str| cell.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|title| width(title)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match widths.get_mut(column) {
                Some(widest) => *widest = (*widest).max(width(cell)),
                None => widths.push(width(cell)),
            }
        }
    }
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(width(cell)));
            let right = header.get(column).is_some_and(|title| NUMERIC.contains(title));
            let (before, after) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        line.trim_end().get(1..).unwrap_or_default().to_owned()
    };
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    std::iter::once(line(&titles)).chain(rows.iter().map(|row| line(row))).collect()
}

/// Titles of right-aligned columns.
const NUMERIC: [&str; 8] = ["#", "VER", "SIZE", "COPIES", "APPLIED", "LAG", "CONTACT", "FILES"];

/// A size for people: 4.2M.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 { format!("{value:.0}{}", UNITS[unit]) } else { format!("{value:.1}{}", UNITS[unit]) }
}

/// A number with separators: 918,204.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Remaining time for people: 0:41.
pub fn minutes(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1_000);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// How long ago a Unix time was, for people: 5m.
pub fn ago(unix_seconds: u64) -> String {
    let seconds = crate::peer::conflict::unix_seconds().saturating_sub(unix_seconds);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["1".into(), "a".into(), "4.2M".into()], vec!["10".into(), "größer.txt".into(), "31".into()]];
        let lines = align(&["#", "NAME", "SIZE"], &rows);
        assert_eq!(lines, ["  #  NAME        SIZE", "  1  a           4.2M", " 10  größer.txt    31"]);
    }

    #[test]
    fn a_lost_result_is_no_success_and_a_closed_pipe_is_no_failure() {
        let failed = |kind| StdoutFailure { kind, reason: "it broke".into() };
        let (full, closed) = (failed(io::ErrorKind::StorageFull), failed(io::ErrorKind::BrokenPipe));
        let exit = |outcome: Result<(), Failure>| outcome.map_or_else(|failure| failure.exit, |()| Exit::Done);
        let silent = || Err(Failure::new(Exit::Degraded, ""));
        let told = || Err(Failure::new(Exit::NotFound, "no such file"));
        for (outcome, failed, expected) in [
            (Ok(()), None, Exit::Done),
            (Ok(()), Some(&closed), Exit::Done),
            (silent(), Some(&closed), Exit::Degraded),
            (Ok(()), Some(&full), Exit::Disk),
            (silent(), Some(&full), Exit::Disk),
            (told(), Some(&full), Exit::NotFound),
        ] {
            assert_eq!(exit(conclude_with(outcome, failed)), expected, "{failed:?}");
        }
        let failure = conclude_with(Ok(()), Some(&full)).expect_err("the result is lost");
        assert!(failure.what.contains("standard output: it broke"), "{failure}");
    }

    #[test]
    fn figures_are_readable() {
        let sizes = [0, 999, 1_024, 4_404_019, 99 << 20, 5 << 30].map(size);
        assert_eq!(sizes, ["0", "999", "1.0K", "4.2M", "99M", "5.0G"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 41_000, 125_000].map(minutes), ["0:00", "0:01", "0:41", "2:05"]);
    }

    #[test]
    fn staleness_is_said_and_only_then() {
        let fresh = Freshness {
            node: Some(1),
            role: "follower".into(),
            term: 3,
            applied: 9,
            staleness_ms: 812,
            stale: false,
            misses_own_writes: false,
        };
        assert_eq!(stale_remark(&fresh), None);
        let stale = Freshness { stale: true, ..fresh };
        let remark = stale_remark(&stale).expect("it is stale");
        assert!(remark.starts_with("stale answer from follower 1: 0.8 s behind"), "{remark}");
    }
}
