//! Damage to the files of a node that is down.
//!
//! Invariant: only files of one node at a time are damaged.

use super::{Arena, Effect};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {}

/// The family's state in a run.
#[derive(Debug, Default)]
pub struct Files {}

impl Files {
    /// Injects a fault.
    pub async fn inject(&mut self, fault: Fault, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {}
    }

    /// Removes what was injected.
    pub async fn heal(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        Ok(Vec::new())
    }
}
