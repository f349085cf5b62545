//! Where the storage's blocking work runs: on threads, or in a simulation on the simulated machine's own runtime.
//!
//! Invariant: this is the only place that knows the difference; what is written, in which order, and when it is
//! acknowledged is the same code in both.

use std::io;

use super::sim::SimDisk;

/// Where blocking work runs.
#[derive(Debug, Clone, Default)]
pub(crate) enum Executor {
    /// On threads of their own.
    #[default]
    Threads,
    /// Between two waits of simulated time, so that a crash can come before, during or after it.
    Simulated(SimDisk),
}

impl Executor {
    /// Runs work that may block, and returns once it is done.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Simulated(disk) => {
                tokio::time::sleep(disk.pause()).await;
                let done = work();
                tokio::time::sleep(disk.pause()).await;
                disk.settle_files();
                Ok(done)
            }
        }
    }
}
