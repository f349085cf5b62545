//! Faults of the nodes' clocks.
//!
//! Invariant: a healed clock is the machine's.

use super::{Arena, Effect, NodePlan, Place};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Clocks {}

impl Clocks {
    /// Before the first node starts.
    pub async fn prepare(_place: &Place) -> anyhow::Result<Self> {
        Ok(Self {})
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
}
