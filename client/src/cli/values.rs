//! Parsers for the values of options and arguments. Each refusal states the rule.

use std::time::Duration;

use raft_store::types::{FileName, PeerId, limits};

use super::verbs::search::SEARCH_LIMIT_MAX;
use crate::address;
use crate::download::allow::AllowList;

/// How long to wait in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until it is granted.
    Forever,
    /// At most this long.
    For(Duration),
}

/// Shortest `--timeout`.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

pub(super) fn peer_id(text: &str) -> Result<PeerId, String> {
    PeerId::parse(text).map_err(|error| error.to_string())
}

pub(super) fn file_name(text: &str) -> Result<FileName, String> {
    // A path that a shell has completed is meant as a name in the folder.
    FileName::parse(text.strip_prefix("./").unwrap_or(text)).map_err(|error| error.to_string())
}

/// A folder of the index, with or without a `/` at its end.
pub(super) fn folder_name(text: &str) -> Result<String, String> {
    file_name(text.strip_suffix('/').unwrap_or(text)).map(|name| format!("{name}/"))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; examples: 250ms, 5s, 2h"))
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if (least..=most).contains(&parsed) {
        return Ok(parsed);
    }
    let shown = humantime::format_duration;
    Err(format!("it must be between {} and {}", shown(least), shown(most)))
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    within(text, TIMEOUT_MIN, crate::cluster::retry::DEADLINE_MAX)
}

pub(super) fn lease_ttl(text: &str) -> Result<Duration, String> {
    let limit = Duration::from_millis;
    within(text, limit(limits::LEASE_TTL_MS_MIN), limit(limits::LEASE_TTL_MS_MAX))
}

pub(super) fn staleness(text: &str) -> Result<Duration, String> {
    duration(text)
}

pub(super) fn allow_list(text: &str) -> Result<AllowList, String> {
    text.parse()
}

pub(super) fn servers(text: &str) -> Result<String, String> {
    address::base_urls(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn bind(text: &str) -> Result<String, String> {
    address::listen(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn advertise(text: &str) -> Result<String, String> {
    address::reachable_url(text).map_err(|error| error.to_string())
}

pub(super) fn zone(text: &str) -> Result<String, String> {
    let printable = !text.is_empty() && !text.chars().any(char::is_control);
    if printable && text.len() <= limits::ADDRESS_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("a zone is 1 to {} bytes without control characters", limits::ADDRESS_BYTES_MAX))
}

pub(super) fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=SEARCH_LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(format!("it must be a number from 1 to {SEARCH_LIMIT_MAX}")),
    }
}

pub(super) fn command_line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("the command is empty".into()) } else { Ok(text.to_owned()) }
}

pub(super) fn patience(text: &str) -> Result<Patience, String> {
    if text == "forever" { Ok(Patience::Forever) } else { duration(text).map(Patience::For) }
}
