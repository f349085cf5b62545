//! Where the storage's blocking work, and a node's long computations, run: on threads, or in a simulation on
//! the simulated machine's own runtime.
//!
//! Invariant: this is the only place that knows the difference; what is written, in which order, and when it is
//! acknowledged is the same code in both.

use std::io;

#[cfg(any(test, feature = "sim"))]
use super::sim::SimDisk;

/// Where blocking work runs.
#[derive(Debug, Clone, Default)]
pub enum Executor {
    /// On threads of their own.
    #[default]
    Threads,
    /// Between two waits of simulated time, so that a crash can come before, during or after it.
    #[cfg(any(test, feature = "sim"))]
    Simulated(SimDisk),
}

impl Executor {
    /// Runs work that may block, and returns once it is done.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => {
                tokio::time::sleep(disk.pause()).await;
                let done = work();
                tokio::time::sleep(disk.pause()).await;
                disk.settle_files();
                Ok(done)
            }
        }
    }

    /// Runs a computation that takes longer than the small work of an async thread. A simulated one takes a moment of
    /// simulated time, in which others may run, and touches no disk.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => {
                tokio::time::sleep(disk.pause()).await;
                Ok(work())
            }
        }
    }
}
