//! The command line as types, and the spellings of earlier versions translated into it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use raft_store::types::{FileName, PeerId, limits};

use super::output::Format;
use crate::address;

/// Shortest `--timeout`.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Most hits that one search answers.
pub const SEARCH_LIMIT_MAX: usize = 1_000;

/// Share a folder with other peers; find, fetch and update files under leases.
#[derive(Debug, Parser)]
#[command(name = "raftshare", version, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// Options every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Index servers, comma-separated; any of them will do.
    #[arg(
        long,
        global = true,
        value_name = "URL,URL",
        env = "RAFTSHARE_SERVER",
        value_parser = servers,
        default_value = "http://127.0.0.1:8080"
    )]
    pub server: String,
    /// The shared folder.
    #[arg(long, global = true, value_name = "DIR", env = "RAFTSHARE_DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Names the peer where the folder has no id yet.
    #[arg(long, global = true, value_name = "ID", env = "RAFTSHARE_NAME", value_parser = peer_id)]
    pub peer_id: Option<PeerId>,
    /// The token to show to the cluster.
    #[arg(long, global = true, value_name = "TOKEN", env = "RAFTSHARE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// How results are printed: for people, as JSON, or tab-separated.
    #[arg(short, long, global = true, value_enum, env = "RAFTSHARE_OUTPUT", default_value = "table")]
    pub output: Format,
    /// How long a request may take, repeats included.
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout, default_value = "10s")]
    pub timeout: Duration,
    /// Say nothing but results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log what is going on, to the standard error; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Share the folder, keep its copies up to date, and open an interactive shell.
    Serve(Serve),
    /// What can be done outside and inside the shell.
    #[command(flatten)]
    Action(Action),
}

/// Options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Address for other peers to fetch from; `:PORT` listens on loopback, port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT", env = "RAFTSHARE_BIND", value_parser = bind, default_value = "127.0.0.1:0")]
    pub bind: String,
    /// Address under which other peers reach this one, if it is not the one listened at.
    #[arg(long, value_name = "URL", value_parser = advertise)]
    pub advertise: Option<String>,
    /// Failure zone: copies are spread over zones.
    #[arg(long, value_parser = zone)]
    pub zone: Option<String>,
    /// Bytes the folder may hold for others; unlimited if left out.
    #[arg(long, value_name = "BYTES")]
    pub capacity: Option<u64>,
    /// Listen at addresses other than loopback, although everybody there can read the shared files.
    #[arg(long)]
    pub insecure: bool,
    /// Only share; do not read commands.
    #[arg(long)]
    pub no_shell: bool,
}

/// A command of the shell and of the command line alike.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Find files by name, typing errors forgiven; an empty query lists everything.
    Search(Search),
    /// Fetch files into the folder.
    Get(Get),
    /// The folder's files: versions, copies, locks.
    List(List),
    /// Edit a file under a lease and publish it as its next version; creates it if it does not exist.
    Update(Update),
    /// Append text to a file under a lease and publish it.
    Append(Append),
    /// Delete a file everywhere (into the trash), or only the copy in this folder.
    Rm(Remove),
    /// Take, renew, give back or look at leases.
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// The peers, or those that have one file.
    Peers {
        /// The file.
        #[arg(value_parser = file_name)]
        name: Option<FileName>,
    },
    /// State of the index cluster; exits 0 if healthy, 11 if degraded, 6 without a quorum.
    Status,
    /// Why a file has the copies it has.
    Why {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
}

/// Options of `search`.
#[derive(Debug, Clone, Args)]
pub struct Search {
    /// Words of the name.
    pub query: Vec<String>,
    /// How many hits to print.
    #[arg(short = 'n', long, default_value_t = 50, value_parser = limit)]
    pub limit: usize,
    /// How the query matches.
    #[arg(long, value_enum, default_value = "fuzzy")]
    pub mode: Mode,
    /// How consistent the answer has to be; `auto` accepts a follower's if the leader does not answer, and says so.
    #[arg(long, value_enum, env = "RAFTSHARE_CONSISTENCY", default_value = "auto")]
    pub consistency: Level,
}

/// How a query matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Forgives a typing error.
    Fuzzy,
    /// Anywhere in the name.
    Substring,
    /// At the beginning.
    Prefix,
}

/// How consistent a read has to be (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The leader's answer if it comes at once, else a follower's.
    Auto,
    /// The leader's.
    Leader,
    /// Confirmed with a majority.
    Linearizable,
    /// Any node's.
    Stale,
}

/// Options of `get`.
#[derive(Debug, Clone, Args)]
pub struct Get {
    /// The files.
    #[arg(required = true, value_parser = file_name)]
    pub names: Vec<FileName>,
    /// Write the file here instead of into the shared folder; `-` prints it.
    #[arg(short = 'O', long, value_name = "PATH")]
    pub out: Option<PathBuf>,
}

/// Options of `list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// What the index knows, instead of what is in the folder.
    #[arg(long)]
    pub remote: bool,
}

/// Waiting in line for a lease (L5).
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Wait in line if somebody else has the lease, for this long or for ever.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "forever",
          value_parser = patience)]
    pub wait: Option<Patience>,
    /// How long the lease lasts without renewal.
    #[arg(long, value_name = "DURATION", value_parser = lease_ttl, env = "RAFTSHARE_LEASE_TTL", default_value = "60s")]
    pub ttl: Duration,
}

/// How long to wait in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until it is granted.
    Forever,
    /// At most this long.
    For(Duration),
}

/// Options of `update`.
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// The editor to open, instead of $VISUAL or $EDITOR.
    #[arg(long, value_name = "CMD", group = "source", value_parser = command_line)]
    pub editor: Option<String>,
    /// Take the new content from this file; `-` reads the standard input.
    #[arg(long, value_name = "FILE", group = "source")]
    pub from: Option<PathBuf>,
    /// Run this shell command on the file (its path is $1) instead of an editor.
    #[arg(long, value_name = "CMD", group = "source", value_parser = command_line)]
    pub exec: Option<String>,
    /// Waiting for the lease.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Options of `append`.
#[derive(Debug, Clone, Args)]
pub struct Append {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// The text, one line; `-` or nothing reads the standard input.
    pub text: Option<String>,
    /// Waiting for the lease.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Options of `rm`.
#[derive(Debug, Clone, Args)]
pub struct Remove {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// Only drop the copy in this folder.
    #[arg(long)]
    pub local: bool,
    /// Do not ask; needed where there is no terminal.
    #[arg(short, long)]
    pub yes: bool,
    /// Waiting for the lease.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// The commands about leases.
#[derive(Debug, Clone, Subcommand)]
pub enum LeaseCommand {
    /// Take the lease of a file; this folder keeps its token.
    Acquire {
        /// The file; it need not exist yet.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// Waiting for the lease.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Extend the lease that this folder has.
    Renew {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// How long from now; the granted duration if left out.
        #[arg(long, value_name = "DURATION", value_parser = lease_ttl)]
        ttl: Option<Duration>,
    },
    /// Give back the lease that this folder has.
    Release {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
    /// Who has the lease.
    Status {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
    /// Who has the lease and who waits for it.
    Queue {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
}

/// Translates `-cmd serve -server URL …`, the spelling of earlier versions.
pub fn modernise(mut args: Vec<String>) -> Vec<String> {
    let Some(position) = args.iter().position(|arg| arg == "-cmd" || arg == "--cmd") else { return args };
    args.remove(position);
    if position >= args.len() {
        return args;
    }
    let command = args.remove(position);
    for arg in args.iter_mut().skip(1) {
        let is_long = arg.len() > 2 && arg.starts_with('-') && !arg.starts_with("--");
        if is_long && arg.as_bytes()[1].is_ascii_alphabetic() {
            arg.insert(0, '-');
        }
    }
    args.insert(1, command);
    args
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    PeerId::parse(text).map_err(|error| error.to_string())
}

fn file_name(text: &str) -> Result<FileName, String> {
    // What a shell completes to is meant as a name in the folder.
    FileName::parse(text.strip_prefix("./").unwrap_or(text)).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; examples: 250ms, 5s, 2h"))
}

fn within(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let parsed = duration(text)?;
    if (least..=most).contains(&parsed) {
        return Ok(parsed);
    }
    let shown = humantime::format_duration;
    Err(format!("it must be between {} and {}", shown(least), shown(most)))
}

fn timeout(text: &str) -> Result<Duration, String> {
    within(text, TIMEOUT_MIN, crate::cluster::retry::DEADLINE_MAX)
}

fn lease_ttl(text: &str) -> Result<Duration, String> {
    let limit = Duration::from_millis;
    within(text, limit(limits::LEASE_TTL_MS_MIN), limit(limits::LEASE_TTL_MS_MAX))
}

fn servers(text: &str) -> Result<String, String> {
    address::base_urls(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn bind(text: &str) -> Result<String, String> {
    address::listen(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn advertise(text: &str) -> Result<String, String> {
    address::reachable_url(text).map_err(|error| error.to_string())
}

fn zone(text: &str) -> Result<String, String> {
    let printable = !text.is_empty() && !text.chars().any(char::is_control);
    if printable && text.len() <= limits::ADDRESS_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("a zone is 1 to {} bytes without control characters", limits::ADDRESS_BYTES_MAX))
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=SEARCH_LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(format!("it must be a number from 1 to {SEARCH_LIMIT_MAX}")),
    }
}

fn command_line(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it names no command".into()) } else { Ok(text.to_owned()) }
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "forever" { Ok(Patience::Forever) } else { duration(text).map(Patience::For) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(modernise(line.split_whitespace().map(str::to_owned).collect()))
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_parses() {
        for line in [
            "raftshare serve --server http://a:1,http://b:2 --dir d --bind 127.0.0.1:9001 --no-shell --peer-id p",
            "raftshare search quarterly reprt --server http://a:1 -o json",
            "raftshare search",
            "raftshare get a.txt b/c.txt --dir d",
            "raftshare get a.txt -O -",
            "raftshare list --remote",
            "raftshare update a.txt --editor vim --wait=5m",
            "raftshare update a.txt --from f --wait",
            "raftshare append a.txt -",
            "raftshare append a.txt hello --wait --server http://a:1",
            "raftshare rm a.txt --local --yes",
            "raftshare lease acquire a.txt --ttl 250ms --wait=1s",
            "raftshare lease renew a.txt --ttl 2h",
            "raftshare lease release ./a.txt",
            "raftshare lease status a.txt",
            "raftshare lease queue a.txt",
            "raftshare peers",
            "raftshare peers a.txt -o plain",
            "raftshare status --timeout 1s",
            "raftshare why a.txt",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn names_and_durations_are_checked_with_their_rule() {
        for (line, expected) in [
            ("raftshare get ../etc/passwd", "'.' or '..' segment"),
            ("raftshare get /etc/passwd", "starts with '/'"),
            ("raftshare why a\\b", "backslash"),
            ("raftshare lease acquire a --ttl soon", "examples: 250ms"),
            ("raftshare update a --from x --exec y", "cannot be used with"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn the_earlier_spelling_is_understood() {
        let cli = parse("raftshare -cmd serve -server http://a:1 -dir tmp/p1 -bind :9001").expect("the old spelling");
        assert_eq!((cli.common.server.as_str(), cli.common.dir.to_str()), ("http://a:1", Some("tmp/p1")));
        assert!(matches!(cli.command, Command::Serve(serve) if serve.bind == ":9001"));
        let short = parse("raftshare -cmd search -server http://a:1 -o json x").expect("one-letter options stay");
        assert_eq!(short.common.output, Format::Json);
    }

    #[test]
    fn wait_takes_a_duration_only_with_an_equals_sign() {
        let wait = |line: &str| match parse(line).expect(line).command {
            Command::Action(Action::Append(append)) => (append.waiting.wait, append.text),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("raftshare append a --wait 5m"), (Some(Patience::Forever), Some("5m".into())));
        assert_eq!(wait("raftshare append a --wait=5m").0, Some(Patience::For(Duration::from_secs(300))));
        assert_eq!(wait("raftshare append a").0, None);
    }

    /// A setting, as `COMMAND --option` or `COMMAND NAME`, and values it must refuse. An empty row says that
    /// every text will do, such as any path.
    const WRONG: &[(&str, &[&str])] = &[
        ("--server", &["", ",", "https://a:1", "ftp://a:1", "::1", "localhost", "http://a:1/x", "a:0", "a:65536"]),
        ("--dir", &[]),
        ("--peer-id", &["", "a\nb"]),
        ("--token", &[]),
        ("--output", &["", "yaml", "JSON"]),
        ("--timeout", &["", "0s", "soon", "5", "-1s", "1h", "1000d"]),
        ("serve --bind", &["", "localhost", "::1", "::1:80", "9001", "http://a:1", "a:99999", "a:-1"]),
        ("serve --advertise", &["", "a", "0.0.0.0:1", "[::]:1", "a:0", "https://a:1", "http://a:1/x"]),
        ("serve --zone", &["", "a\tb"]),
        ("serve --capacity", &["", "-1", "1.5", "many", "18446744073709551616"]),
        ("search query", &[]),
        ("search --limit", &["", "0", "-1", "1001", "x"]),
        ("search --mode", &["", "regex"]),
        ("search --consistency", &["", "strong"]),
        ("get names", &["", "/a", "../a", "a//b", "a\\b", "sub/.raftshare/identity.json", ".RAFTSHARE/x"]),
        ("get --out", &[]),
        ("update name", &["", "/a", ".raftshare/x"]),
        ("update --editor", &["", " "]),
        ("update --from", &[]),
        ("update --exec", &["", " "]),
        ("update --wait", &["", "soon", "-1s"]),
        ("update --ttl", &["", "0s", "99ms", "1000d", "60", "soon"]),
        ("append name", &["", "/a"]),
        ("append text", &[]),
        ("append --wait", &["", "soon"]),
        ("append --ttl", &["", "0s", "25h"]),
        ("rm name", &["", "/a"]),
        ("rm --wait", &["", "soon"]),
        ("rm --ttl", &["", "0s", "25h"]),
        ("lease acquire name", &["", "/a"]),
        ("lease acquire --wait", &["", "soon"]),
        ("lease acquire --ttl", &["", "0s", "25h"]),
        ("lease renew name", &["", "/a"]),
        ("lease renew --ttl", &["", "0s", "25h"]),
        ("lease release name", &["", "/a"]),
        ("lease status name", &["", "/a"]),
        ("lease queue name", &["", "/a"]),
        ("peers name", &["", "/a"]),
        ("why name", &["", "/a"]),
    ];

    /// Every argument with a value, as clap knows it: the command's words, the argument, and
    /// how it is named in the table.
    fn settings(command: &clap::Command, words: &[String], all: &mut Vec<(Vec<String>, clap::Arg, String)>) {
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            if arg.is_global_set() && !words.is_empty() {
                continue; // an option of every command, listed once
            }
            let name = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
            let key = words.iter().cloned().chain([name]).collect::<Vec<_>>().join(" ");
            all.push((words.to_vec(), arg.clone(), key));
        }
        for inner in command.get_subcommands() {
            let words: Vec<String> = words.iter().cloned().chain([inner.get_name().to_owned()]).collect();
            settings(inner, &words, all);
        }
    }

    #[test]
    fn every_setting_refuses_wrong_values() {
        use clap::CommandFactory;
        let mut all = Vec::new();
        settings(&Cli::command(), &[], &mut all);
        let mut rows: std::collections::BTreeMap<&str, &[&str]> = WRONG.iter().copied().collect();
        assert_eq!(rows.len(), WRONG.len(), "a setting has one row");
        for (words, arg, key) in all {
            let wrong = rows.remove(key.as_str()).unwrap_or_else(|| panic!("'{key}' has no row with wrong values"));
            for value in wrong {
                let mut line = vec!["raftshare".to_owned()];
                line.extend(if words.is_empty() { vec!["status".to_owned()] } else { words.clone() });
                line.push(match arg.get_long() {
                    Some(long) => format!("--{long}={value}"),
                    None => (*value).to_owned(),
                });
                // What the command needs besides.
                if arg.get_long().is_some()
                    && ["get", "update", "append", "rm", "lease"].contains(&words.first().map_or("", String::as_str))
                {
                    line.push("a.txt".to_owned());
                }
                let error = Cli::try_parse_from(&line).err().unwrap_or_else(|| panic!("{line:?} is accepted"));
                let kind = error.kind();
                let about_value = [clap::error::ErrorKind::ValueValidation, clap::error::ErrorKind::InvalidValue];
                assert!(about_value.contains(&kind), "{line:?}: {kind:?} {error}");
            }
        }
        assert!(rows.is_empty(), "no such settings: {rows:?}");
    }
}
