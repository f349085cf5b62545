//! Files of one node that are damaged or gone.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
