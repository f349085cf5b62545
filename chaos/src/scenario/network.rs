//! Links between nodes that are cut, slow, or break.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
