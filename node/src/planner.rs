//! Replication planning; makes no plans yet.
#![allow(missing_docs, reason = "replaced as a whole")]
use client::api::{FailedTask, Task};
use raft_store::catalog::{Catalog, Event};
use raft_store::types::{FileName, PeerId};
pub struct Planner;
#[derive(Default)]
pub struct Stats {
    pub under_replicated: u64,
    pub tasks: u64,
}
impl Planner {
    pub fn new(_term: u64) -> Self {
        Self
    }
    pub fn rebuild(&mut self, _c: &Catalog) {}
    pub fn observe(&mut self, _c: &Catalog, _e: &[Event]) {}
    pub fn plan(&mut self, _c: &Catalog, _now: u64, _grace: bool) -> Vec<PeerId> {
        Vec::new()
    }
    pub fn heartbeat(&mut self, _p: &PeerId, _w: &[String], _f: &[FailedTask], _b: Option<u64>, _now: u64) {}
    pub fn tasks_for(&self, _c: &Catalog, _p: &PeerId) -> Vec<Task> {
        Vec::new()
    }
    pub fn why(&self, _c: &Catalog, _f: &FileName) -> Option<serde_json::Value> {
        None
    }
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    pub fn abandon_overdue(&mut self, _now: u64) {}
}
