//! Fault injection for a raftshare cluster.
#![allow(dead_code)]
pub mod checker;
pub mod history;
pub mod model;
pub mod recorder;
