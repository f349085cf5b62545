//! `raftshare search`: finds files by name.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::contract::SearchHit;
use crate::cli::Session;
use crate::cli::values::limit;
use crate::cluster::{Consistency, Freshness, Read, ReadOptions, SearchMode};
use crate::terminal::figures::{count, size};
use crate::terminal::{Failure, variables};

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
    /// How consistent the answer must be; `auto` accepts a follower's answer if the leader is silent, and says so.
    #[arg(long, value_enum, env = variables::CONSISTENCY, default_value = "auto")]
    pub consistency: Level,
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

/// How consistent a read must be (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The leader's answer if it comes at once, otherwise a follower's.
    Auto,
    /// The leader's answer.
    Leader,
    /// The leader's answer, confirmed by a majority.
    Linearizable,
    /// Any node's answer.
    Stale,
}

impl Search {
    /// Prints the hits. A search without hits prints an empty list and succeeds.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let consistency = match self.consistency {
            Level::Auto => Consistency::Auto,
            Level::Leader => Consistency::Leader,
            Level::Linearizable => Consistency::Linearizable,
            Level::Stale => Consistency::Stale,
        };
        let mode = match self.mode {
            Mode::Fuzzy => SearchMode::Fuzzy,
            Mode::Substring => SearchMode::Substring,
            Mode::Prefix => SearchMode::Prefix,
        };
        let client = session.client.with_reading(ReadOptions { consistency, ..ReadOptions::default() });
        let started = Instant::now();
        let answer = client.search(&self.query.join(" "), mode, self.limit).await?;
        print_hits(session, &answer, started.elapsed());
        Ok(())
    }
}

/// Prints hits, and keeps them so that numbers in the shell can refer to them.
pub(super) fn print_hits(session: &Session, answer: &Read<Vec<SearchHit>>, took: Duration) {
    let hits = &answer.value;
    session.keep_rows(hits.iter().map(|hit| hit.file_name.clone()));
    let rows: Vec<_> = hits.iter().enumerate().map(|(position, hit)| hit_row(position, hit)).collect();
    session.output.result(hits, &["#", "NAME", "VER", "SIZE", "COPIES", "HOLDERS"], &rows);
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
