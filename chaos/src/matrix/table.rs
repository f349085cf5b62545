//! The matrix as tables: `matrix.json` for programs, `matrix.md` for the documentation, `index.html` for people.
//!
//! Invariant: a row is the sum of its runs and nothing else; what was not run is missing, not clean.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use maud::html;
use serde::Serialize;

use super::state::FinishedRun;
use crate::columns::{Columns, Side};
use crate::report::Verdict;
use crate::report::figures::Spread;
use crate::report::html::{page, table, thousands};

/// All runs of one scenario.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    scenario: String,
    runs: usize,
    passed: usize,
    rounds: u32,
    seconds: u64,
    operations: usize,
    acknowledged: usize,
    unknown_operations: usize,
    repeated: usize,
    checks: u64,
    violations: u64,
    /// Runs by verdict, other than passes.
    others: BTreeMap<String, usize>,
    faults: BTreeMap<String, usize>,
    failover: Spread,
}

fn rows(done: &[&FinishedRun]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut recoveries: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for one in done {
        if rows.last().is_none_or(|row| row.scenario != one.scenario) {
            rows.push(Row { scenario: one.scenario.clone(), ..Row::default() });
        }
        let Some(row) = rows.last_mut() else { continue };
        row.runs += 1;
        row.rounds += one.rounds;
        row.seconds += one.seconds;
        row.operations += one.operations;
        row.acknowledged += one.acknowledged;
        row.unknown_operations += one.unknown;
        row.repeated += one.repeated;
        row.checks += one.checks;
        row.violations += one.violations;
        match one.verdict {
            Verdict::Pass => row.passed += 1,
            other => *row.others.entry(other.word().to_lowercase()).or_default() += 1,
        }
        for (fault, count) in &one.faults {
            *row.faults.entry(fault.clone()).or_default() += count;
        }
        recoveries.entry(one.scenario.clone()).or_default().extend(&one.recoveries_us);
    }
    for row in &mut rows {
        row.failover = Spread::of(recoveries.remove(&row.scenario).unwrap_or_default());
    }
    rows
}

/// Writes all three.
pub(super) fn write(directory: &Path, done: &[&FinishedRun], planned: usize) -> anyhow::Result<()> {
    let rows = rows(done);
    let json = serde_json::json!({
        "revision": crate::revision::REVISION, "planned": planned, "done": done.len(), "rows": rows,
    });
    let files = [
        ("matrix.json", serde_json::to_string_pretty(&json)? + "\n"),
        ("matrix.md", markdown(&rows, done.len(), planned)),
        ("index.html", html(&rows, done, planned)),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn seconds(us: u64) -> String {
    format!("{:.2}", us as f64 / 1e6)
}

fn others(row: &Row) -> String {
    let words: Vec<String> = row.others.iter().map(|(verdict, runs)| format!("{runs} {verdict}")).collect();
    if words.is_empty() { "–".into() } else { words.join(", ") }
}

fn failover(row: &Row) -> String {
    let spread = row.failover;
    if spread.count == 0 {
        return "–".into();
    }
    [spread.p50_us, spread.p95_us, spread.p99_us, spread.max_us].map(seconds).join(" / ")
}

fn faults(row: &Row) -> String {
    let words: Vec<String> = row.faults.iter().map(|(fault, hits)| format!("{} {fault}", thousands(*hits))).collect();
    words.join(", ")
}

fn markdown(rows: &[Row], done: usize, planned: usize) -> String {
    let mut text = format!("Revision `{}`, {done} of {planned} planned runs.\n\n", crate::revision::REVISION);
    text.push_str("| scenario | runs passed | faults that took effect | operations | of unknown outcome | checks | violations | other verdicts | failover p50 / p95 / p99 / max (s) |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} of {} | {} | {} | {} | {} | {} | {} | {} |",
            row.scenario,
            row.passed,
            row.runs,
            faults(row),
            thousands(row.operations),
            thousands(row.unknown_operations),
            thousands(row.checks),
            row.violations,
            others(row),
            failover(row)
        );
    }
    text
}

/// As printed at the end.
pub(super) fn text(done: &[&FinishedRun]) -> String {
    let mut table = Columns::new([
        (Side::Left, "SCENARIO"),
        (Side::Right, "PASSED"),
        (Side::Right, "OPERATIONS"),
        (Side::Right, "CHECKS"),
        (Side::Right, "VIOLATIONS"),
        (Side::Left, "OTHERS"),
    ]);
    for row in rows(done) {
        let passed = format!("{}/{}", row.passed, row.runs);
        let (operations, checks) = (thousands(row.operations), thousands(row.checks));
        table.row(vec![row.scenario.clone(), passed, operations, checks, row.violations.to_string(), others(&row)]);
    }
    table.text() + "\n"
}

fn html(rows: &[Row], done: &[&FinishedRun], planned: usize) -> String {
    let clean = done.len() == planned && done.iter().all(|one| one.verdict == Verdict::Pass);
    let violated = done.iter().any(|one| one.verdict == Verdict::Violation);
    let (class, word) = match (clean, violated) {
        (true, _) => ("pass", "every run passed"),
        (_, true) => ("violation", "a property was violated"),
        _ => ("other", "not every run passed"),
    };
    let runs = |row: &Row| {
        html! {
            @for one in done.iter().filter(|one| one.scenario == row.scenario) {
                @let word = one.verdict.word().to_lowercase();
                @let why = one.why.first().map_or("", String::as_str);
                a class=(word.split(' ').next().unwrap_or_default()) href={ (one.directory) "/report.html" }
                    title={ "seed " (one.seed) ": " (word) " " (why) } { (one.seed) }
                " "
            }
        }
    };
    let body = html! {
        @for row in rows {
            tr {
                th scope="row" { (row.scenario) }
                td.n { (row.passed) "/" (row.runs) }
                td { (faults(row)) }
                td.n { (thousands(row.operations)) }
                td.n { (thousands(row.checks)) }
                td.n { (row.violations) }
                td { (others(row)) }
                td.n { (failover(row)) }
                td.runs { (runs(row)) }
            }
        }
    };
    let headings = [
        ("scenario", false),
        ("passed", true),
        ("faults", false),
        ("operations", true),
        ("checks", true),
        ("violations", true),
        ("other verdicts", false),
        ("failover p50 / p95 / p99 / max (s)", true),
        ("runs by seed", false),
    ];
    let body = html! {
        header class={ "banner " (class) } {
            h1 { "Fault matrix: " (word) }
            p {
                (thousands(done.len())) " of " (thousands(planned)) " runs, revision "
                code { (crate::revision::REVISION) }
            }
        }
        main { section { (table(&headings, &body)) } }
    };
    page("raftshare-chaos: matrix", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_sum_of_its_runs() {
        let mut passed = FinishedRun::skipped("leader-kill", 1, 5, String::new());
        passed.verdict = Verdict::Pass;
        passed.operations = 1_200_345;
        passed.recoveries_us = vec![500_000, 700_000];
        passed.faults.insert("kill".into(), 6);
        let skipped = FinishedRun::skipped("leader-kill", 2, 5, "needs <root>".into());
        let done = [&passed, &passed, &skipped];
        let text = markdown(&rows(&done), 3, 4);
        assert!(text.contains("| leader-kill | 2 of 3 | 12 kill | 2,400,690 |"), "{text}");
        assert!(text.contains("1 skipped | 0.70 / 0.70 / 0.70 / 0.70 |"), "{text}");
        let page = html(&rows(&done), &done, 4);
        assert!(page.contains("needs &lt;root&gt;") && page.contains("not every run passed"), "{page}");
    }
}
