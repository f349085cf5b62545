//! The command line of `raftshare-node`, checked and turned into settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use client::cli::{Exit, Failure, Format, Output, print_usage};
use client::cluster::NewNode;
use raft_store::types::{NodeId, limits};

use crate::config::{Birth, Config, MemberSpec, WAIT_MS_MAX, listen_address};
use crate::logging::{LogFormat, Logging};
use crate::operate::{self, Change, Target};
use crate::{dev, start};

/// An index node of raftshare: one member of the small cluster that keeps the replicated index.
#[derive(Parser)]
#[command(name = "raftshare-node", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster with peers on this machine, for trying things out; Ctrl-C stops it all
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
    /// Take a member out of the cluster
    Remove(ChangeArgs),
    /// Hand leadership to a voter
    TransferLeader(ChangeArgs),
    /// Put a new node in the place of a dead one
    Replace(ReplaceArgs),
    /// Take a snapshot now
    Snapshot(TargetArgs),
    /// Save the whole index to a file that checks itself
    Backup(BackupArgs),
    /// Check a backup file, or that all members have the same state
    Verify(VerifyArgs),
}

/// Settings of `start`.
#[derive(Args)]
struct StartArgs {
    /// This node's number in the cluster, from 1
    #[arg(long, env = "RAFTSHARE_ID")]
    id: NodeId,
    /// Where to listen, for the API and for other nodes; port 0 picks a free one
    #[arg(long, env = "RAFTSHARE_HTTP", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    listen: SocketAddr,
    /// The HOST:PORT that others are told, if it is not the listening address
    #[arg(long)]
    advertise: Option<String>,
    /// Data directory
    #[arg(long, env = "RAFTSHARE_DATA_DIR")]
    data: PathBuf,
    /// Found the cluster once this many members answer; the same command runs on all of them
    #[arg(long, requires = "members", conflicts_with = "join")]
    bootstrap_expect: Option<usize>,
    /// The founding members, as ID=HOST:PORT,…
    #[arg(long, value_delimiter = ',', requires = "bootstrap_expect")]
    members: Vec<MemberSpec>,
    /// Join the cluster of the servers at these URLs
    #[arg(long, env = "RAFTSHARE_JOIN", value_delimiter = ',')]
    join: Vec<String>,
    /// Stay a learner (a read replica) after joining
    #[arg(long, requires = "join")]
    learner: bool,
    /// Live copies every file should have; taken when the cluster is founded
    #[arg(long, env = "RAFTSHARE_REPLICAS", default_value_t = limits::REPLICAS_DEFAULT)]
    replicas: u32,
    /// Lease duration for requests that name none
    #[arg(long, env = "RAFTSHARE_LEASE_TTL", default_value = "60s", value_parser = humantime::parse_duration)]
    lease_ttl: Duration,
    /// Silence after which a peer no longer counts
    #[arg(long, default_value = "45s", value_parser = humantime::parse_duration)]
    peer_ttl: Duration,
    /// Pause of replication planning after an election
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Raft heartbeat interval
    #[arg(long, default_value = "40ms", value_parser = humantime::parse_duration)]
    heartbeat: Duration,
    /// Raft election timeout, as SHORTEST..LONGEST
    #[arg(long, default_value = "120ms..240ms", value_parser = parse_range)]
    election: (Duration, Duration),
    /// Take a snapshot after so many log entries [default: when the log has grown by the size of the last one]
    #[arg(long)]
    snapshot_every: Option<u64>,
    /// What a follower does with writes
    #[arg(long, value_parser = ["forward", "reject"], default_value = "forward")]
    follower_writes: String,
    /// Serve beyond loopback without asking for credentials
    #[arg(long)]
    insecure: bool,
    /// How log lines on the standard error look
    #[arg(long, env = "RAFTSHARE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Args)]
struct InitArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The founding members, as ID=HOST:PORT,…; the node alone if absent
    #[arg(long, value_delimiter = ',')]
    members: Vec<MemberSpec>,
}

/// Which cluster to talk to.
#[derive(Args)]
struct TargetArgs {
    /// Base URL of any node; several are tried in order
    #[arg(
        long,
        visible_alias = "cluster",
        env = "RAFTSHARE_SERVER",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    node: Vec<String>,
    /// How long the command may take, repeats included [default: 5s; for replace, backup and verify: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// How results and errors are printed
    #[arg(short, long, value_enum, env = "RAFTSHARE_OUTPUT", default_value = "table")]
    output: Format,
}

impl TargetArgs {
    fn target(&self) -> Target {
        self.target_with(operate::COMMAND_DEADLINE)
    }

    /// For commands that take their time.
    fn long_target(&self) -> Target {
        self.target_with(operate::LONG_DEADLINE)
    }

    fn target_with(&self, usual: Duration) -> Target {
        Target { servers: self.node.clone(), timeout: self.timeout.unwrap_or(usual), format: self.output }
    }
}

#[derive(Args)]
struct ChangeArgs {
    /// The member
    id: NodeId,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
struct PromoteArgs {
    /// The member
    id: NodeId,
    /// Wait so long for it to catch up, on top of --timeout
    #[arg(long, value_name = "DURATION", value_parser = parse_wait, default_value = "0s")]
    wait: Duration,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
struct ReplaceArgs {
    /// The member to take out
    old: NodeId,
    /// The node to take in; the same number if it comes back with an empty data directory
    new: NodeId,
    /// HOST:PORT of the new node, which must be running
    #[arg(long)]
    addr: String,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
struct BackupArgs {
    /// Where to save it; - writes it to the standard output
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args)]
struct VerifyArgs {
    /// A backup to check; the running cluster if absent
    file: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
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
    fn into_config(self) -> Result<Config, String> {
        let birth = match self.bootstrap_expect {
            Some(expected) if expected != self.members.len() => {
                return Err(format!("--bootstrap-expect is {expected}, but --members names {}", self.members.len()));
            }
            Some(_) => Birth::Bootstrap { members: self.members },
            None if !self.join.is_empty() => Birth::Join { servers: self.join, learner: self.learner },
            None => Birth::Wait,
        };
        let config = Config {
            id: self.id,
            listen: self.listen,
            advertise: self.advertise,
            data: self.data,
            birth,
            replicas: self.replicas,
            lease_ttl: self.lease_ttl,
            peer_ttl: self.peer_ttl,
            grace: self.grace,
            heartbeat: self.heartbeat,
            election: self.election,
            snapshot_every: self.snapshot_every,
            reject_writes_on_followers: self.follower_writes == "reject",
            insecure: self.insecure,
        };
        config.validate()?;
        Ok(config)
    }
}

/// The command line as its parser sees it, for tests that go through all commands.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(print_usage(&error, std::env::args_os())),
    };
    let output = cli.command.format();
    let (filter, format) = match &cli.command {
        Command::Start(args) => ("info,openraft=error", args.log_format),
        _ => ("warn", LogFormat::Text),
    };
    let logging = Logging::start(filter, format);
    client::cli::warn_about_variables(Output { format: Format::Table, quiet: false });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&logging, output, Err(operate::failure(&error.into()))),
    };
    let starts = matches!(cli.command, Command::Start(_));
    let outcome = runtime.block_on(run(cli.command));
    // Blocking work that is still under way, such as a snapshot, must not hold up the exit of a failed node (W4).
    runtime.shutdown_timeout(Duration::from_millis(500));
    // A node's standard output has no result: it may be gone without any harm.
    end(&logging, output, if starts { outcome } else { client::cli::conclude(outcome) })
}

/// Says why the program ends, through the log: a standard error that nobody empties must not hold up the end.
fn end(logging: &Logging, format: Format, outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if !failure.what.is_empty() {
        logging.say(&Output { format, quiet: false }.words_of(&failure));
    }
    ExitCode::from(failure.exit as u8)
}

async fn run(command: Command) -> Result<(), Failure> {
    let own = |outcome: anyhow::Result<()>| outcome.map_err(|error| operate::failure(&error));
    match command {
        Command::Dev(args) => own(dev::run(args).await),
        Command::Start(args) => {
            let config = args.into_config().map_err(|reason| Failure::new(Exit::Usage, reason))?;
            own(start::run(config, operate::stop_signal()).await)
        }
        command => operate_on(command).await,
    }
}

/// The commands that ask a running cluster; each ends within its time.
async fn operate_on(command: Command) -> Result<(), Failure> {
    let target = match &command {
        Command::Replace(_) | Command::Backup(_) | Command::Verify(_) => command.args().map(TargetArgs::long_target),
        Command::Promote(args) => {
            let mut target = args.target.target();
            target.timeout += args.wait;
            Some(target)
        }
        _ => command.args().map(TargetArgs::target),
    };
    let Some(target) = target else { return Ok(()) };
    let change = async |change| operate::change(&target, change).await;
    target
        .within(async {
            match command {
                Command::Dev(_) | Command::Start(_) => Ok(()),
                Command::Init(args) => operate::init(&target, &args.members).await,
                Command::Status(_) => operate::status(&target).await,
                Command::Members(_) => operate::members(&target).await,
                Command::Promote(args) => change(Change::Promote(args.id, args.wait)).await,
                Command::Demote(args) => change(Change::Demote(args.id)).await,
                Command::Remove(args) => change(Change::Remove(args.id)).await,
                Command::TransferLeader(args) => change(Change::Transfer(args.id)).await,
                Command::Snapshot(_) => change(Change::Snapshot).await,
                Command::Replace(args) => {
                    crate::config::check_address(&args.addr).map_err(|reason| Failure::new(Exit::Usage, reason))?;
                    operate::replace(&target, args.old, &NewNode { id: args.new, address: args.addr }).await
                }
                Command::Backup(args) => operate::backup(&target, &args.file).await,
                Command::Verify(VerifyArgs { file: Some(file), .. }) => operate::verify_file(&target, &file),
                Command::Verify(_) => operate::verify_cluster(&target).await,
            }
        })
        .await
}

impl Command {
    /// What a command that asks a cluster has in common with the others.
    fn args(&self) -> Option<&TargetArgs> {
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

    fn format(&self) -> Format {
        self.args().map_or(Format::Table, |args| args.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &str) -> Result<Config, String> {
        let words = format!("raftshare-node start --id 1 --data d {arguments}");
        match Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())?.command {
            Command::Start(args) => args.into_config(),
            _ => Err("not start".into()),
        }
    }

    #[test]
    fn start_checks_its_settings() {
        assert_eq!(config("").expect("defaults are valid").birth, Birth::Wait);
        let three = "--bootstrap-expect 3 --members 1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3";
        assert!(matches!(config(three).expect("valid").birth, Birth::Bootstrap { members } if members.len() == 3));
        for (arguments, word) in [
            ("--bootstrap-expect 3 --members 1=127.0.0.1:1", "names 1"),
            ("--bootstrap-expect 1 --members 2=127.0.0.1:1", "does not name this node"),
            ("--bootstrap-expect 2 --members 1=127.0.0.1:1,1=127.0.0.1:2", "twice"),
            ("--bootstrap-expect 1 --members 1=nowhere", "HOST:PORT"),
            ("--listen 0.0.0.0:8080 --insecure", "--advertise"),
            ("--heartbeat 100ms", "election"),
            ("--election 300ms..200ms", "election"),
        ] {
            let error = config(arguments).expect_err(arguments);
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }

    /// Every setting of `start` with values it must refuse, and a word of each refusal. A
    /// setting without a row fails the test.
    const WRONG: &[(&str, &[(&str, &str)])] = &[
        ("id", &[("0", "--id"), ("-1", "invalid"), ("one", "invalid"), ("18446744073709551616", "invalid")]),
        (
            "listen",
            &[
                ("8080", "HOST:PORT"),
                ("http://127.0.0.1:1", "URL"),
                ("::1:8080x", "brackets"),
                ("127.0.0.1:65536", "HOST:PORT"),
                ("no.such.host.invalid:1", "host name"),
                ("0.0.0.0:8080", "--insecure"),
            ],
        ),
        (
            "advertise",
            &[
                ("host", "HOST:PORT"),
                ("https://host:1", "URL"),
                ("::1:8080", "brackets"),
                ("[::1:8080", "brackets"),
                ("host:0", "port 0"),
                ("a/b:1", "HOST:PORT"),
                ("user@host:1", "HOST:PORT"),
            ],
        ),
        ("data", &[]),
        ("bootstrap-expect", &[("0", "--members"), ("x", "invalid")]),
        (
            "members",
            &[
                ("127.0.0.1:1", "ID=HOST:PORT"),
                ("x=127.0.0.1:1", "node id"),
                ("0=127.0.0.1:1", "start at 1"),
                ("1=::1:1", "brackets"),
                ("1=http://h:1", "URL"),
            ],
        ),
        (
            "join",
            &[
                ("127.0.0.1:8080", "scheme"),
                ("https://127.0.0.1:8080", "https"),
                ("ftp://h:1", "base URL"),
                ("http://h", "HOST:PORT"),
                ("http://h:1/path", "HOST:PORT"),
            ],
        ),
        ("log-format", &[("xml", "invalid value")]),
        ("learner", &[]),
        ("replicas", &[("0", "--replicas"), ("101", "--replicas"), ("two", "invalid")]),
        ("lease-ttl", &[("0s", "--lease-ttl"), ("99ms", "--lease-ttl"), ("1000d", "--lease-ttl"), ("60", "invalid")]),
        ("peer-ttl", &[("0s", "--peer-ttl"), ("2d", "--peer-ttl"), ("soon", "invalid")]),
        ("grace", &[("2d", "--grace"), ("-1s", "invalid")]),
        ("heartbeat", &[("0s", "--heartbeat"), ("1us", "--heartbeat"), ("1h", "election")]),
        ("election", &[("200ms", "SHORTEST..LONGEST"), ("1s..2h", "--election"), ("0s..0s", "election")]),
        ("snapshot-every", &[("0", "--snapshot-every"), ("many", "invalid")]),
        ("follower-writes", &[("drop", "forward")]),
        ("insecure", &[]),
    ];

    #[test]
    fn every_setting_refuses_wrong_values() {
        use clap::CommandFactory;
        let cli = Cli::command();
        let start = cli.find_subcommand("start").expect("it exists");
        for argument in start.get_arguments().filter(|argument| argument.get_long() != Some("help")) {
            let name = argument.get_long().expect("every setting has a long name");
            let (_, values) =
                WRONG.iter().find(|(setting, _)| *setting == name).unwrap_or_else(|| panic!("no row for --{name}"));
            for (value, word) in *values {
                let rest = match name {
                    "id" => String::new(),
                    "bootstrap-expect" => "--members 1=127.0.0.1:1".to_owned(),
                    "members" => "--bootstrap-expect 1".to_owned(),
                    _ => String::new(),
                };
                let id = if name == "id" { "" } else { "--id 1" };
                let words = format!("raftshare-node start --data d {id} --{name}={value} {rest}");
                let parsed = Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string());
                let refused = parsed.and_then(|cli| match cli.command {
                    Command::Start(args) => args.into_config().map(drop),
                    _ => Err("not start".into()),
                });
                let error = refused.expect_err(&words);
                assert!(error.contains(word), "{words}: {error}");
            }
        }
    }

    #[test]
    fn names_and_both_kinds_of_ip_address_are_understood() {
        for listen in ["127.0.0.1:0", "[::1]:8080", "localhost:8080"] {
            let config = config(&format!("--listen {listen}")).expect(listen);
            assert!(config.listen.ip().is_loopback(), "{listen}");
        }
        for advertise in ["index-1.example:8080", "[fe80::1]:8080", "10.0.0.1:1"] {
            config(&format!("--advertise {advertise}")).expect(advertise);
        }
    }

    #[test]
    fn the_variables_that_the_client_lists_are_those_that_are_read_here() {
        use clap::CommandFactory;
        let read: Vec<String> = client::cli::variables(&Cli::command()).into_iter().collect();
        assert_eq!(read, client::cli::NODE_VARIABLES);
    }
}
