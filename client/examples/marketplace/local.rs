//! A cluster of index nodes on this machine, for the time of one command, and what can be done to its nodes.
//!
//! Invariant: no node outlives this program, not even if it is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use client::cluster::{Error, IndexClient, Options};
use client::terminal::{Exit, Failure};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};

/// Ports are tried from here on, below those of outgoing connections.
const FIRST_PORT: u16 = 20_000;
/// How long the cluster may take to serve.
const READY_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a starting cluster.
const LOOK: Duration = Duration::from_millis(50);

/// A running cluster. Its nodes are killed when it is dropped.
pub struct LocalCluster {
    program: PathBuf,
    directory: PathBuf,
    nodes: Vec<LocalNode>,
}

struct LocalNode {
    address: String,
    child: Option<Child>,
}

impl LocalCluster {
    /// Starts the nodes and waits until they serve.
    pub async fn start(program: Option<&Path>, count: u16) -> Result<Self, Failure> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => beside_this_program()?,
        };
        let directory = std::env::temp_dir().join(format!("marketplace-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let nodes =
            free_ports(count)?.into_iter().map(|port| LocalNode { address: format!("127.0.0.1:{port}"), child: None });
        let mut cluster = Self { program, directory, nodes: nodes.collect() };
        for place in 0..cluster.nodes.len() {
            cluster.launch(place)?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Its servers.
    pub fn servers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("http://{}", node.address)).collect()
    }

    /// Number of its nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Starts a node, again if it was killed.
    pub fn launch(&mut self, place: usize) -> Result<(), Failure> {
        let members: Vec<_> = (1..).zip(&self.nodes).map(|(id, node)| format!("{id}={}", node.address)).collect();
        let (id, count) = (place + 1, self.nodes.len());
        let log = self.directory.join(format!("node{id}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        command.args(["start", "--id", &id.to_string(), "--listen", &self.nodes[place].address, "--data"]);
        command.arg(self.directory.join(format!("node{id}")));
        command.args(["--bootstrap-expect", &count.to_string(), "--members", &members.join(",")]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        die_with_this_program(&mut command);
        self.nodes[place].child = Some(command.spawn()?);
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill(&mut self, place: usize) {
        if let Some(mut child) = self.nodes[place].child.take() {
            // Fails only if it is gone already.
            let _ = child.kill().await;
        }
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, place: usize, signal: Signal) {
        let pid = self.nodes[place].child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // Fails only if it is gone already.
            let _ = kill_process(pid, signal);
        }
    }

    /// The leader's place, if there is a leader.
    pub async fn leader(&self) -> Option<usize> {
        let client = IndexClient::new(Options::new(self.servers())).ok()?.with_deadline(Duration::from_secs(1));
        let id = client.leader().await.ok()?.id;
        usize::try_from(id).ok()?.checked_sub(1).filter(|place| *place < self.nodes.len())
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let client = IndexClient::new(Options::new(self.servers()))?.with_deadline(Duration::from_secs(1));
        loop {
            let answer: Result<_, Error> = client.cluster().await;
            let healthy = answer.ok().and_then(|cluster| cluster.value.quorum.healthy);
            if healthy == Some(self.nodes.len()) {
                return Ok(());
            }
            let ended =
                |node: &mut LocalNode| node.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if self.nodes.iter_mut().any(ended) || started.elapsed() > READY_MAX {
                let logs = self.directory.display();
                let what = format!("the cluster on this machine does not start; its logs are {logs}/node*.log");
                return Err(Failure::new(Exit::Unavailable, what));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.start_kill();
            }
        }
        // What is left in the directory for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The node's program, in the directory of this one or above it: cargo puts examples one level deeper.
fn beside_this_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("raftshare-node")).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, "raftshare-node is not beside this program")
            .hint("build it with the same profile:  cargo build --release        or pass --node-program PATH")
    })
}

fn free_ports(count: u16) -> Result<Vec<u16>, Failure> {
    let offset = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let mut bound = Vec::new();
    for port in (FIRST_PORT + offset)..u16::MAX {
        if bound.len() == usize::from(count) {
            break;
        }
        if let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            bound.push((port, listener));
        }
    }
    if bound.len() < usize::from(count) {
        return Err(Failure::new(Exit::Other, "no free port was found on 127.0.0.1"));
    }
    Ok(bound.into_iter().map(|(port, _)| port).collect())
}

#[allow(unsafe_code, reason = "what runs before exec has to be async-signal-safe")]
fn die_with_this_program(command: &mut Command) {
    let parent = getpid();
    // SAFETY: two system calls, which allocate nothing and take no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the call above.
            if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}
