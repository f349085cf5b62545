//! The raftshare peer and the library that talks to an index cluster.

pub mod address;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod download;
pub mod files;
pub mod peer;
pub mod terminal;
