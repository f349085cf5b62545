//! Runs the storage's blocking work and a node's long computations: on threads, or, in a simulation, on the simulated
//! machine's own runtime.
//!
//! Invariant: what is written, in which order, and when it is acknowledged is decided by the same code in both cases.

use std::io;

#[cfg(any(test, feature = "sim"))]
use super::sim::SimDisk;

/// Where blocking work runs.
#[derive(Debug, Clone, Default)]
pub enum Executor {
    /// On threads of their own.
    #[default]
    Threads,
    /// In simulated time that passes before and after the work, so that a crash can come before, during or after it.
    #[cfg(any(test, feature = "sim"))]
    Simulated(SimDisk),
}

impl Executor {
    /// Runs work that may block, and waits for it.
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

    /// Runs a computation that is too long for an async thread. In a simulation it takes a moment of simulated time, in
    /// which other tasks may run, and touches no disk.
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
