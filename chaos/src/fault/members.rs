//! Members that come and go.
//!
//! Invariant: a healed cluster has the members it began with.

use super::{Arena, Effect, Place};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Members {}

impl Members {
    /// Before the first node starts.
    pub async fn prepare(_place: &Place) -> anyhow::Result<Self> {
        Ok(Self {})
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
