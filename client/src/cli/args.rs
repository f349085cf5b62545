//! The command line as types, and the spellings of earlier versions translated into it.

mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use raft_store::types::{FileName, PeerId};

use self::values::{
    advertise, bind, command_line, file_name, lease_ttl, limit, patience, peer_id, servers, timeout, zone,
};
use super::output::Format;

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

#[cfg(test)]
mod tests;
