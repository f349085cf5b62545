//! What commands print: results on the standard output as a table, JSON or tab-separated text, and everything else on
//! the standard error.
//!
//! Invariant: the standard output has nothing but the result, so that it can be piped. JSON has the shapes of the API.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::table::align;
use super::{Failure, write_stdout};
use crate::cluster::Freshness;
use crate::contract::headers::STALENESS_UNKNOWN_MS;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON value with a stable schema.
    Json,
    /// Tab-separated, without a header, for `cut` and `awk`.
    Plain,
}

/// How results and remarks are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// How results are printed.
    pub format: Format,
    /// Whether remarks are suppressed.
    pub quiet: bool,
}

impl Output {
    /// Prints a result as JSON, or as rows under a header.
    pub fn result<T: Serialize>(&self, value: &T, header: &[&str], rows: &[Vec<String>]) {
        match self.format {
            Format::Json => self.line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Plain => rows.iter().for_each(|row| self.line(&row.join("\t"))),
            Format::Table if rows.is_empty() => {}
            Format::Table => align(header, rows).iter().for_each(|line| self.line(line)),
        }
    }

    /// Prints a result as JSON, or as a sentence.
    pub fn sentence<T: Serialize>(&self, value: &T, sentence: &str) {
        match self.format {
            Format::Json => self.line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Plain | Format::Table => self.line(sentence),
        }
    }

    /// Prints a line of the result.
    pub fn line(&self, line: &str) {
        // `conclude` reports a failure later.
        let _ = write_stdout(format!("{line}\n").as_bytes());
    }

    /// Prints a remark on the standard error.
    pub fn remark(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Prints a warning on the standard error, even when quiet.
    pub fn warn(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "  ! {line}");
    }

    /// Prints a failure on the standard error, as a sentence or as one JSON object.
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

    /// Warns if an answer may be stale.
    pub fn freshness(&self, freshness: &Freshness) {
        if let Some(line) = stale_remark(freshness) {
            self.warn(&line);
        }
    }

    /// Whether to draw progress bars.
    #[expect(clippy::disallowed_methods, reason = "NO_COLOR is a convention of terminals")]
    pub fn draws_progress(&self) -> bool {
        !self.quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

/// The name by which the program was called.
fn program() -> String {
    let called = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = called.as_deref().and_then(std::path::Path::file_name);
    name.map_or_else(|| "raftshare".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The warning about a stale answer; `None` if it is not stale.
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
    let own = if freshness.misses_own_writes { "; it does not include your last write" } else { "" };
    let why = if role == "leader" { "no majority has confirmed it yet" } else { "no leader answers" };
    Some(format!("stale answer from {role} {node}: {age}, {why}{own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
