//! The command line as types, its checks, and the settings of a node that come of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use client::terminal::{Format, variables};
use raft_store::types::{NodeId, limits};

use super::dev;
use super::operate::{self, Target};
use crate::config::{Bootstrap, Config, MemberSpec, WAIT_MS_MAX, listen_address};
use crate::sys::logging::LogFormat;

/// A raftshare index node: one member of the small cluster that keeps the replicated index.
#[derive(Parser)]
#[command(name = "raftshare-node", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run a whole cluster with peers on this machine, to try things out; Ctrl-C stops everything
    Dev(dev::DevArgs),
    /// Run a node
    Start(Box<StartArgs>),
    /// Found a cluster, once
    Init(InitArgs),
    /// Show the cluster's health; exit code 0 healthy, 11 degraded, 6 down
    Status(TargetArgs),
    /// List the members
    Members(TargetArgs),
    /// Make a caught-up learner a voter
    Promote(PromoteArgs),
    /// Make a voter a learner
    Demote(ChangeArgs),
    /// Remove a member from the cluster
    Remove(ChangeArgs),
    /// Hand leadership to a voter
    TransferLeader(ChangeArgs),
    /// Replace a dead node with a new one
    Replace(ReplaceArgs),
    /// Take a snapshot now
    Snapshot(TargetArgs),
    /// Save the whole index to a file with a checksum
    Backup(BackupArgs),
    /// Check a backup file, or that all members have the same state
    Verify(VerifyArgs),
}

/// Settings of `start`.
#[derive(Args)]
pub(super) struct StartArgs {
    /// This node's number in the cluster, from 1
    #[arg(long, env = variables::ID)]
    pub(super) id: NodeId,
    /// Where to listen, for the API and for other nodes; port 0 picks a free one
    #[arg(long, env = variables::HTTP, default_value = "127.0.0.1:8080", value_parser = listen_address)]
    pub(super) listen: SocketAddr,
    /// HOST:PORT that other nodes and clients should use, if it is not the listening address
    #[arg(long)]
    pub(super) advertise: Option<String>,
    /// Data directory
    #[arg(long, env = variables::DATA_DIR)]
    pub(super) data: PathBuf,
    /// Found the cluster once this many members answer; the same command runs on all of them
    #[arg(long, requires = "members", conflicts_with = "join")]
    pub(super) bootstrap_expect: Option<usize>,
    /// The founding members, as ID=HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires = "bootstrap_expect")]
    pub(super) members: Vec<MemberSpec>,
    /// Join the cluster of the servers at these URLs
    #[arg(long, env = variables::JOIN, value_delimiter = ',')]
    pub(super) join: Vec<String>,
    /// Stay a learner (a read replica) after joining
    #[arg(long, requires = "join")]
    pub(super) learner: bool,
    /// Live copies that every file should have; set when the cluster is founded
    #[arg(long, env = variables::REPLICAS, default_value_t = limits::REPLICAS_DEFAULT)]
    pub(super) replicas: u32,
    /// Lease duration for requests that name none
    #[arg(long, env = variables::LEASE_TTL, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(super) lease_ttl: Duration,
    /// How long a peer may be silent before its copies stop counting
    #[arg(long, default_value = "45s", value_parser = humantime::parse_duration)]
    pub(super) peer_ttl: Duration,
    /// Pause of replication planning after an election
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(super) grace: Duration,
    /// Raft heartbeat interval
    #[arg(long, default_value = "40ms", value_parser = humantime::parse_duration)]
    pub(super) heartbeat: Duration,
    /// Raft election timeout, as SHORTEST..LONGEST
    #[arg(long, default_value = "120ms..240ms", value_parser = parse_range)]
    pub(super) election: (Duration, Duration),
    /// Take a snapshot after this many log entries [default: when the log has grown by the size of the last one]
    #[arg(long)]
    pub(super) snapshot_every: Option<u64>,
    /// What a follower does with writes
    #[arg(long, value_parser = ["forward", "reject"], default_value = "forward")]
    pub(super) follower_writes: String,
    /// Serve the wire format of the original Go programs under /v0; its callers show no token
    #[arg(long, value_parser = ["on", "off"], default_value = "on")]
    pub(super) v0: String,
    /// Serve beyond loopback without asking for credentials
    #[arg(long)]
    pub(super) insecure: bool,
    /// Format of the log lines on standard error
    #[arg(long, env = variables::LOG_FORMAT, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
}

#[derive(Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// The founding members, as ID=HOST:PORT,…; the node alone if absent
    #[arg(long, value_delimiter = ',')]
    pub(super) members: Vec<MemberSpec>,
}

/// Which cluster to talk to.
#[derive(Args)]
pub(super) struct TargetArgs {
    /// Base URL of any node; several are tried in order
    #[arg(
        long,
        visible_alias = "cluster",
        env = variables::SERVER,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    pub(super) node: Vec<String>,
    /// How long the command may take, retries included [default: 5s; for replace, backup and verify: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    pub(super) timeout: Option<Duration>,
    /// How results and errors are printed
    #[arg(short, long, value_enum, env = variables::OUTPUT, default_value = "table")]
    pub(super) output: Format,
}

impl TargetArgs {
    pub(super) fn target(&self) -> Target {
        self.target_with(operate::COMMAND_DEADLINE)
    }

    /// For commands that may take long.
    pub(super) fn long_target(&self) -> Target {
        self.target_with(operate::LONG_DEADLINE)
    }

    pub(super) fn target_with(&self, usual: Duration) -> Target {
        Target { servers: self.node.clone(), timeout: self.timeout.unwrap_or(usual), format: self.output }
    }
}

#[derive(Args)]
pub(super) struct ChangeArgs {
    /// The member
    pub(super) id: NodeId,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Args)]
pub(super) struct PromoteArgs {
    /// The member
    pub(super) id: NodeId,
    /// How long to wait for it to catch up, on top of --timeout
    #[arg(long, value_name = "DURATION", value_parser = parse_wait, default_value = "0s")]
    pub(super) wait: Duration,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Args)]
pub(super) struct ReplaceArgs {
    /// The member to replace
    pub(super) old: NodeId,
    /// The new node; the same id if the old one comes back with an empty data directory
    pub(super) new: NodeId,
    /// HOST:PORT of the new node, which must be running
    #[arg(long)]
    pub(super) addr: String,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Args)]
pub(super) struct BackupArgs {
    /// Where to save it; - writes it to the standard output
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// A backup to check; the running cluster if absent
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match timeout {
        Duration::ZERO => Err("it must be longer than 0s".into()),
        // What the client library allows any request.
        _ if timeout > Duration::from_secs(300) => Err("it must be at most 5m".into()),
        _ => Ok(timeout),
    }
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if wait > Duration::from_millis(WAIT_MS_MAX) { Err("it must be at most 60s".into()) } else { Ok(wait) }
}

fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = text.split_once("..").ok_or("expected SHORTEST..LONGEST, for example 150ms..300ms")?;
    let parse = |text| humantime::parse_duration(text).map_err(|error| error.to_string());
    Ok((parse(from)?, parse(to)?))
}

impl StartArgs {
    pub(super) fn into_config(self) -> Result<Config, String> {
        let bootstrap = match self.bootstrap_expect {
            Some(expected) if expected != self.members.len() => {
                return Err(format!("--bootstrap-expect is {expected}, but --members names {}", self.members.len()));
            }
            Some(_) => Bootstrap::Found { members: self.members },
            None if !self.join.is_empty() => Bootstrap::Join { servers: self.join, learner: self.learner },
            None => Bootstrap::Wait,
        };
        let config = Config {
            id: self.id,
            listen: self.listen,
            advertise: self.advertise,
            data: self.data,
            bootstrap,
            replicas: self.replicas,
            lease_ttl: self.lease_ttl,
            peer_ttl: self.peer_ttl,
            grace: self.grace,
            heartbeat: self.heartbeat,
            election: self.election,
            snapshot_every: self.snapshot_every,
            reject_writes_on_followers: self.follower_writes == "reject",
            v0: self.v0 == "on",
            insecure: self.insecure,
        };
        config.validate()?;
        Ok(config)
    }
}

impl Command {
    /// What a command that asks a cluster has in common with the others.
    pub(super) fn args(&self) -> Option<&TargetArgs> {
        match self {
            Self::Dev(_) | Self::Start(_) => None,
            Self::Init(args) => Some(&args.target),
            Self::Status(args) | Self::Members(args) | Self::Snapshot(args) => Some(args),
            Self::Promote(args) => Some(&args.target),
            Self::Demote(args) | Self::Remove(args) | Self::TransferLeader(args) => Some(&args.target),
            Self::Replace(args) => Some(&args.target),
            Self::Backup(args) => Some(&args.target),
            Self::Verify(args) => Some(&args.target),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.args().map_or(Format::Table, |args| args.output)
    }
}
