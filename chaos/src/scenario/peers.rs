//! Peers that share folders, come, go and lie.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
