//! The operator's commands against a running cluster, over the client library: init, status, members and changes of
//! members; and what all commands of the binary share.

use std::time::Duration;

use client::cli::{Exit, Failure, Format, Output, health};
use client::cluster::{IndexClient, NewNode, Options};
use raft_store::types::NodeId;

use crate::config::MemberSpec;

/// Limit of one command; a promotion may wait for its learner to catch up.
const COMMAND_DEADLINE: Duration = Duration::from_secs(40);

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
