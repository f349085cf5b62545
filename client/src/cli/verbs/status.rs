//! `raftshare status`: the cluster's health.

use clap::Args;

use crate::cli::Session;
use crate::terminal::{Failure, health};

/// State of the index cluster; exits 0 if healthy, 11 if degraded, 6 without a quorum.
#[derive(Debug, Clone, Args)]
pub struct Status;

impl Status {
    /// Prints the members and how many failures they survive.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        health::status(&session.client, &session.output).await
    }
}
