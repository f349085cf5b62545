//! `quit` in the shell: stops sharing.

use std::ops::ControlFlow;

use clap::Args;

use crate::cli::Session;
use crate::terminal::Failure;

/// Stop sharing and leave.
#[derive(Debug, Clone, Args)]
#[command(alias = "exit")]
pub struct Quit;

impl Quit {
    /// Ends the shell, and with it `serve`.
    pub async fn run(&self, _: &Session) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Break(()))
    }
}
