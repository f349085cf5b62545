//! A cluster of real `raftshare-node` processes on loopback: started, found ready, asked who leads, and broken on purpose.
//!
//! Invariant: a node keeps its id, port and data directory for its whole life, so that a restart is a restart and not a new
//! member; no id is used for a second node; a node that ended by itself is told apart from one that was killed.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::api::LeaderInfo;
use raft_store::types::NodeId;
use rand::Rng;
use tokio::task::JoinHandle;

use crate::fault::network::Pids;
use crate::fault::{Families, NodePlan};
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
    /// Ports for nodes that join later.
    pub spares: u64,
    /// Where the binaries are; beside this program if absent.
    pub bin_dir: Option<PathBuf>,
    /// Data directories go below this one.
    pub data: PathBuf,
    /// Log files go into this directory.
    pub logs: PathBuf,
    /// More arguments for every node.
    pub arguments: Vec<String>,
    /// Told the nodes' process ids whenever they change.
    pub pids: Pids,
}

/// Why a cluster does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A process could not be controlled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A directory could not be made or removed.
    #[error("cannot make or remove the directory {path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What a family of faults needs could not be made.
    #[error("cannot prepare the faults: {0}")]
    Prepare(String),
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
    /// Which of the cluster's ports it listens on.
    slot: usize,
    process: Process,
    plan: NodePlan,
    stopped: bool,
    /// A fault makes it end by itself.
    exit_expected: bool,
    /// How it ended by itself, since it was last started.
    ended: Option<ExitStatus>,
    /// Whether [`Cluster::ended`] has told that.
    end_told: bool,
}

/// The running nodes.
#[derive(Debug)]
pub struct Cluster {
    members: BTreeMap<NodeId, Member>,
    /// `host:port` of every node that there is or will be; a port is used again once its node is gone for good.
    slots: Vec<String>,
    /// The next id that no node has had.
    next_id: NodeId,
    http: reqwest::Client,
    options: ClusterOptions,
    program: PathBuf,
    pids: Pids,
}

impl Cluster {
    /// Starts the nodes and waits until every one of them serves.
    pub async fn start(options: &ClusterOptions, families: &mut Families) -> Result<Self, ClusterError> {
        let program = find_binary("raftshare-node", options.bin_dir.as_deref())?;
        make_directory(&options.logs)?;
        let ports = free_ports((options.nodes + options.spares) as usize)?;
        let slots: Vec<String> = ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut plans = Vec::new();
        for (id, listen) in (1..=options.nodes).zip(&slots) {
            let mut plan = NodePlan {
                id,
                listen: listen.clone(),
                advertise: None,
                data: options.data.join(format!("n{id}")),
                arguments: options.arguments.clone(),
                environment: Vec::new(),
            };
            make_directory(&plan.data)?;
            families.shape(&mut plan).await.map_err(|why| ClusterError::Prepare(format!("{why:#}")))?;
            plans.push(plan);
        }
        let list: Vec<String> = plans.iter().map(|plan| format!("{}={}", plan.id, plan.address())).collect();
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).timeout(LOOK_WITHIN).build()?;
        let (members, next_id) = (BTreeMap::new(), options.nodes + 1);
        let mut cluster =
            Self { members, slots, next_id, http, pids: options.pids.clone(), options: options.clone(), program };
        for (slot, plan) in plans.into_iter().enumerate() {
            let mut founding = vec!["--bootstrap-expect".into(), list.len().to_string()];
            founding.extend(["--members".into(), list.join(",")]);
            cluster.launch(slot, plan, &founding)?;
        }
        cluster.wait_ready(READY_WITHIN).await?;
        Ok(cluster)
    }

    fn launch(&mut self, slot: usize, plan: NodePlan, membership: &[String]) -> Result<(), ClusterError> {
        let spec = Spec {
            program: self.program.clone(),
            arguments: node_arguments(&plan, membership),
            environment: plan.environment.clone(),
            log: self.log(plan.id),
        };
        let (id, process) = (plan.id, Process::start(spec)?);
        self.pids.set(id, process.id().unwrap_or_default());
        let (stopped, exit_expected, ended, end_told) = (false, false, None, false);
        self.members.insert(id, Member { slot, process, plan, stopped, exit_expected, ended, end_told });
        Ok(())
    }

    /// Starts a node with a new id and no data, which joins as a learner; absent if no port is left for it.
    pub fn join(&mut self) -> Result<Option<NodeId>, ClusterError> {
        let taken = |slot: &usize| self.members.values().any(|member| member.slot == *slot);
        // The latest first: a port whose node has just gone may still be known to others under its old id.
        let Some(slot) = (0..self.slots.len()).rev().find(|slot| !taken(slot)) else { return Ok(None) };
        let servers: Vec<String> = self.living().into_iter().filter_map(|id| self.url(id)).collect();
        let id = self.next_id;
        self.next_id += 1;
        let plan = NodePlan {
            id,
            listen: self.slots[slot].clone(),
            advertise: None,
            data: self.options.data.join(format!("n{id}")),
            arguments: self.options.arguments.clone(),
            environment: Vec::new(),
        };
        make_directory(&plan.data)?;
        self.launch(slot, plan, &["--join".into(), servers.join(","), "--learner".into()])?;
        Ok(Some(id))
    }

    /// Kills a node for good and removes its data: nobody waits for it any more, and its id is never used again.
    pub fn forget(&mut self, id: NodeId) -> Result<(), ClusterError> {
        self.kill(id)?;
        if let Some(member) = self.members.remove(&id) {
            remove_directory(&member.plan.data)?;
        }
        Ok(())
    }

    /// Runs one of the product's commands against the cluster; its output, or what it said when it failed.
    pub async fn command(&self, arguments: &[String]) -> anyhow::Result<Result<String, String>> {
        Ok(self.start_command(arguments).await?)
    }

    /// Starts one of the product's commands against the cluster.
    pub fn start_command(&self, arguments: &[String]) -> JoinHandle<Result<String, String>> {
        let servers: Vec<String> = self.living().into_iter().filter_map(|id| self.url(id)).collect();
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).args(["--node", &servers.join(",")]).stdin(Stdio::null()).kill_on_drop(true);
        tokio::spawn(async move {
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            match command.output().await {
                Ok(output) if output.status.success() => Ok(said(&output.stdout)),
                Ok(output) => Err(said(&output.stderr)),
                Err(error) => Err(format!("cannot start it: {error}")),
            }
        })
    }

    /// The position of a node's URL in [`Cluster::urls`].
    pub fn server(&self, id: NodeId) -> usize {
        self.members.get(&id).map_or(0, |member| member.slot)
    }

    /// How a node was started.
    pub fn plan(&self, id: NodeId) -> Option<&NodePlan> {
        self.members.get(&id).map(|member| &member.plan)
    }

    /// Process id of a node that runs.
    pub fn pid(&self, id: NodeId) -> Option<u32> {
        self.members.get(&id).and_then(|member| member.process.id())
    }

    /// Every node's id.
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// Base URLs of all nodes that there are or will be, always in the same order.
    pub fn urls(&self) -> Vec<String> {
        self.slots.iter().map(|listen| format!("http://{listen}")).collect()
    }

    /// A node's base URL.
    pub fn url(&self, id: NodeId) -> Option<String> {
        self.members.get(&id).map(|member| format!("http://{}", member.plan.listen))
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

    /// SIGTERM, and waits until the node ended.
    pub async fn terminate(&mut self, id: NodeId, within: Duration) -> Result<ExitStatus, ClusterError> {
        let deadline = Instant::now() + within;
        self.member(id)?.process.terminate()?;
        loop {
            if let Some(status) = self.member(id)?.process.ended() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("node {id} did not end after SIGTERM"), within));
            }
            tokio::time::sleep(POLL).await;
        }
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

    /// Starts a killed node again.
    pub fn restart(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.restart()?;
        (member.stopped, member.exit_expected, member.ended) = (false, false, None);
        let pid = member.process.id().unwrap_or_default();
        self.pids.set(id, pid);
        Ok(())
    }

    /// Starts every node that does not run; returns them.
    pub fn restart_dead(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut restarted = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| !member.process.is_started()) {
            member.process.restart()?;
            (member.exit_expected, member.ended) = (false, None);
            self.pids.set(*id, member.process.id().unwrap_or_default());
            restarted.push(*id);
        }
        Ok(restarted)
    }

    /// From now on until it is started again, a node may end by itself: a fault makes it.
    pub fn expect_exit(&mut self, id: NodeId) -> Result<(), ClusterError> {
        self.member(id)?.exit_expected = true;
        Ok(())
    }

    /// Whether a fault makes this node end by itself.
    pub fn exit_is_expected(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.exit_expected)
    }

    /// Waits until a node ended by itself; absent if it still runs after `within`.
    pub async fn wait_ended(&mut self, id: NodeId, within: Duration) -> Result<Option<ExitStatus>, ClusterError> {
        let deadline = Instant::now() + within;
        loop {
            self.notice_ends();
            if let Some(status) = self.member(id)?.ended {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many bytes a node has written to its log file.
    pub fn said(&self, id: NodeId) -> u64 {
        std::fs::metadata(self.log(id)).map_or(0, |log| log.len())
    }

    /// What a node has written to its log file after so many bytes.
    pub fn said_since(&self, id: NodeId, bytes: u64) -> String {
        let all = std::fs::read(self.log(id)).unwrap_or_default();
        let new = usize::try_from(bytes).ok().and_then(|bytes| all.get(bytes..));
        String::from_utf8_lossy(new.unwrap_or_default()).into_owned()
    }

    fn log(&self, id: NodeId) -> PathBuf {
        self.options.logs.join(format!("n{id}.log"))
    }

    /// Nodes that ended by themselves since the last call, and how.
    pub fn ended(&mut self) -> Vec<(NodeId, String)> {
        self.notice_ends();
        let mut ended = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(status) = member.ended.filter(|_| !member.end_told) {
                member.end_told = true;
                ended.push((*id, status.to_string()));
            }
        }
        ended
    }

    fn notice_ends(&mut self) {
        for member in self.members.values_mut() {
            if let Some(status) = member.process.ended() {
                (member.ended, member.end_told) = (Some(status), false);
            }
        }
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

    /// Waits until one node serves linearizable reads and writes.
    pub async fn wait_node_ready(&self, id: NodeId, within: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + within;
        while !self.is_ready(id).await {
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("node {id} did not become ready"), within));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether a node serves linearizable reads and writes.
    pub async fn is_ready(&self, id: NodeId) -> bool {
        let Some(url) = self.url(id) else { return false };
        matches!(self.http.get(format!("{url}/readyz")).send().await, Ok(answer) if answer.status().is_success())
    }

    async fn leader_by(&self, id: NodeId) -> Option<LeaderInfo> {
        let url = self.url(id)?;
        let answer = self.http.get(format!("{url}/leader")).send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }

    fn not_ready(&self, what: String, within: Duration) -> ClusterError {
        ClusterError::NotReady { what, within, logs: self.options.logs.display().to_string() }
    }

    fn member(&mut self, id: NodeId) -> Result<&mut Member, ClusterError> {
        self.members.get_mut(&id).ok_or(ClusterError::NoNode(id))
    }
}

fn node_arguments(plan: &NodePlan, membership: &[String]) -> Vec<String> {
    let mut arguments: Vec<String> = ["start", "--id"].map(String::from).to_vec();
    arguments.extend([plan.id.to_string(), "--listen".into(), plan.listen.clone()]);
    arguments.extend(["--data".into(), plan.data.display().to_string()]);
    if let Some(advertise) = &plan.advertise {
        arguments.extend(["--advertise".into(), advertise.clone()]);
    }
    arguments.extend_from_slice(membership);
    arguments.extend_from_slice(&plan.arguments);
    arguments
}

fn make_directory(path: &Path) -> Result<(), ClusterError> {
    std::fs::create_dir_all(path).map_err(|source| ClusterError::Directory { path: path.display().to_string(), source })
}

fn remove_directory(path: &Path) -> Result<(), ClusterError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ClusterError::Directory { path: path.display().to_string(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
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
        let founding = ["--bootstrap-expect", "2", "--members", "1=a:1,2=c:2"].map(String::from);
        let plan = NodePlan {
            id: 2,
            listen: "b:2".into(),
            advertise: Some("c:2".into()),
            data: "/d".into(),
            arguments: vec!["--grace".into(), "1s".into()],
            environment: Vec::new(),
        };
        let line = node_arguments(&plan, &founding).join(" ");
        let expected = "start --id 2 --listen b:2 --data /d --advertise c:2 --bootstrap-expect 2 \
            --members 1=a:1,2=c:2 --grace 1s";
        assert_eq!(line, expected);
    }
}
