//! The options of every verb.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use raft_store::types::PeerId;

use super::values::{peer_id, servers, timeout};
use super::verbs::CommandLineVerb;
use crate::terminal::{Format, variables};

/// Share a folder with other peers; find and fetch files, and update them under leases.
#[derive(Debug, Parser)]
#[command(name = "raftshare", version, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: CommandLineVerb,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Index servers, comma-separated; any of them will do.
    #[arg(
        long,
        global = true,
        value_name = "URL,URL",
        env = variables::SERVER,
        value_parser = servers,
        default_value = "http://127.0.0.1:8080"
    )]
    pub server: String,
    /// Learn all members from any server that answers, and remember them in the shared folder.
    #[arg(long, global = true)]
    pub discover: bool,
    /// The shared folder.
    #[arg(long, global = true, value_name = "DIR", env = variables::DIR, default_value = ".")]
    pub dir: PathBuf,
    /// Peer ID for a new folder.
    #[arg(long, global = true, value_name = "ID", env = variables::NAME, value_parser = peer_id)]
    pub peer_id: Option<PeerId>,
    /// The token to present to the cluster.
    #[arg(long, global = true, value_name = "TOKEN", env = variables::TOKEN, hide_env_values = true)]
    pub token: Option<String>,
    /// Output format: a table for people, JSON, or tab-separated text.
    #[arg(short, long, global = true, value_enum, env = variables::OUTPUT, default_value = "table")]
    pub output: Format,
    /// Time limit of a request, including retries.
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout, default_value = "10s")]
    pub timeout: Duration,
    /// Print only results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log to the standard error; repeat for more detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
