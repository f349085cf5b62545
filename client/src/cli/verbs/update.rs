//! `raftshare update`: edits a file under a lease.

use std::path::PathBuf;

use clap::Args;
use raft_store::types::FileName;

use crate::cli::Session;
use crate::cli::edit::{Source, change};
use crate::cli::fetch::Known;
use crate::cli::leases::Waiting;
use crate::cli::values::{command_line, file_name};
use crate::terminal::Failure;

/// Edit a file under a lease and publish it as the next version; creates the file if it does not exist.
#[derive(Debug, Clone, Args)]
pub struct Update {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// Editor to use instead of $VISUAL or $EDITOR.
    #[arg(long, value_name = "CMD", group = "source", value_parser = command_line)]
    pub editor: Option<String>,
    /// Take the new content from this file; `-` means the standard input.
    #[arg(long, value_name = "FILE", group = "source")]
    pub from: Option<PathBuf>,
    /// Run this shell command instead of an editor; $1 is the path of the file.
    #[arg(long, value_name = "CMD", group = "source", value_parser = command_line)]
    pub exec: Option<String>,
    /// Options for the lease.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Whom to fetch the current content from.
    #[command(flatten)]
    pub known: Known,
}

impl Update {
    /// Publishes what the editor or the command makes of the file, or the content of another file.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let source = match (&self.from, &self.exec) {
            (Some(path), _) => Source::from_path(path)?,
            (None, Some(command)) => Source::Exec(command.clone()),
            (None, None) => Source::editor(self.editor.as_deref())?,
        };
        let session = &session.allowing(self.known.allow_peers.as_ref());
        change(session, &self.name, &self.waiting, source).await
    }
}
