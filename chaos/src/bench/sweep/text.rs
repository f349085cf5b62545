//! A sweep as a table for people and as one for other programs.
//!
//! Invariant: both have a row for each point, the table with what went wrong below it; processor time
//! is that of a single run in the table, to be held against the processors there are, and that of all
//! runs beside their time in the other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Sweep;
use crate::bench::load::Summary;
use crate::bench::original;
use crate::bench::point::Point;
use crate::bench::usage::Usage;
use crate::columns::{Columns, Side};

/// Most kinds of failures that the table names per point.
const FAILURES_SHOWN: usize = 4;

impl Sweep {
    /// For people.
    pub fn table(&self) -> String {
        let kinds: BTreeSet<&String> = self.points.iter().flat_map(|point| point.by_kind.keys()).collect();
        let latencies: Vec<String> = kinds.iter().map(|kind| format!("{} avg/p50/p99", kind.to_uppercase())).collect();
        let repeated = self.points.iter().any(|point| point.range.is_repeated());
        let mut headings = vec!["PEERS", "CONNS", "OPS/S"];
        headings.extend(repeated.then_some("RANGE"));
        headings.extend(latencies.iter().map(String::as_str));
        headings.extend(["ERRORS", "CPU n1+n2+n3+gen", "RSS", "TERM"]);
        let headings = headings.into_iter().map(|heading| (Side::Right, heading));
        let mut table = Columns::new(headings.chain([(Side::Left, "ORIGINAL")]));
        for point in &self.points {
            let mut cells =
                vec![point.peers.to_string(), point.connections.to_string(), format!("{:.0}", point.per_second)];
            cells.extend(repeated.then(|| point.range.text(0)));
            cells.extend(kinds.iter().map(|kind| latency(point.by_kind.get(*kind))));
            cells.push(format!("{:.2} %", point.error_rate * 100.0));
            cells.extend([processors(point), format!("{} MB", rss_kib(point) / 1_024), term(point)]);
            let original = original::at(point.peers);
            cells.push(original.map_or("–".into(), |(per_second, ms)| format!("{per_second} ops/s, {ms} ms")));
            table.row(cells);
        }
        let notes: String = self.points.iter().map(notes).collect();
        table.text() + &notes
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from(
            "peers,connections,mix,kind,seconds,done,failed,ops_per_s,units_per_s,error_rate,mean_ms,p50_ms,p90_ms,p99_ms,\
             p999_ms,max_ms,term_before,term_after,leader_changed,cpu_nodes_s,cpu_generator_s,rss_max_kib,runs,\
             ops_per_s_lowest,ops_per_s_highest\n",
        );
        let term = |leader: Option<(u64, u64)>| leader.map(|(_, term)| term.to_string()).unwrap_or_default();
        for point in &self.points {
            let nodes: f64 = point.nodes.iter().filter_map(|usage| usage.cpu_s).sum();
            let rss = rss_kib(point);
            let all = "all".to_owned();
            for (kind, summary) in [(&all, &point.total)].into_iter().chain(&point.by_kind) {
                let _ = writeln!(
                    text,
                    "{},{},\"{}\",{kind},{},{},{},{:.1},{:.1},{:.6},{:.3},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{},{nodes:.2},\
                     {:.2},{rss},{},{:.1},{:.1}",
                    point.peers,
                    point.connections,
                    self.mix,
                    point.seconds,
                    summary.done,
                    summary.failed,
                    summary.per_second,
                    summary.units_per_second,
                    summary.error_rate(),
                    summary.mean_ms,
                    summary.p50_ms,
                    summary.p90_ms,
                    summary.p99_ms,
                    summary.p999_ms,
                    summary.max_ms,
                    term(point.leader_before),
                    term(point.leader_after),
                    point.leader_changed,
                    point.generator.cpu_s.unwrap_or(0.0),
                    summary.range.runs,
                    summary.range.lowest,
                    summary.range.highest
                );
            }
        }
        text
    }
}

fn latency(summary: Option<&Summary>) -> String {
    let done = summary.filter(|summary| summary.done > 0);
    done.map_or("–".into(), |summary| {
        format!("{:.2}/{:.2}/{:.2} ms", summary.mean_ms, summary.p50_ms, summary.p99_ms)
    })
}

/// What each process took, in a run.
fn processors(point: &Point) -> String {
    let runs = point.range.runs.max(1) as f64;
    let one = |usage: &Usage| usage.cpu_s.map_or("–".into(), |cpu| format!("{:.1}", cpu / runs));
    let all: Vec<String> = point.nodes.iter().chain([&point.generator]).map(one).collect();
    format!("{} s", all.join("+"))
}

/// Of the node that has most.
fn rss_kib(point: &Point) -> u64 {
    point.nodes.iter().filter_map(|usage| usage.rss_kib).max().unwrap_or(0)
}

fn term(point: &Point) -> String {
    let text = |leader: Option<(u64, u64)>| leader.map_or("nobody".into(), |(id, term)| format!("n{id} in {term}"));
    if point.leader_changed {
        format!("{}→{} !", text(point.leader_before), text(point.leader_after))
    } else {
        text(point.leader_after)
    }
}

/// What does not fit into a row.
fn notes(point: &Point) -> String {
    let mut text = String::new();
    if point.units_per_second > point.per_second {
        let _ = write!(text, "\n   {} peers: {:.0} files/s", point.peers, point.units_per_second);
    }
    if !point.failures.is_empty() {
        let mut failures: Vec<_> = point.failures.iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = failures.iter().take(FAILURES_SHOWN).map(|(why, count)| format!("{count} × {why}"));
        let _ = write!(text, "\n   {} peers: failed: {}", point.peers, shown.collect::<Vec<_>>().join(", "));
    }
    if point.leader_changed {
        let _ = write!(text, "\n   {} peers: the leader changed, so part of the time nobody served", point.peers);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::sweep;

    #[test]
    fn the_table_has_the_original_beside_its_points_and_names_what_went_wrong() {
        let text = sweep(1).table();
        let words = ["233 ops/s, 6 ms", "1 × 503 no_quorum", "33.33 %", "the leader changed", "ANNOUNCE avg/p50/p99"];
        for word in words {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
        assert!(!text.contains("RANGE"), "{text}");
    }

    #[test]
    fn the_table_of_several_runs_has_their_range_and_the_processor_time_of_one() {
        let mut sweep = sweep(3);
        sweep.points[0].generator.cpu_s = Some(6.0);
        let text = sweep.table();
        for word in ["RANGE", "1 – 3", "3 × 503 no_quorum", " 2.0 s"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }

    #[test]
    fn rates_in_the_file_are_medians_and_every_row_has_every_column() {
        let csv = sweep(3).csv();
        let rows: Vec<Vec<String>> = csv
            .lines()
            .map(|line| line.replace("announce=5,search=1", "").split(',').map(str::to_owned).collect())
            .collect();
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
        let column = |name: &str| rows[0].iter().position(|heading| heading == name).expect(name);
        let cells = |row: usize| {
            let names = ["kind", "seconds", "done", "ops_per_s", "runs", "ops_per_s_lowest", "ops_per_s_highest"];
            names.map(|name| rows[row][column(name)].as_str())
        };
        // Operations of the runs: two, four and six, of which one is a search.
        assert_eq!(cells(1), ["all", "6", "12", "2.0", "3", "1.0", "3.0"]);
        assert_eq!(cells(2), ["announce", "6", "9", "1.5", "3", "0.5", "2.5"]);
        assert_eq!(cells(3), ["search", "6", "3", "0.5", "3", "0.5", "0.5"]);
    }
}
