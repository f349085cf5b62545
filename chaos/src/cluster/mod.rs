//! A cluster of real `raftshare-node` processes on loopback: started, found ready, asked who
//! leads, and broken on purpose.
//!
//! Invariant: a node keeps its id, port and data directory for its whole life, so that a restart is a restart and not a
//! new member; no id is used for a second node.

mod error;
mod queries;
mod signals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

pub use error::ClusterError;
use node::testbed::{Process, Spec, find_binary, free_ports};
use raft_store::types::NodeId;
use tokio::task::JoinHandle;

use crate::fault::network::Pids;
use crate::fault::{Families, NodePlan};

/// How long a cluster may take to bootstrap, or to serve again after the last fault was removed.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two polls at a node.
const POLL: Duration = Duration::from_millis(10);
/// How long one poll may take.
const POLL_WITHIN: Duration = Duration::from_millis(500);

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
    /// Starts nodes that no fault is going to hit.
    pub async fn start_plain(
        nodes: u64,
        bin_dir: Option<&Path>,
        (data, logs): (PathBuf, PathBuf),
        arguments: Vec<String>,
    ) -> Result<Self, ClusterError> {
        let (bin_dir, pids) = (bin_dir.map(Path::to_path_buf), Pids::default());
        let options = ClusterOptions { nodes, spares: 0, bin_dir, data, logs, arguments, pids };
        Self::start(&options, &mut Families::default()).await
    }

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
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true).timeout(POLL_WITHIN).build()?;
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

    /// Starts a process on a copy of a node's directory, as that node at another address; it is
    /// no member of this cluster's list.
    pub fn stray(&self, id: NodeId, listen: String, data: PathBuf) -> Result<Process, ClusterError> {
        let mut plan = self.members.get(&id).ok_or(ClusterError::NoNode(id))?.plan.clone();
        (plan.listen, plan.advertise, plan.data) = (listen, None, data);
        let log = self.options.logs.join(format!("n{id}-copy.log"));
        let environment = plan.environment.clone();
        let spec = Spec { program: self.program.clone(), arguments: node_arguments(&plan, &[]), environment, log };
        Ok(Process::start(spec)?)
    }

    /// Changes the address that a node advertises from its next start on, and the addresses it is given.
    pub fn readdress(&mut self, id: NodeId, advertise: String, members: &str) -> Result<(), ClusterError> {
        let count = self.options.nodes.to_string();
        let member = self.member(id)?;
        member.plan.advertise = Some(advertise);
        let founding = ["--bootstrap-expect", &count, "--members", members].map(String::from);
        let arguments = node_arguments(&member.plan, &founding);
        member.process.set_arguments(arguments);
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

    /// How many bytes a node has written to its log file.
    pub fn said(&self, id: NodeId) -> u64 {
        std::fs::metadata(self.log(id)).map_or(0, |log| log.len())
    }

    /// What a node has written to its log file after the first `bytes`.
    pub fn said_since(&self, id: NodeId, bytes: u64) -> String {
        let all = std::fs::read(self.log(id)).unwrap_or_default();
        let new = usize::try_from(bytes).ok().and_then(|bytes| all.get(bytes..));
        String::from_utf8_lossy(new.unwrap_or_default()).into_owned()
    }

    fn log(&self, id: NodeId) -> PathBuf {
        self.options.logs.join(format!("n{id}.log"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
