//! `raftshare status`: shows the health of the cluster.

use clap::Args;

use crate::cli::Session;
use crate::terminal::{Failure, health};

/// Show the state of the index cluster; exits with 0 if healthy, 11 if degraded, 6 without a quorum.
#[derive(Debug, Clone, Args)]
pub struct Status;

impl Status {
    /// Prints the members, and how many failures the cluster survives.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        health::status(&session.client, &session.output).await
    }
}
