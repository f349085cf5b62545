//! A cluster of real `raftshare-node` processes on loopback: started, found ready, asked who leads, and broken on purpose.
//!
//! Invariant: a node keeps its id, port and data directory for its whole life, so that a restart is a restart and not a new
//! member; a node that ended by itself is told apart from one that was killed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::api::LeaderInfo;
use raft_store::types::NodeId;
use rand::Rng;

use crate::process::{Process, ProcessError, Spec, find_binary};

/// How long a cluster may take to be born, or to serve again after the last fault was removed.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at a node.
const POLL: Duration = Duration::from_millis(10);
/// How long one look may take.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// Ports are taken from here, below the range that outgoing connections use: a killed node's port stays free.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Ports that are tried before giving up.
const PORT_TRIES: usize = 1_000;

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Number of nodes.
    pub nodes: u64,
    /// Where the binaries are; beside this program if absent.
    pub bin_dir: Option<PathBuf>,
    /// Data directories go below this one.
    pub data: PathBuf,
    /// Log files go into this directory.
    pub logs: PathBuf,
    /// More arguments for every node.
    pub arguments: Vec<String>,
}

/// Why a cluster does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A process could not be controlled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A directory could not be made.
    #[error("cannot make the directory {path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No port is free.
    #[error("no free port was found on 127.0.0.1")]
    Ports,
    /// It does not serve in time.
    #[error("{what} within {} s; see the logs in {logs}", within.as_secs())]
    NotReady {
        /// What did not happen.
        what: String,
        /// The deadline.
        within: Duration,
        /// Where the reason may be found.
        logs: String,
    },
    /// No such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// The HTTP client could not be made.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

#[derive(Debug)]
struct Member {
    process: Process,
    address: String,
    stopped: bool,
}

/// The running nodes.
#[derive(Debug)]
pub struct Cluster {
    members: BTreeMap<NodeId, Member>,
    http: reqwest::Client,
    logs: PathBuf,
}

impl Cluster {
    /// Starts the nodes and waits until every one of them serves.
    pub async fn start(options: &ClusterOptions) -> Result<Self, ClusterError> {
        let program = find_binary("raftshare-node", options.bin_dir.as_deref())?;
        make_directory(&options.logs)?;
        let ports = free_ports(options.nodes as usize)?;
        let addresses: BTreeMap<NodeId, String> =
            (1..=options.nodes).zip(ports).map(|(id, port)| (id, format!("127.0.0.1:{port}"))).collect();
        let list: Vec<String> = addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).timeout(LOOK_WITHIN).build()?;
        let mut members = BTreeMap::new();
        for (id, address) in addresses {
            let data = options.data.join(format!("n{id}"));
            make_directory(&data)?;
            let spec = Spec {
                program: program.clone(),
                arguments: node_arguments(id, &address, &data, &list, &options.arguments),
                environment: Vec::new(),
                log: options.logs.join(format!("n{id}.log")),
            };
            members.insert(id, Member { process: Process::start(spec)?, address, stopped: false });
        }
        let mut cluster = Self { members, http, logs: options.logs.clone() };
        cluster.wait_ready(READY_WITHIN).await?;
        Ok(cluster)
    }

    /// Every node's id.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// Every node's base URL, living or not.
    pub fn urls(&self) -> Vec<String> {
        self.members.values().map(|member| format!("http://{}", member.address)).collect()
    }

    /// A node's base URL.
    pub fn url(&self, id: NodeId) -> Option<String> {
        self.members.get(&id).map(|member| format!("http://{}", member.address))
    }

    /// The nodes that run and are not stopped.
    pub fn living(&self) -> Vec<NodeId> {
        let lives = |member: &Member| member.process.is_started() && !member.stopped;
        self.members.iter().filter(|(_, member)| lives(member)).map(|(id, _)| *id).collect()
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.kill();
        member.stopped = false;
        Ok(())
    }

    /// SIGSTOP.
    pub fn stop(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.stop()?;
        member.stopped = true;
        Ok(())
    }

    /// SIGCONT for every stopped node; returns them.
    pub fn resume_all(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut resumed = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.stopped) {
            member.process.resume()?;
            member.stopped = false;
            resumed.push(*id);
        }
        Ok(resumed)
    }

    /// Starts every node that does not run; returns them.
    pub fn restart_dead(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut restarted = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| !member.process.is_started()) {
            member.process.restart()?;
            restarted.push(*id);
        }
        Ok(restarted)
    }

    /// Nodes that ended by themselves since the last call, and how.
    pub fn ended(&mut self) -> Vec<(NodeId, String)> {
        let ended =
            |(id, member): (&NodeId, &mut Member)| member.process.ended().map(|status| (*id, status.to_string()));
        self.members.iter_mut().filter_map(ended).collect()
    }

    /// Who leads, by the word of the living node that knows the highest term.
    pub async fn leader(&self) -> Option<LeaderInfo> {
        let asked = self.living().into_iter().map(|id| self.leader_by(id));
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().max_by_key(|leader| leader.term)
    }

    /// Waits until somebody leads.
    pub async fn wait_leader(&self, within: Duration) -> Option<LeaderInfo> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(leader) = self.leader().await {
                return Some(leader);
            }
            tokio::time::sleep(POLL).await;
        }
        None
    }

    /// Waits until every node serves linearizable reads and writes.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + within;
        let mut waiting = self.ids();
        while !waiting.is_empty() {
            if let Some((id, status)) = self.ended().into_iter().next() {
                return Err(self.not_ready(format!("node {id} ended by itself ({status}) and did not serve"), within));
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("nodes {waiting:?} did not become ready"), within));
            }
            let cluster = &*self;
            let looks = waiting.iter().map(|&id| async move { (!cluster.is_ready(id).await).then_some(id) });
            waiting = futures::future::join_all(looks).await.into_iter().flatten().collect();
            if !waiting.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    async fn is_ready(&self, id: NodeId) -> bool {
        let Some(url) = self.url(id) else { return false };
        matches!(self.http.get(format!("{url}/readyz")).send().await, Ok(answer) if answer.status().is_success())
    }

    async fn leader_by(&self, id: NodeId) -> Option<LeaderInfo> {
        let url = self.url(id)?;
        let answer = self.http.get(format!("{url}/leader")).send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }

    fn not_ready(&self, what: String, within: Duration) -> ClusterError {
        ClusterError::NotReady { what, within, logs: self.logs.display().to_string() }
    }

    fn member(&mut self, id: NodeId) -> Result<&mut Member, ClusterError> {
        self.members.get_mut(&id).ok_or(ClusterError::NoNode(id))
    }
}

fn node_arguments(id: NodeId, address: &str, data: &Path, list: &[String], more: &[String]) -> Vec<String> {
    let mut arguments: Vec<String> = ["start", "--id"].map(String::from).to_vec();
    arguments.extend([id.to_string(), "--listen".into(), address.into(), "--data".into(), data.display().to_string()]);
    arguments.extend(["--bootstrap-expect".into(), list.len().to_string(), "--members".into(), list.join(",")]);
    arguments.extend_from_slice(more);
    arguments
}

fn make_directory(path: &Path) -> Result<(), ClusterError> {
    std::fs::create_dir_all(path).map_err(|source| ClusterError::Directory { path: path.display().to_string(), source })
}

/// Ports that are free now; all of them are bound at once, so that they differ.
pub fn free_ports(count: usize) -> Result<Vec<u16>, ClusterError> {
    let mut rng = rand::rng();
    let mut bound: Vec<(u16, TcpListener)> = Vec::new();
    for _ in 0..PORT_TRIES {
        if bound.len() == count {
            break;
        }
        let port = rng.random_range(PORTS);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            bound.push((port, listener));
        }
    }
    if bound.len() < count {
        return Err(ClusterError::Ports);
    }
    Ok(bound.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_below_the_ephemeral_range() {
        let mut ports = free_ports(20).expect("free ports");
        assert!(ports.iter().all(|port| PORTS.contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }

    #[test]
    fn the_command_line_is_that_of_a_founding_member() {
        let list = ["1=a:1".to_owned(), "2=b:2".to_owned()];
        let line = node_arguments(2, "b:2", Path::new("/d"), &list, &["--grace".into(), "1s".into()]).join(" ");
        let expected = "start --id 2 --listen b:2 --data /d --bootstrap-expect 2 --members 1=a:1,2=b:2 --grace 1s";
        assert_eq!(line, expected);
    }
}
