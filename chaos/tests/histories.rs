//! Histories that earlier revisions wrote are still read, and checked to the same result.

use std::path::Path;

use chaos::model::Model;
use chaos::recorder::load;
use chaos::report::{Report, judge};
use chaos::scenario;

#[test]
fn a_stored_history_is_checked_to_the_same_report() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let events = load(&directory.join("mixed.jsonl.gz")).expect("the history is read");
    let model = Model::new(&events);
    let scenario = scenario::find(&model.run.scenario).expect("its scenario exists");
    let report = judge(&model, scenario.checkers, Some(scenario));
    let text = std::fs::read(directory.join("mixed.report.json")).expect("the report is read");
    let stored: Report = serde_json::from_slice(&text).expect("a report");
    let json = |report: &Report| serde_json::to_value(report).expect("JSON");
    assert_eq!(json(&report), json(&stored));
}

#[test]
fn a_fault_of_another_revision_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("history.jsonl");
    let fault = r#"{"at":1,"type":"fault","round":1,"fault":"earthquake","node":1,"led":false,"term":null,"outcome":"installed"}"#;
    std::fs::write(&path, fault).expect("writes");
    let error = load(&path).expect_err("an unknown fault").to_string();
    assert!(error.contains("line 1") && error.contains("unknown fault `earthquake`"), "{error}");
    assert!(error.contains("the revision of the program that its first line names"), "{error}");
}
