//! A cluster of three etcd members on loopback, with etcd's own defaults.
//!
//! Invariant: the members' data is below the directory they are given, beside ours and on the same file
//! system; no member outlives this program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::load::Connection;
use crate::bench::load::peers::text_field;
use crate::cluster::READY_WITHIN;
use crate::fault::Unavailable;
use node::testbed::free_ports;
use node::testbed::{Process, Spec};

/// Members.
const MEMBERS: usize = 3;
/// Pause between two polls.
const POLL: Duration = Duration::from_millis(20);
/// Limit of one poll.
const POLL_WITHIN: Duration = Duration::from_millis(500);

/// The members.
#[derive(Debug)]
pub struct Etcd {
    processes: Vec<Process>,
    hosts: Vec<String>,
}

/// Where the program is.
#[expect(clippy::disallowed_methods, reason = "where programs are found")]
pub fn find() -> Result<PathBuf, Unavailable> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|path| path.is_file());
    found.ok_or_else(|| Unavailable("etcd is not on PATH; on Debian: apt-get install etcd-server".into()))
}

/// What `etcd --version` says first.
pub fn version(program: &Path) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim_start_matches("etcd Version:").trim().to_owned()
}

impl Etcd {
    /// Starts the members and waits until all of them follow one leader.
    pub async fn start(program: &Path, data: &Path, logs: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let ports = free_ports(MEMBERS * 2)?;
        let (client, peer) = ports.split_at(MEMBERS);
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let list: Vec<String> =
            peer.iter().enumerate().map(|(number, port)| format!("m{number}={}", url(port))).collect();
        let mut etcd =
            Self { processes: Vec::new(), hosts: client.iter().map(|port| format!("127.0.0.1:{port}")).collect() };
        for (number, (client, peer)) in client.iter().zip(peer).enumerate() {
            let directory = data.join(format!("m{number}"));
            // etcd wants its data to be nobody else's.
            private_directory(&directory)?;
            let arguments = [
                ("--name", format!("m{number}")),
                ("--data-dir", directory.display().to_string()),
                ("--listen-client-urls", url(client)),
                ("--advertise-client-urls", url(client)),
                ("--listen-peer-urls", url(peer)),
                ("--initial-advertise-peer-urls", url(peer)),
                ("--initial-cluster", list.join(",")),
                ("--initial-cluster-state", "new".into()),
                ("--log-level", "warn".into()),
            ];
            let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
            let log = logs.join(format!("m{number}.log"));
            let spec = Spec { program: program.to_owned(), arguments, environment: Vec::new(), log };
            etcd.processes.push(Process::start(spec)?);
        }
        etcd.wait_ready().await?;
        Ok(etcd)
    }

    /// `host:port` of every member.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Name and process id of every member that runs.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let of = |(number, process): (usize, &Process)| Some((format!("m{number}"), process.id()?));
        self.processes.iter().enumerate().filter_map(of).collect()
    }

    /// Number of the member that leads, counted from 0.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        for (number, host) in self.hosts.iter().enumerate() {
            if let Some((id, leader)) = status(host).await
                && id == leader
            {
                return Ok(number);
            }
        }
        bail!("no member of etcd leads")
    }

    /// SIGKILL.
    pub fn kill(&mut self, number: usize) {
        if let Some(process) = self.processes.get_mut(number) {
            process.kill();
        }
    }

    /// Starts members that were killed, and waits until all follow one leader.
    pub async fn restart_dead(&mut self) -> anyhow::Result<()> {
        for process in self.processes.iter_mut().filter(|process| !process.is_started()) {
            process.restart()?;
        }
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let states = futures::future::join_all(self.hosts.iter().map(|host| status(host))).await;
            let leaders: Vec<String> = states.into_iter().flatten().map(|(_, leader)| leader).collect();
            let agreed = leaders.iter().all(|leader| *leader == leaders[0] && leader != "0");
            if leaders.len() == MEMBERS && agreed {
                return Ok(());
            }
            if let Some(status) = self.processes.iter_mut().find_map(Process::ended) {
                bail!("a member of etcd ended by itself ({status}); see its log");
            }
            if Instant::now() > deadline {
                bail!("etcd did not serve within {} s", READY_WITHIN.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Id of the member, and of the leader it follows.
async fn status(host: &str) -> Option<(String, String)> {
    let ask = async {
        let mut connection = Connection::open(host).await.ok()?;
        let status = connection.send("POST", "/v3/maintenance/status", "", "{}").await.ok()?;
        let text = std::str::from_utf8(connection.body()).ok()?;
        let field = |name| text_field(text, name).map(str::to_owned);
        if status == 200 { field("member_id").zip(field("leader")) } else { None }
    };
    tokio::time::timeout(POLL_WITHIN, ask).await.ok().flatten()
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}
