//! `raftshare search`: finds files by name.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::cli::Session;
use crate::cli::attributes::{filter, shown};
use crate::cli::reading::Reading;
use crate::cli::values::{folder_name, limit};
use crate::cluster::{Freshness, Read, SearchMode};
use crate::contract::{SearchHit, SearchQuery};
use crate::terminal::figures::{count, size};
use crate::terminal::Failure;

/// Most hits of one search.
pub(in crate::cli) const SEARCH_LIMIT_MAX: usize = 1_000;

/// Find files by name, tolerating typos; an empty query lists everything.
#[derive(Debug, Clone, Args)]
pub struct Search {
    /// Words of the name.
    pub query: Vec<String>,
    /// Most hits to print.
    #[arg(short = 'n', long, default_value_t = 50, value_parser = limit)]
    pub limit: usize,
    /// How the query matches.
    #[arg(long, value_enum, default_value = "fuzzy")]
    pub mode: Mode,
    /// Find records too: names that have attributes and no version.
    #[arg(long)]
    pub records: bool,
    /// Only names in this folder, at any depth.
    #[arg(long, value_name = "FOLDER", value_parser = folder_name)]
    pub under: Option<String>,
    /// Only names with such an attribute: KEY=VALUE, or with != < <= > >=; may be repeated. With --records for records.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub attr: Vec<String>,
    /// How fresh the answer has to be.
    #[command(flatten)]
    pub reading: Reading,
}

/// How a query matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Tolerate a typo.
    Fuzzy,
    /// Match anywhere in the name.
    Substring,
    /// Match the beginning of the name.
    Prefix,
}

impl Search {
    /// Prints the hits. A search without hits prints an empty list and succeeds.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let mode = match self.mode {
            Mode::Fuzzy => SearchMode::Fuzzy,
            Mode::Substring => SearchMode::Substring,
            Mode::Prefix => SearchMode::Prefix,
        };
        let client = self.reading.client(session);
        let query = SearchQuery {
            q: Some(self.query.join(" ")),
            limit: Some(self.limit),
            mode: (mode != SearchMode::default()).then_some(mode),
            records: self.records.then_some(true),
            under: self.under.clone(),
            attr: self.attr.clone(),
            ..SearchQuery::default()
        };
        let started = Instant::now();
        let answer = client.search_with(&query).await?;
        print_hits(session, &answer, started.elapsed(), self.records || !self.attr.is_empty());
        Ok(())
    }
}

/// Prints hits, and keeps them so that numbers in the shell can refer to them.
pub(super) fn print_hits(session: &Session, answer: &Read<Vec<SearchHit>>, took: Duration, with_attributes: bool) {
    let hits = &answer.value;
    session.keep_rows(hits.iter().map(|hit| hit.file_name.clone()));
    let mut rows: Vec<_> = hits.iter().enumerate().map(|(position, hit)| hit_row(position, hit)).collect();
    let mut header = vec!["#", "NAME", "VER", "SIZE", "COPIES", "HOLDERS"];
    if with_attributes {
        header.push("ATTRIBUTES");
        rows.iter_mut().zip(hits).for_each(|(row, hit)| row.push(shown(&hit.attributes)));
    }
    session.output.result(hits, &header, &rows);
    let total = answer.total.unwrap_or(hits.len() as u64);
    session.output.remark(&format!(
        "{} of {} matches, {} ms{}",
        count(hits.len() as u64),
        count(total),
        took.as_millis(),
        source(&answer.freshness)
    ));
    session.output.freshness(&answer.freshness);
}

fn hit_row(position: usize, hit: &SearchHit) -> Vec<String> {
    let holders: Vec<&str> = hit.peers.iter().map(|peer| peer.id.as_str()).collect();
    vec![
        (position + 1).to_string(),
        hit.file_name.to_string(),
        hit.version.map_or_else(|| "-".into(), |version| format!("v{version}")),
        hit.size.map_or_else(|| "-".into(), size),
        hit.peers.len().to_string(),
        holders.join(" "),
    ]
}

fn source(freshness: &Freshness) -> String {
    let node = freshness.node.map_or_else(String::new, |node| format!(" ({} {node})", freshness.role));
    format!(", index {}{node}", count(freshness.applied))
}
