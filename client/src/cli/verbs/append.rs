//! `raftshare append`: adds text to a file under a lease.

use clap::Args;
use raft_store::types::FileName;

use crate::cli::Session;
use crate::cli::edit::{Source, change};
use crate::cli::fetch::Known;
use crate::cli::leases::Waiting;
use crate::cli::values::file_name;
use crate::terminal::Failure;

/// Append text to a file under a lease and publish it.
#[derive(Debug, Clone, Args)]
pub struct Append {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// The text, as one line; if omitted or `-`, it is read from the standard input.
    pub text: Option<String>,
    /// Options for the lease.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Whom to fetch the current content from.
    #[command(flatten)]
    pub known: Known,
}

impl Append {
    /// Publishes the file with the text at its end.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let source = Source::appended(self.text.as_deref())?;
        let session = &session.allowing(self.known.allow_peers.as_ref());
        change(session, &self.name, &self.waiting, source).await
    }
}
