//! The health and the members of the cluster, as both programs show them.
//!
//! Invariants: the exit code and the text follow from the same facts: all members are healthy, a majority is, or fewer.
//! What the asked node does not know is shown as unknown (R5). Advice is given only if it can work in the current
//! state.

use std::time::Duration;

use raft_store::types::NodeId;
use serde::Serialize;

use super::figures::{count, size};
use super::{Exit, Failure, Format, Output};
use crate::cluster::IndexClient;
use crate::contract::{ClusterNode, ClusterResponse, ErrorCode, StatsResponse};

const MEMBER_COLUMNS: [&str; 8] = ["ID", "ROLE", "STATE", "ADDRESS", "APPLIED", "LAG", "CONTACT", "VERSION"];

#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    cluster: &'a ClusterResponse,
    stats: Option<&'a StatsResponse>,
}

/// The state of the cluster and its exit code.
fn judge(cluster: &ClusterResponse, loading: bool) -> (&'static str, Exit) {
    if cluster.condition.as_deref() == Some("removed") {
        return ("REMOVED", Exit::Unavailable);
    }
    let has_quorum = cluster.leader.is_some() && cluster.quorum.healthy.is_some_and(|up| up >= cluster.quorum.size);
    let is_well = |node: &ClusterNode| {
        let is_ok = node.condition.as_deref().is_none_or(|condition| condition == "ok");
        node.alive == Some(true) && is_ok && node.loading.is_none()
    };
    match (has_quorum, !loading && cluster.digest_alarm.is_none() && cluster.nodes.iter().all(is_well)) {
        (false, _) => ("NO QUORUM", Exit::Unavailable),
        (true, false) => ("DEGRADED", Exit::Degraded),
        (true, true) => ("HEALTHY", Exit::Done),
    }
}

/// Shows the health of the cluster. The exit code tells scripts whether it is healthy, degraded or without a quorum.
pub async fn status(client: &IndexClient, output: &Output) -> Result<(), Failure> {
    let answer = client.cluster().await?;
    let cluster = &answer.value;
    let brief = client.with_deadline(client.deadline().min(Duration::from_secs(2)));
    let stats = brief.stats().await;
    let loading = stats.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::Loading));
    let (state, exit) = judge(cluster, loading);
    let rows: Vec<_> = cluster.nodes.iter().map(|node| node_row(node, cluster.leader)).collect();
    let table = output.format == Format::Table;
    if table {
        output.line(&headline(cluster, state));
    }
    let shown = Status { state, cluster, stats: stats.as_ref().ok().map(|answer| &answer.value) };
    output.result(&shown, &MEMBER_COLUMNS, &rows);
    if let Some(stats) = shown.stats.filter(|_| table) {
        stats_lines(output, stats);
    }
    output.freshness(&answer.freshness);
    if let Some(error) = stats.as_ref().err().filter(|_| loading) {
        output.warn(&error.to_string());
    }
    advice(cluster).iter().for_each(|line| output.warn(line));
    if exit == Exit::Done { Ok(()) } else { Err(Failure::new(exit, String::new())) }
}

fn headline(cluster: &ClusterResponse, state: &str) -> String {
    let name = cluster.cluster_id.as_deref().unwrap_or("(not created)");
    if cluster.condition.as_deref() == Some("removed") {
        return format!("Cluster {name}  {state}   this node is no longer a member\n");
    }
    let voters = cluster.nodes.iter().filter(|node| node.voter).count();
    let leader = cluster.leader.map_or_else(|| "none".into(), |id| format!("{id} (term {})", cluster.term));
    let (healthy, survives) = match cluster.quorum.healthy {
        None => ("?".to_owned(), String::new()),
        Some(healthy) => {
            let spare = healthy.saturating_sub(cluster.quorum.size);
            let plural = if spare == 1 { "failure" } else { "failures" };
            let survives =
                if healthy < cluster.quorum.size { String::new() } else { format!(", survives {spare} more {plural}") };
            (healthy.to_string(), survives)
        }
    };
    format!("Cluster {name}  {state}   {healthy}/{voters} voters{survives}   leader {leader}\n")
}

/// What to do about each unhealthy member, as far as it can work in this state.
fn advice(cluster: &ClusterResponse) -> Vec<String> {
    let Some(_) = cluster.cluster_id else {
        let found =
            "this node does not belong to a cluster yet; create one:  raftshare-node init --node URL --members 1=H:P,…";
        return vec![found.to_owned()];
    };
    if cluster.condition.as_deref() == Some("removed") {
        let next = "this node was removed from the cluster; stop it and ask another one (--node URL). To add it again, \
                    start it with an empty data directory and --join URL";
        return vec![next.to_owned()];
    }
    let has_quorum = cluster.leader.is_some() && cluster.quorum.healthy.is_some_and(|up| up >= cluster.quorum.size);
    let alarm = cluster.digest_alarm.map(|index| {
        format!(
            "the states of the members differ at log index {index}, and no majority agrees; compare them with  \
             raftshare-node verify  and replace the members that are wrong"
        )
    });
    alarm.into_iter().chain(cluster.nodes.iter().filter_map(|node| member_advice(node, has_quorum))).collect()
}

fn member_advice(node: &ClusterNode, has_quorum: bool) -> Option<String> {
    let ClusterNode { id, address, .. } = node;
    if node.alive == Some(false) {
        // Without a quorum no membership change can be committed.
        return Some(match has_quorum {
            true => format!(
                "node {id} at {address} does not answer; start it again. If it is gone for good:  raftshare-node \
                 replace {id} NEW --addr H:P  puts another node in its place,  raftshare-node remove {id}  removes it"
            ),
            false => format!(
                "node {id} at {address} does not answer; start it again: without a quorum no member can be removed"
            ),
        });
    }
    if let Some(progress) = node.loading {
        return Some(format!(
            "node {id} is loading its name index ({:.0} %) and does not answer searches yet",
            100.0 * progress
        ));
    }
    let again = format!("raftshare-node replace {id} {id} --addr {address}");
    match node.condition.as_deref()? {
        "older copy" => Some(format!(
            "the data directory of node {id} is older than what the node has acknowledged; add the node again:  {again}"
        )),
        "diverged" => Some(format!(
            "the state of node {id} differs from that of the others and is being replaced; if this does not finish:  \
             {again}"
        )),
        "starting" => Some(format!(
            "node {id} is starting; it takes part as soon as a majority of the voters has recorded the start"
        )),
        "removed" => Some(format!("node {id} says that it was removed; if that was a mistake:  {again}")),
        _ => None,
    }
}

/// Shows only the members.
pub async fn members(client: &IndexClient, output: &Output) -> Result<(), Failure> {
    let answer = client.cluster().await?;
    let rows: Vec<_> = answer.value.nodes.iter().map(|node| node_row(node, answer.value.leader)).collect();
    output.result(&answer.value.nodes, &MEMBER_COLUMNS, &rows);
    Ok(())
}

fn stats_lines(output: &Output, stats: &StatsResponse) {
    let planned = |figure: Option<u64>| figure.map_or_else(|| "unknown".into(), count);
    output.line(&format!(
        "\nFiles  {} ({})   below the wanted copies {}   tasks {}   peers {}",
        count(stats.files),
        size(stats.bytes),
        planned(stats.under_replicated),
        planned(stats.tasks),
        count(stats.peers)
    ));
    output.line(&format!("Leases {}   waiting {}", count(stats.leases), count(stats.waiting)));
}

fn node_row(node: &ClusterNode, leader: Option<NodeId>) -> Vec<String> {
    let number = |value: Option<u64>| value.map_or_else(|| "-".into(), count);
    let role = match &node.role {
        _ if leader == Some(node.id) => "leader *".into(),
        Some(role) => role.clone(),
        None => "-".into(),
    };
    let contact = node.last_contact_ms.map_or_else(|| "-".into(), |ms| format!("{ms}ms"));
    let state = match node.alive {
        Some(true) => match (node.condition.as_deref(), node.loading) {
            (None | Some("ok"), Some(progress)) => format!("loading {:.0} %", progress * 100.0),
            (condition, _) => condition.unwrap_or("ok").to_owned(),
        },
        Some(false) => "down".to_owned(),
        None => "unknown".to_owned(),
    };
    vec![
        node.id.to_string(),
        role,
        state,
        node.address.clone(),
        number(node.applied_index),
        number(node.lag),
        contact,
        node.version.clone().unwrap_or_else(|| "-".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::QuorumInfo;

    fn member(id: NodeId, alive: Option<bool>, condition: &str) -> ClusterNode {
        let up = alive == Some(true);
        ClusterNode {
            id,
            address: format!("127.0.0.1:{id}"),
            role: up.then(|| "follower".to_owned()),
            voter: true,
            last_contact_ms: up.then_some(0),
            applied_index: up.then_some(7),
            lag: up.then_some(0),
            alive,
            condition: up.then(|| condition.to_owned()),
            loading: None,
            version: None,
        }
    }

    fn cluster(leader: Option<NodeId>, nodes: Vec<ClusterNode>, own: &str) -> ClusterResponse {
        let well = |node: &&ClusterNode| node.condition.as_deref() == Some("ok");
        let healthy = Some(nodes.iter().filter(well).count()).filter(|_| own == "ok");
        ClusterResponse {
            cluster_id: Some("00000000000000aa".into()),
            leader,
            term: 3,
            nodes,
            quorum: QuorumInfo { size: 2, healthy },
            condition: Some(own.to_owned()),
            digest_alarm: None,
        }
    }

    fn up(id: NodeId) -> ClusterNode {
        member(id, Some(true), "ok")
    }

    #[test]
    fn the_state_and_the_exit_code_say_what_the_members_say() {
        let down = |id| member(id, Some(false), "");
        let cases = [
            (cluster(Some(1), vec![up(1), up(2), up(3)], "ok"), "HEALTHY", Exit::Done),
            (cluster(Some(1), vec![up(1), up(2), down(3)], "ok"), "DEGRADED", Exit::Degraded),
            (
                cluster(Some(1), vec![up(1), up(2), member(3, Some(true), "older copy")], "ok"),
                "DEGRADED",
                Exit::Degraded,
            ),
            (cluster(Some(1), vec![up(1), up(2), member(3, Some(true), "diverged")], "ok"), "DEGRADED", Exit::Degraded),
            (cluster(None, vec![up(1), down(2), down(3)], "ok"), "NO QUORUM", Exit::Unavailable),
            (cluster(None, vec![up(1), up(2), up(3)], "ok"), "NO QUORUM", Exit::Unavailable),
            (cluster(None, vec![member(1, None, ""), member(2, None, "")], "removed"), "REMOVED", Exit::Unavailable),
        ];
        for (cluster, state, exit) in cases {
            assert_eq!(judge(&cluster, false), (state, exit), "{cluster:?}");
        }
        assert_eq!(judge(&cluster(Some(1), vec![up(1)], "ok"), true).0, "NO QUORUM");
        assert_eq!(judge(&cluster(Some(1), vec![up(1), up(2)], "ok"), true), ("DEGRADED", Exit::Degraded));
    }

    #[test]
    fn r5_advice_is_what_can_work() {
        let down = member(3, Some(false), "");
        let with_quorum = advice(&cluster(Some(1), vec![up(1), up(2), down.clone()], "ok")).join("\n");
        assert!(with_quorum.contains("remove 3") && with_quorum.contains("replace 3 NEW"), "{with_quorum}");
        let without = advice(&cluster(None, vec![up(1), member(2, Some(false), ""), down], "ok")).join("\n");
        assert!(without.contains("node 3 at 127.0.0.1:3 does not answer; start it again"), "{without}");
        assert!(!without.contains("raftshare-node remove"), "{without}");
        let older = advice(&cluster(Some(1), vec![up(1), up(2), member(3, Some(true), "older copy")], "ok")).join("\n");
        assert!(older.contains("replace 3 3 --addr 127.0.0.1:3"), "{older}");
        let removed = cluster(None, vec![member(1, None, "")], "removed");
        assert!(advice(&removed).join("\n").contains("was removed"));
        assert!(!headline(&removed, "REMOVED").contains("voters"));
    }

    #[test]
    fn r5_what_is_unknown_is_shown_as_unknown() {
        let row = node_row(&member(2, None, ""), None);
        assert_eq!(row[1..3], ["-", "unknown"]);
        assert_eq!(row[4..], ["-", "-", "-", "-"]);
        assert!(headline(&cluster(None, vec![up(1), up(2)], "ok"), "NO QUORUM").contains("leader none"));
    }
}
