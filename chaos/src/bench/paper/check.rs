//! What the report claims, one row for each claim: what was expected, what ours did, whether it holds.
//!
//! Invariant: a scenario that cannot be carried out is a row that fails; no claim gets lost because an earlier one
//! broke.

use std::fmt::Display;

use crate::columns::{Columns, Side};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The scenario that it belongs to.
    pub scenario: &'static str,
    /// What is claimed.
    pub what: String,
    /// Where: a section of the report, or `ours` for what the original could not do.
    pub source: &'static str,
    /// What has to be seen.
    pub expected: String,
    /// What was seen.
    pub ours: String,
    /// Whether that is enough.
    pub pass: bool,
}

/// The rows in order.
#[derive(Debug, Default)]
pub struct Checks {
    scenario: &'static str,
    rows: Vec<Check>,
}

impl Checks {
    /// The following rows belong to this scenario.
    pub(super) fn begin(&mut self, scenario: &'static str) {
        self.scenario = scenario;
    }

    /// A row.
    pub(super) fn add(
        &mut self,
        (source, what): (&'static str, impl Into<String>),
        expected: impl Display,
        ours: impl Display,
        pass: bool,
    ) {
        let (scenario, what, expected, ours) = (self.scenario, what.into(), expected.to_string(), ours.to_string());
        self.rows.push(Check { scenario, what, source, expected, ours, pass });
    }

    /// A row that holds if both are the same.
    pub(super) fn equal(
        &mut self,
        claim: (&'static str, impl Into<String>),
        expected: impl Display,
        ours: impl Display,
    ) {
        let (expected, ours) = (expected.to_string(), ours.to_string());
        let pass = expected == ours;
        self.add(claim, expected, ours, pass);
    }

    /// How the scenario ended; only a failure is a row.
    pub(super) fn end(&mut self, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            self.add(("", "the scenario can be carried out"), "no error", format!("{error:#}"), false);
        }
    }

    /// The rows.
    pub(super) fn into_rows(self) -> Vec<Check> {
        self.rows
    }
}

/// The rows for people.
pub(super) fn table(checks: &[Check]) -> String {
    let headings = ["SCENARIO", "CHECK", "IN THE REPORT", "EXPECTED", "OURS", ""];
    let mut table = Columns::new(headings.map(|heading| (Side::Left, heading)));
    for check in checks {
        let verdict = if check.pass { "pass" } else { "FAIL" };
        let (scenario, source) = (check.scenario.to_owned(), check.source.to_owned());
        table.row(vec![
            scenario,
            check.what.clone(),
            source,
            check.expected.clone(),
            check.ours.clone(),
            verdict.to_owned(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_a_scenario_is_a_row_and_the_rows_before_it_stay() {
        let mut checks = Checks::default();
        checks.begin("core flows");
        checks.equal(("§1", "one"), 1, 1);
        checks.equal(("§1", "two"), 2, 3);
        checks.end(Err(anyhow::anyhow!("nobody leads").context("after the kill")));
        checks.begin("pruning");
        checks.end(Ok(()));
        let rows = checks.into_rows();
        assert_eq!(rows.iter().map(|row| row.pass).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!((rows[2].scenario, rows[2].ours.as_str()), ("core flows", "after the kill: nobody leads"));
        let text = table(&rows);
        assert!(text.contains("FAIL") && text.contains("after the kill: nobody leads"), "{text}");
    }
}
