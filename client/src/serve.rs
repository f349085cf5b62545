//! `raftshare serve`: shares the folder, and reads commands while it does.

use crate::cli::args::Serve;
use crate::cli::{Exit, Failure, Session};

/// Runs until the user quits or the process is told to stop.
pub async fn run(_session: &Session, _serve: &Serve) -> Result<(), Failure> {
    Err(Failure::new(Exit::Other, "this build cannot serve yet"))
}
