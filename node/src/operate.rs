//! The operator's commands against a running cluster: init, status, members and membership changes.
//!
//! Exit codes: 0 done or healthy, 1 other error, 2 usage, 6 nobody reachable or no quorum, 8 timed out, 11 degraded.

use std::time::Duration;

use anyhow::{Context, anyhow};
use client::api::{ClusterNode, ClusterResponse, ErrorCode, Problem, StatsResponse};
use raft_store::types::NodeId;

use crate::config::MemberSpec;

/// Other error.
pub const EXIT_OTHER: u8 = 1;
/// Usage.
pub const EXIT_USAGE: u8 = 2;
/// No leader, no quorum, nobody reachable.
pub const EXIT_UNREACHABLE: u8 = 6;
/// Degraded.
pub const EXIT_DEGRADED: u8 = 11;

const CALL_DEADLINE: Duration = Duration::from_secs(40);
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// Output forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The API's own JSON.
    Json,
    /// Tab-separated.
    Plain,
}

/// Nobody answered, or nobody leads.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Down(String);

/// The exit code of a failed command.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Down>().is_some() { EXIT_UNREACHABLE } else { EXIT_OTHER }
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

/// Variables that `raftshare-node` or the other binaries of the project read.
const KNOWN_VARIABLES: [&str; 23] = [
    "RAFTSHARE_SERVER",
    "RAFTSHARE_DIR",
    "RAFTSHARE_BIND",
    "RAFTSHARE_NAME",
    "RAFTSHARE_TOKEN",
    "RAFTSHARE_CA",
    "RAFTSHARE_CERT",
    "RAFTSHARE_KEY",
    "RAFTSHARE_CONSISTENCY",
    "RAFTSHARE_OUTPUT",
    "RAFTSHARE_LOG",
    "RAFTSHARE_ID",
    "RAFTSHARE_DATA_DIR",
    "RAFTSHARE_HTTP",
    "RAFTSHARE_RAFT",
    "RAFTSHARE_JOIN",
    "RAFTSHARE_REPLICAS",
    "RAFTSHARE_LEASE_TTL",
    "RAFTSHARE_LEASE_TOKEN",
    "RAFTSHARE_FENCE",
    "RAFTSHARE_PEER_ID",
    "RAFTSHARE_TIMEOUT",
    "RAFTSHARE_TEST",
];

/// A misspelt variable would otherwise be ignored in silence.
#[allow(clippy::print_stderr, reason = "a warning of the command line")]
pub fn warn_about_unknown_variables() {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("RAFTSHARE_") && !KNOWN_VARIABLES.contains(&name.as_ref()) {
            eprintln!("raftshare-node: warning: {name} is set, but no such setting exists");
        }
    }
    if std::env::var_os("NAPSTER_SHADOW_ADDR").is_some() {
        eprintln!("raftshare-node: warning: NAPSTER_SHADOW_ADDR is ignored: there is no shadow any more; use --join");
    }
}

fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(CALL_DEADLINE).connect_timeout(CONNECT_DEADLINE).no_proxy().build()?)
}

/// The first server that answers; a refusal is an answer.
async fn get<T: serde::de::DeserializeOwned>(servers: &[String], path: &str) -> anyhow::Result<T> {
    let http = http()?;
    let mut reasons = Vec::new();
    for server in servers {
        let url = format!("{}{path}", server.trim_end_matches('/'));
        match http.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(answer.json().await?),
            Ok(answer) => reasons.push(format!("{server}: {}", refusal(answer).await)),
            Err(error) => reasons.push(format!("{server}: {}", cause(&error))),
        }
    }
    Err(Down(format!("no node answered; {}. Is the cluster running? Pass --node URL,URL", reasons.join("; "))).into())
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn refusal(answer: reqwest::Response) -> String {
    let status = answer.status();
    match answer.json::<Problem>().await {
        Ok(problem) => problem.detail,
        Err(_) => format!("answered {status}"),
    }
}

async fn post(servers: &[String], path: &str, body: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
    let http = http()?;
    let mut reasons = Vec::new();
    for server in servers {
        let url = format!("{}{path}", server.trim_end_matches('/'));
        match http.post(&url).json(body).send().await {
            Err(error) if error.is_connect() => reasons.push(format!("{server}: {}", cause(&error))),
            // Sent, and nothing heard: the change may have been made, so no other server is asked to make it again.
            Err(error) => {
                return Err(anyhow!(
                    "{server}: {}; look at `raftshare-node members` before repeating it",
                    cause(&error)
                ));
            }
            Ok(answer) if answer.status().is_success() => return Ok(answer.json().await?),
            Ok(answer) => {
                let problem: Problem = answer.json().await.with_context(|| format!("{server} is no raftshare node"))?;
                return Err(match problem.code {
                    ErrorCode::NoQuorum | ErrorCode::NotInitialized => Down(problem.detail).into(),
                    _ => anyhow!("{}", problem.detail),
                });
            }
        }
    }
    Err(Down(format!("no node answered; {}", reasons.join("; "))).into())
}

/// `init`.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub async fn init(servers: &[String], members: &[MemberSpec]) -> anyhow::Result<u8> {
    let nodes: Vec<_> =
        members.iter().map(|member| serde_json::json!({"id": member.id, "address": member.address})).collect();
    let body = if nodes.is_empty() { serde_json::json!({}) } else { serde_json::json!({ "nodes": nodes }) };
    let answer = post(servers, "/cluster/init", &body).await?;
    println!("cluster {} founded with {} member(s)", answer["clusterId"].as_str().unwrap_or("?"), members.len().max(1));
    Ok(0)
}

/// `promote`, `demote`, `remove`, `transfer-leader`, `snapshot`.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub async fn change(servers: &[String], what: &str, id: Option<NodeId>) -> anyhow::Result<u8> {
    let body = id.map_or_else(|| serde_json::json!({}), |id| serde_json::json!({ "id": id }));
    post(servers, &format!("/cluster/{what}"), &body).await?;
    match id {
        Some(id) => println!("{what} {id}: done"),
        None => println!("{what}: done"),
    }
    Ok(0)
}

/// `members`.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub async fn members(servers: &[String], output: Output) -> anyhow::Result<u8> {
    let cluster: ClusterResponse = get(servers, "/cluster").await?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&cluster.nodes)?),
        Output::Plain => cluster.nodes.iter().for_each(|node| println!("{}", row(&cluster, node).join("\t"))),
        Output::Table => print!("{}", table(&cluster)),
    }
    Ok(0)
}

/// `status`: one view of health, with an exit code for scripts.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub async fn status(servers: &[String], output: Output) -> anyhow::Result<u8> {
    let cluster: ClusterResponse = get(servers, "/cluster").await?;
    let stats: Option<StatsResponse> = get(servers, "/stats").await.ok();
    let health = Health::of(&cluster);
    match output {
        Output::Json => println!(
            "{}",
            serde_json::to_string_pretty(
                &serde_json::json!({"health": health.word(), "cluster": cluster, "stats": stats})
            )?
        ),
        Output::Plain => {
            println!("{}", health.word());
            cluster.nodes.iter().for_each(|node| println!("{}", row(&cluster, node).join("\t")));
        }
        Output::Table => print!("{}", report(&cluster, stats.as_ref(), health)),
    }
    Ok(health.exit_code())
}

/// The cluster's health in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    Degraded,
    Down,
}

impl Health {
    fn of(cluster: &ClusterResponse) -> Self {
        let all_alive = cluster.nodes.iter().all(|node| node.alive);
        match cluster.leader {
            None => Self::Down,
            Some(_) if cluster.quorum.healthy < cluster.quorum.size => Self::Down,
            Some(_) if all_alive => Self::Healthy,
            Some(_) => Self::Degraded,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Down => "DOWN",
        }
    }

    fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Degraded => EXIT_DEGRADED,
            Self::Down => EXIT_UNREACHABLE,
        }
    }
}

fn report(cluster: &ClusterResponse, stats: Option<&StatsResponse>, health: Health) -> String {
    use std::fmt::Write;
    let voters = cluster.nodes.iter().filter(|node| node.role != "learner").count();
    let spare = cluster.quorum.healthy.saturating_sub(cluster.quorum.size);
    let leader =
        cluster.leader.map_or("no leader".to_owned(), |id| format!("leader node {id} (term {})", cluster.term));
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Cluster {}  {}   {}/{voters} voters answer, survives {spare} more failure{}   {leader}\n",
        cluster.cluster_id.as_deref().unwrap_or("(not founded)"),
        health.word(),
        cluster.quorum.healthy,
        if spare == 1 { "" } else { "s" },
    );
    out.push_str(&table(cluster));
    if let Some(stats) = stats {
        let _ = writeln!(
            out,
            "\nFiles        {}   peers {}   below R {}   tasks {}",
            stats.files, stats.peers, stats.under_replicated, stats.tasks
        );
        let _ = writeln!(out, "Leases       active {}   waiting {}", stats.leases, stats.waiting);
    }
    for node in cluster.nodes.iter().filter(|node| !node.alive) {
        let since = node.last_contact_ms.map_or("".to_owned(), |ms| format!(" since {} s", ms / 1_000));
        let _ = writeln!(
            out,
            "  ! node {} at {} does not answer{since}; restart it: raftshare-node start --id {} …",
            node.id, node.address, node.id
        );
    }
    out
}

fn row(cluster: &ClusterResponse, node: &ClusterNode) -> [String; 7] {
    let leads = cluster.leader == Some(node.id) && node.alive;
    let or_dash = |value: Option<u64>| value.map_or("–".to_owned(), |value| value.to_string());
    [
        node.id.to_string(),
        if leads { format!("{} *", node.role) } else { node.role.clone() },
        if node.alive { "ok" } else { "silent" }.to_owned(),
        node.address.clone(),
        or_dash(node.applied_index),
        or_dash(node.lag),
        node.version.clone().unwrap_or_else(|| "–".to_owned()),
    ]
}

fn table(cluster: &ClusterResponse) -> String {
    let header = ["ID", "ROLE", "STATE", "ADDRESS", "APPLIED", "LAG", "VERSION"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(cluster.nodes.iter().map(|node| row(cluster, node))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
        out.push_str(&format!(" {}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
    out
}
