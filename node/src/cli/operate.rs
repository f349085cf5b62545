//! The operator's commands against a running cluster, over the client library: init, status, members and changes of
//! members; and what all commands of the binary share.

mod backup;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use client::cluster::{IndexClient, NewNode, Options};
use client::terminal::{Exit, Failure, Format, Output, health};
use raft_store::types::NodeId;

use crate::comparison::position;
use crate::config::MemberSpec;
use crate::sys::clock;

pub use backup::backup;

/// How long a command may take unless `--timeout` says otherwise: the 5 s of W6.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// The same for commands that wait for a snapshot, for a new node to catch up, or for all
/// members to stand at one log index.
pub const LONG_DEADLINE: Duration = Duration::from_secs(60);
/// How long a command may exceed its deadline before it is aborted.
const OVERTIME: Duration = Duration::from_millis(500);

/// Pause between two comparisons of `verify`.
const VERIFY_PAUSE: Duration = Duration::from_millis(50);

/// A change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Learner to voter, waiting for it to catch up.
    Promote(NodeId, Duration),
    /// Voter to learner.
    Demote(NodeId),
    /// Removal from the cluster.
    Remove(NodeId),
    /// Leadership to this voter.
    Transfer(NodeId),
    /// A snapshot on the asked node.
    Snapshot,
}

/// Resolves on SIGINT, SIGTERM or SIGHUP: a terminal that goes away is no reason to skip the handover. A process that
/// was started with SIGHUP ignored, as `nohup` does, goes on ignoring it.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let until = async |kind| match signal(kind) {
        Ok(mut received) => drop(received.recv().await),
        Err(_) => std::future::pending().await,
    };
    let hang_up = async {
        match ignored(libc::SIGHUP) {
            true => std::future::pending().await,
            false => until(SignalKind::hangup()).await,
        }
    };
    tokio::select! {
        () = until(SignalKind::terminate()) => {}
        () = until(SignalKind::interrupt()) => {}
        () = hang_up => {}
    }
}

/// Whether this process was told to ignore a signal.
#[allow(unsafe_code, reason = "sigaction(2) only reads the disposition here")]
fn ignored(signal: libc::c_int) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the kernel fills `now` if it succeeds.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Which cluster a command talks to, how long it may take, and how it prints.
#[derive(Debug, Clone)]
pub struct Target {
    /// Base URLs of nodes.
    pub servers: Vec<String>,
    /// Limit of the whole command, retries included.
    pub timeout: Duration,
    /// How results and failures are printed.
    pub format: Format,
}

impl Target {
    fn connect(&self) -> Result<IndexClient, Failure> {
        Ok(IndexClient::new(Options { deadline: self.timeout, ..Options::new(self.servers.iter().cloned()) })?)
    }

    /// A command that concerns one node goes to the one that was named first.
    fn first(&self) -> Result<IndexClient, Failure> {
        let servers = self.servers.iter().take(1).cloned().collect();
        Self { servers, ..self.clone() }.connect()
    }

    fn output(&self) -> Output {
        Output { format: self.format, quiet: false }
    }

    fn say(&self, sentence: &str) {
        self.output().sentence(&serde_json::json!({"ok": true, "message": sentence}), sentence);
    }

    /// Runs a command within its timeout. Each request keeps to that by itself, but several in a row might not.
    pub async fn within<T>(&self, command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout + OVERTIME, command).await.unwrap_or_else(|_| {
            let what = format!("not done within {}", humantime::format_duration(self.timeout));
            let hint = "look before you repeat it:  raftshare-node members;  --timeout allows more";
            Err(Failure::new(Exit::TimedOut, what).hint(hint))
        })
    }
}

/// `init`.
pub async fn init(target: &Target, members: &[MemberSpec]) -> Result<(), Failure> {
    let nodes: Vec<_> =
        members.iter().map(|member| NewNode { id: member.id, address: member.address.clone() }).collect();
    target.first()?.init(&nodes).await?;
    target.say(&format!(
        "cluster founded with {} member(s); look at it with: raftshare-node status",
        members.len().max(1)
    ));
    Ok(())
}

/// `promote`, `demote`, `remove`, `transfer-leader`, `snapshot`.
pub async fn change(target: &Target, change: Change) -> Result<(), Failure> {
    let index = target.connect()?;
    let done = match change {
        Change::Promote(id, wait) => {
            index.promote_within(id, wait).await?;
            format!("node {id} is a voter")
        }
        Change::Demote(id) => {
            index.demote(id).await?;
            format!("node {id} is a learner")
        }
        Change::Remove(id) => {
            index.remove(id).await?;
            format!("node {id} is no longer a member; stop it if it still runs")
        }
        Change::Transfer(id) => {
            index.transfer(id).await?;
            format!("node {id} leads")
        }
        Change::Snapshot => {
            target.first()?.snapshot().await?;
            "a snapshot is being taken".to_owned()
        }
    };
    target.say(&done);
    Ok(())
}

/// `replace`: the new node becomes a voter before the old one is removed. A node that comes back empty under its old id
/// is removed first, because its old vote must not count (C3).
pub async fn replace(target: &Target, old: NodeId, new: &NewNode) -> Result<(), Failure> {
    let index = target.connect()?;
    let say = |step: &str| target.output().remark(step);
    if old == new.id {
        index.remove(old).await?;
        say(&format!("node {old} is removed; adding it again with its new data directory"));
    }
    index.add_learner(new).await?;
    say(&format!("node {} at {} is a learner, catching up", new.id, new.address));
    // The rest of the time is for the answer, and for removing the old node.
    index.promote_within(new.id, target.timeout / 2).await?;
    if old != new.id {
        index.remove(old).await?;
    }
    target.say(&format!("node {} is a voter and replaces node {old}", new.id));
    Ok(())
}

/// `verify FILE`: does a backup check out?
pub fn verify_file(target: &Target, file: &Path) -> Result<(), Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(Exit::Disk, format!("cannot read {}: {error}", file.display())))?;
    let meta = raft_store::storage::check_snapshot(&bytes)
        .map_err(|error| Failure::new(Exit::Integrity, format!("{}: {error}", file.display())))?;
    let upto = meta.last_log_id.map_or(0, |log_id| log_id.index);
    target.say(&format!("{} is whole: everything up to log index {upto}", file.display()));
    Ok(())
}

/// `verify --node`: do all members that answer have the same state at the same log index (D1)?
pub async fn verify_cluster(target: &Target) -> Result<(), Failure> {
    let index = target.connect()?;
    let members = index.cluster().await?.value.nodes;
    let until = clock::now() + target.timeout;
    loop {
        let mut digests = Vec::new();
        for member in members.iter().filter(|member| member.alive == Some(true)) {
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
            target.say(&format!("{} members agree at log index {index}: {digest}", digests.len()));
            return match silent {
                0 => Ok(()),
                _ => Err(Failure::new(Exit::Degraded, format!("{silent} member(s) did not answer"))),
            };
        }
        if clock::now() >= until {
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
pub async fn members(target: &Target) -> Result<(), Failure> {
    health::members(&target.connect()?, &target.output()).await
}

/// `status`: one view of health, with an exit code for scripts.
pub async fn status(target: &Target) -> Result<(), Failure> {
    health::status(&target.connect()?, &target.output()).await
}

/// The exit code of a command that failed within this binary rather than at a server.
pub fn failure(error: &anyhow::Error) -> Failure {
    Failure::new(Exit::Other, format!("{error:#}"))
}
