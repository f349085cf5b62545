//! Clocks that jump or run at the wrong rate, and nodes without processor time.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
