//! Disks that lose what was not synced, are full, or fail.

use super::Scenario;

/// Scenarios of this family.
pub const SCENARIOS: &[Scenario] = &[];
