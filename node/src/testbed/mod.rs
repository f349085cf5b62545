//! Real processes on this machine: started with their output in a file, sent signals, and given free ports.
//!
//! The fault injector and the tests of this crate drive real nodes with it.
//!
//! Invariant: no child outlives the program that started it.

mod ports;
mod process;

pub use ports::free_ports;
pub use process::{Process, Spec, die_with_parent, find_binary, signal};
pub use rustix::process::Signal;

/// Why a process could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// A binary of the product is missing.
    #[error("{path} does not exist; build it with `cargo build --release`, or name its directory with --bin-dir")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A signal could not be sent.
    #[error("cannot send signal {signal:?} to process {pid}: {source}")]
    Signal {
        /// Which signal.
        signal: Signal,
        /// To whom.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
    /// It does not run.
    #[error("the process does not run")]
    NotRunning,
    /// No port is free.
    #[error("no free port was found on 127.0.0.1")]
    Ports,
}
