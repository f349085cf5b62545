//! The raftshare peer and the library that talks to an index cluster.

pub mod address;
pub mod cli;
pub mod cluster;
pub mod contract;
pub mod download;
pub mod peer;
pub mod serve;
mod shell;

pub use contract as api;
