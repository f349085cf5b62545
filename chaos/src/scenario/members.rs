//! Nodes that are away for long, and members that change.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
