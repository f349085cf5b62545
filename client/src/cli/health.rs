//! The cluster's health and members, as `raftshare` and `raftshare-node` both show them.
//!
//! Invariant: the exit code follows from the same facts as the words: every member answers, a majority does, or less.

use std::time::Duration;

use raft_store::types::NodeId;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output::{Format, Output, count, size};
use crate::api::{ClusterNode, ClusterResponse, StatsResponse};
use crate::cluster::IndexClient;

const MEMBER_COLUMNS: [&str; 8] = ["ID", "ROLE", "STATE", "ADDRESS", "APPLIED", "LAG", "CONTACT", "VERSION"];

#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    cluster: &'a ClusterResponse,
    stats: Option<&'a StatsResponse>,
}

/// The cluster's health in one view; the exit code tells scripts: healthy, degraded, or no quorum.
pub async fn status(client: &IndexClient, output: &Output) -> Result<(), Failure> {
    let answer = client.cluster().await?;
    let cluster = &answer.value;
    let voters = cluster.nodes.iter().filter(|node| node.role != "learner").count();
    let spare = cluster.quorum.healthy.saturating_sub(cluster.quorum.size);
    let has_quorum = cluster.leader.is_some() && cluster.quorum.healthy >= cluster.quorum.size;
    let all_alive = cluster.nodes.iter().all(|node| node.alive);
    let (state, exit) = match (has_quorum, all_alive) {
        (false, _) => ("NO QUORUM", Exit::Unavailable),
        (true, false) => ("DEGRADED", Exit::Degraded),
        (true, true) => ("HEALTHY", Exit::Done),
    };
    let brief = client.with_deadline(client.deadline().min(Duration::from_secs(2)));
    let stats = brief.stats().await.ok().map(|answer| answer.value);
    let rows: Vec<_> = cluster.nodes.iter().map(|node| node_row(node, cluster.leader)).collect();
    let table = output.format == Format::Table;
    if table {
        let name = cluster.cluster_id.as_deref().unwrap_or("(not founded)");
        let leader = cluster.leader.map_or_else(|| "none".into(), |id| format!("{id} (term {})", cluster.term));
        let plural = if spare == 1 { "failure" } else { "failures" };
        output.line(&format!(
            "Cluster {name}  {state}   {}/{voters} voters, survives {spare} more {plural}   leader {leader}\n",
            cluster.quorum.healthy
        ));
    }
    output.result(&Status { state, cluster, stats: stats.as_ref() }, &MEMBER_COLUMNS, &rows);
    if let Some(stats) = stats.as_ref().filter(|_| table) {
        stats_lines(output, stats);
    }
    output.freshness(&answer.freshness);
    if cluster.cluster_id.is_none() {
        output
            .warn("this node belongs to no cluster yet; found one:  raftshare-node init --node URL --members 1=H:P,…");
    }
    for node in cluster.nodes.iter().filter(|node| !node.alive) {
        output.warn(&format!(
            "node {} at {} does not answer; restart it, or take it out:  raftshare-node remove {}",
            node.id, node.address, node.id
        ));
    }
    if exit == Exit::Done { Ok(()) } else { Err(Failure::new(exit, String::new())) }
}

/// The members alone.
pub async fn members(client: &IndexClient, output: &Output) -> Result<(), Failure> {
    let answer = client.cluster().await?;
    let rows: Vec<_> = answer.value.nodes.iter().map(|node| node_row(node, answer.value.leader)).collect();
    output.result(&answer.value.nodes, &MEMBER_COLUMNS, &rows);
    Ok(())
}

fn stats_lines(output: &Output, stats: &StatsResponse) {
    output.line(&format!(
        "\nFiles  {} ({})   below the wanted copies {}   tasks {}   peers {}",
        count(stats.files),
        size(stats.bytes),
        count(stats.under_replicated),
        count(stats.tasks),
        count(stats.peers)
    ));
    output.line(&format!("Leases {}   waiting {}", count(stats.leases), count(stats.waiting)));
}

fn node_row(node: &ClusterNode, leader: Option<NodeId>) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or_else(|| "-".into(), count);
    let role = if leader == Some(node.id) { "leader *".into() } else { node.role.clone() };
    let contact = node.last_contact_ms.map_or_else(|| "-".into(), |ms| format!("{ms}ms"));
    let state = if node.alive { "ok" } else { "down" };
    vec![
        node.id.to_string(),
        role,
        state.into(),
        node.address.clone(),
        number(node.applied_index),
        number(node.lag),
        contact,
        node.version.clone().unwrap_or_else(|| "-".into()),
    ]
}
