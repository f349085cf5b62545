//! What one seed came to.
//!
//! Invariant: a seed in which too little happened is invalid, and no pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Verdict;

/// Acknowledged operations below which a seed shows too little.
const ACKNOWLEDGED_MIN: usize = 15;

/// One seed's result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What it came to.
    pub verdict: Verdict,
    /// Hash over everything that was seen; the same seed has the same one.
    pub trace: String,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Real milliseconds.
    pub took_ms: u64,
    /// Operations that were answered with success.
    pub acknowledged: usize,
    /// Operations whose outcome nobody knows.
    pub unknown: usize,
    /// Operations that were refused.
    pub refused: usize,
    /// Facts that were examined.
    pub checks: u64,
    /// Facts examined per property.
    pub properties: BTreeMap<String, u64>,
    /// What was broken.
    pub violations: Vec<String>,
    /// Why it is invalid.
    pub shortcomings: Vec<String>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Other things that happened, by name.
    pub happened: BTreeMap<String, u64>,
}

impl Outcome {
    /// Decides the verdict.
    pub(super) fn judged(mut self) -> Self {
        if self.acknowledged < ACKNOWLEDGED_MIN {
            let words =
                format!("{} acknowledged operations, at least {ACKNOWLEDGED_MIN} are needed", self.acknowledged);
            self.shortcomings.push(words);
        }
        if self.faults.values().sum::<u64>() == 0 {
            self.shortcomings.push("no fault fired".into());
        }
        self.verdict = match (self.violations.is_empty(), self.shortcomings.is_empty()) {
            (false, _) => Verdict::Violation,
            (true, false) => Verdict::Invalid,
            (true, true) => Verdict::Pass,
        };
        self
    }
}
