//! The raftshare peer and the library that talks to an index cluster.

pub mod address;
pub mod api;
#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "library")]
pub mod cluster;
#[cfg(feature = "app")]
pub mod download;
#[cfg(feature = "app")]
pub mod files;
#[cfg(feature = "app")]
pub mod peer;
#[cfg(feature = "terminal")]
pub mod terminal;
