//! Faults of the disks below the nodes' data.
//!
//! Invariant: after cleaning up nothing is mounted.

use super::{Arena, Effect, NodePlan, Place};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

/// What the nodes' data directories are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Disks {}

impl Disks {
    /// Before the first node starts.
    pub async fn prepare(kind: Kind, _place: &Place) -> anyhow::Result<Self> {
        match kind {}
    }

    /// Changes how a node is started.
    pub async fn shape(&mut self, _plan: &mut NodePlan) -> anyhow::Result<()> {
        Ok(())
    }

    /// Injects a fault.
    pub async fn inject(&mut self, fault: Fault, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {}
    }

    /// Removes what was injected.
    pub async fn heal(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        Ok(Vec::new())
    }

    /// Unmounts and removes.
    pub async fn clean_up(&mut self) {}
}
