//! Proves: no node logged an error, and none panicked, unless the scenario's faults announce it.
//!
//! Source: rule W4 (a storage error is told and ends the node; nothing else is an error); etcd's robustness tests look
//! through the members' logs in the same way.
//!
//! Cannot see: what a node did not log, and lines below level ERROR.

use super::{Checker, Findings};
use crate::model::Model;

/// Logs are clean.
pub const CHECKER: Checker = Checker { name: "logs", property: "no unexpected error in the nodes' logs", check };

fn check(model: &Model) -> Findings {
    let expected = crate::scenario::find(&model.run.scenario).map_or(&[][..], |scenario| scenario.expected_errors);
    judge(model, expected)
}

fn judge(model: &Model, expected: &[&str]) -> Findings {
    let mut findings = Findings::default();
    for (node, lines) in &model.logs_read {
        findings.expect(true, &[], || format!("the log of node {node} has {lines} lines"));
    }
    for (node, line) in &model.log_lines {
        let announced = expected.iter().any(|part| line.contains(part));
        findings.expect(announced, &[], || format!("node {node} logged: {line}"));
    }
    findings
}

/// Whether a line of a node's log says that something went wrong.
pub fn is_error(line: &str) -> bool {
    // `2026-01-01T00:00:00Z ERROR text`; a panic's message comes without time or level.
    let level = line.split_whitespace().nth(1);
    level == Some("ERROR") || line.starts_with("thread '") && line.contains("panicked at")
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Record;

    fn with(line: &str) -> Sample {
        let mut sample = good();
        sample.record(230, Record::LogLine { node: 2, line: line.into() });
        sample
    }

    #[test]
    fn an_error_that_nothing_announced_is_caught() {
        with("2026-01-01T00:00:00Z ERROR storage failed: no space").caught_by(&CHECKER, "node 2 logged");
    }

    #[test]
    fn an_announced_error_is_accepted() {
        let model = with("2026-01-01T00:00:00Z ERROR storage failed: no space").model();
        assert_eq!(judge(&model, &["storage failed"]).violations, 0);
        assert_eq!(judge(&model, &["something else"]).violations, 1);
    }

    #[test]
    fn errors_and_panics_are_told_from_other_lines() {
        assert!(is_error("2026-11-21T09:53:06.813078Z ERROR storage failed: x"));
        assert!(is_error("thread 'tokio-runtime-worker' (7) panicked at node/src/x.rs:1:2:"));
        assert!(!is_error("2026-11-21T09:53:06.813078Z  INFO no ERROR here"));
        assert!(!is_error("raftshare-node 1 serves http://127.0.0.1:1"));
    }
}
