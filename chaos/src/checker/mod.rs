//! Checkers: each proves one property of a history, from outside, with a model of its own.
//!
//! Every file opens with what it proves, where the property comes from, and what it cannot see. Every checker is tested
//! on a good history and on broken ones it must catch; a checker that never failed on anything proves nothing.

pub mod availability;
pub mod convergence;
pub mod durability;
pub mod fencing;
pub mod idempotency;
pub mod linearizability;
pub mod lines;
pub mod logs;
pub mod mutual_exclusion;
pub mod patience;
pub mod quorum;
pub mod read_your_writes;
pub mod reads;
pub mod refusals;
pub mod replication;
pub mod resources;
#[cfg(test)]
pub(crate) mod sample;
pub mod searches;
pub mod survival;
pub mod transactions;
pub mod validity;
pub mod versions;
pub mod wgl;

use serde::{Deserialize, Serialize};

use crate::history::OpId;
use crate::model::{Apart, Model, Operation};

/// Violations that are kept per checker; the count goes on.
pub const FINDINGS_MAX: usize = 20;

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct Checker {
    /// Short name, for `--only` and reports.
    pub name: &'static str,
    /// The property in words, as the table shows it.
    pub property: &'static str,
    /// The check.
    pub check: fn(&Model) -> Findings,
}

/// What a checker found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Facts that were held against the property.
    pub checks: u64,
    /// Facts that broke it.
    pub violations: u64,
    /// The first of them, at most [`FINDINGS_MAX`].
    pub first: Vec<Finding>,
    /// What could not be decided, and why.
    pub undecided: Vec<String>,
}

/// One fact that broke the property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// In words.
    pub what: String,
    /// The operations that show it.
    pub operations: Vec<OpId>,
}

impl Findings {
    /// Counts one fact; a false one is a violation, shown by `operations`.
    pub fn expect(&mut self, holds: bool, operations: &[OpId], what: impl FnOnce() -> String) {
        self.checks += 1;
        if holds {
            return;
        }
        self.violations += 1;
        if self.first.len() < FINDINGS_MAX {
            self.first.push(Finding { what: what(), operations: operations.to_vec() });
        }
    }
}

/// Judges every operation that began while some nodes had no majority. If there was none, there is nothing to
/// decide, which counts as one fact.
fn while_apart(model: &Model, mut judge: impl FnMut(&Operation, &Apart, &mut Findings)) -> Findings {
    let mut findings = Findings::default();
    let mut taken_apart = false;
    for apart in model.apart() {
        taken_apart = true;
        for operation in model.operations.values().filter(|operation| apart.began_in(operation)) {
            judge(operation, &apart, &mut findings);
        }
    }
    findings.checks += u64::from(!taken_apart);
    findings
}

/// The checkers that apply to every scenario.
pub const ALL: &[Checker] = &[
    mutual_exclusion::CHECKER,
    lines::CHECKER,
    fencing::CHECKER,
    versions::CHECKER,
    durability::CHECKER,
    idempotency::CHECKER,
    linearizability::CHECKER,
    reads::CHECKER,
    read_your_writes::CHECKER,
    searches::CHECKER,
    transactions::CHECKER,
    refusals::CHECKER,
    convergence::CHECKER,
    replication::CHECKER,
    survival::CHECKER,
    logs::CHECKER,
    resources::CHECKER,
    quorum::CHECKER,
    availability::CHECKER,
];

/// The same, for scenarios in which a patient client must see no failure.
pub const ALL_AND_PATIENCE: &[Checker] = &{
    let mut checkers = [patience::CHECKER; ALL.len() + 1];
    let mut index = 0;
    while index < ALL.len() {
        checkers[index] = ALL[index];
        index += 1;
    }
    checkers
};
