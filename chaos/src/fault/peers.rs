//! Peers that share folders, come, go and lie.
//!
//! Invariant: a healed network has all its peers.

use super::{Arena, Effect, Place};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Peers {}

impl Peers {
    /// Before the first node starts.
    pub async fn prepare(_count: usize, _place: &Place) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// The cluster serves.
    pub async fn started(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// After healing.
    pub async fn verify(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<()> {
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
