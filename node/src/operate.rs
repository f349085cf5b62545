//! The operator's commands against a running cluster, over the client library: init, status, members and changes of
//! members; and what all commands of the binary share.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use client::cli::{Exit, Failure, Format, Output, health};
use client::cluster::{IndexClient, NewNode, Options};
use raft_store::types::NodeId;

use crate::config::MemberSpec;
use crate::divergence::position;

/// Limit of one command; a promotion may wait for its learner to catch up.
const COMMAND_DEADLINE: Duration = Duration::from_secs(40);

/// How long `verify` waits for all members to stand at the same log index.
const VERIFY_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between its looks.
const VERIFY_PAUSE: Duration = Duration::from_millis(50);

/// A change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Learner to voter.
    Promote(NodeId),
    /// Voter to learner.
    Demote(NodeId),
    /// Out of the cluster.
    Remove(NodeId),
    /// Leadership to this voter.
    Transfer(NodeId),
    /// A snapshot on the asked node.
    Snapshot,
}

/// Resolves on SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

fn connect(servers: &[String]) -> Result<IndexClient, Failure> {
    Ok(IndexClient::new(Options { deadline: COMMAND_DEADLINE, ..Options::new(servers.iter().cloned()) })?)
}

/// What concerns one node goes to the one that was named first.
fn first_of(servers: &[String]) -> Result<IndexClient, Failure> {
    connect(&servers[..servers.len().min(1)])
}

/// `init`.
pub async fn init(servers: &[String], members: &[MemberSpec]) -> Result<(), Failure> {
    let nodes: Vec<_> =
        members.iter().map(|member| NewNode { id: member.id, address: member.address.clone() }).collect();
    first_of(servers)?.init(&nodes).await?;
    say(&format!("cluster founded with {} member(s); look at it with: raftshare-node status", members.len().max(1)));
    Ok(())
}

/// `promote`, `demote`, `remove`, `transfer-leader`, `snapshot`.
pub async fn change(servers: &[String], change: Change) -> Result<(), Failure> {
    let index = connect(servers)?;
    let done = match change {
        Change::Promote(id) => {
            index.promote(id).await?;
            format!("node {id} is a voter")
        }
        Change::Demote(id) => {
            index.demote(id).await?;
            format!("node {id} is a learner")
        }
        Change::Remove(id) => {
            index.remove(id).await?;
            format!("node {id} is no member any more; stop it if it still runs")
        }
        Change::Transfer(id) => {
            index.transfer(id).await?;
            format!("node {id} leads")
        }
        Change::Snapshot => {
            first_of(servers)?.snapshot().await?;
            "a snapshot is being taken".to_owned()
        }
    };
    say(&done);
    Ok(())
}

/// `replace`: the new node is a voter before the old one goes; one that comes back empty under its old id goes first,
/// because its old vote must not count (C3).
pub async fn replace(servers: &[String], old: NodeId, new: &NewNode) -> Result<(), Failure> {
    let index = connect(servers)?;
    if old == new.id {
        index.remove(old).await?;
        say(&format!("node {old} is out; taking it in again with its new data directory"));
    }
    index.add_learner(new).await?;
    say(&format!("node {} at {} is a learner, catching up", new.id, new.address));
    index.promote(new.id).await?;
    say(&format!("node {} is a voter", new.id));
    if old != new.id {
        index.remove(old).await?;
        say(&format!("node {old} is no member any more"));
    }
    Ok(())
}

/// `backup`: a checked snapshot file; it appears under its name only when it is whole.
pub async fn backup(servers: &[String], file: &Path) -> Result<(), Failure> {
    let disk = |error: std::io::Error| Failure::new(Exit::Disk, format!("cannot write {}: {error}", file.display()));
    let unreachable = |error: reqwest::Error| Failure::new(Exit::Unavailable, format!("no backup: {error}"));
    let server = servers.first().map_or("", |server| server.trim_end_matches('/'));
    let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let http = reqwest::Client::builder().no_proxy().build().map_err(unreachable)?;
    let answer = http.get(format!("{url}/cluster/backup")).send().await.map_err(unreachable)?;
    let bytes = answer.error_for_status().map_err(unreachable)?.bytes().await.map_err(unreachable)?;
    let meta = raft_store::storage::check_snapshot(&bytes)
        .map_err(|error| Failure::new(Exit::Integrity, format!("the backup arrived damaged: {error}; try again")))?;
    let part = file.with_extension("part");
    let written = std::fs::File::create(&part).and_then(|mut out| out.write_all(&bytes).and_then(|()| out.sync_all()));
    written.and_then(|()| std::fs::rename(&part, file)).map_err(disk)?;
    let upto = meta.last_log_id.map_or(0, |log_id| log_id.index);
    say(&format!("{}: {} bytes, everything up to log index {upto}, checksum verified", file.display(), bytes.len()));
    Ok(())
}

/// `verify FILE`: does a backup check out?
pub fn verify_file(file: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(Exit::Disk, format!("cannot read {}: {error}", file.display())))?;
    let meta = raft_store::storage::check_snapshot(&bytes)
        .map_err(|error| Failure::new(Exit::Integrity, format!("{}: {error}", file.display())))?;
    let upto = meta.last_log_id.map_or(0, |log_id| log_id.index);
    say(&format!("{} is whole: everything up to log index {upto}", file.display()));
    Ok(())
}

/// `verify --node`: do all members that answer have the same state at the same log index (D1)?
pub async fn verify_cluster(servers: &[String]) -> Result<(), Failure> {
    let index = connect(servers)?;
    let members = index.cluster().await?.value.nodes;
    let until = Instant::now() + VERIFY_DEADLINE;
    loop {
        let mut digests = Vec::new();
        for member in members.iter().filter(|member| member.alive) {
            let digest = index.only(&member.address)?.digest().await?.value;
            digests.push((member.id, digest));
        }
        if digests.is_empty() {
            return Err(Failure::new(Exit::Unavailable, "no member answers"));
        }
        if let Some((index, digests)) = position::in_common(&digests) {
            let first = digests.first().map(|(_, digest)| *digest);
            if digests.iter().any(|(_, digest)| Some(*digest) != first) {
                let each: Vec<_> = digests.iter().map(|(id, digest)| format!("node {id} has {digest}")).collect();
                let what = format!("the members' states differ at log index {index}: {}", each.join(", "));
                return Err(Failure::new(Exit::Integrity, what).hint("stop the node that differs, and replace it"));
            }
            let silent = members.len() - digests.len();
            let digest = first.map_or_else(String::new, |digest| digest.to_string());
            say(&format!("{} members agree at log index {index}: {digest}", digests.len()));
            return match silent {
                0 => Ok(()),
                _ => Err(Failure::new(Exit::Degraded, format!("{silent} member(s) did not answer"))),
            };
        }
        if Instant::now() >= until {
            let formats: BTreeSet<_> = digests.iter().map(|(_, digest)| digest.format).collect();
            let what = match formats.len() {
                1 => "the members had no position of the log in common; try again in a minute",
                _ => "the members run versions whose digests cannot be compared; finish the upgrade first",
            };
            return Err(Failure::new(Exit::TimedOut, what));
        }
        tokio::time::sleep(VERIFY_PAUSE).await;
    }
}

/// `members`.
pub async fn members(servers: &[String], format: Format) -> Result<(), Failure> {
    health::members(&connect(servers)?, &Output { format, quiet: false }).await
}

/// `status`: one view of health, with an exit code for scripts.
pub async fn status(servers: &[String], format: Format) -> Result<(), Failure> {
    health::status(&connect(servers)?, &Output { format, quiet: false }).await
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn say(line: &str) {
    println!("{line}");
}

/// The exit code of a command that failed within this binary rather than at a server.
pub fn failure(error: &anyhow::Error) -> Failure {
    Failure::new(Exit::Other, format!("{error:#}"))
}
