//! A point from its runs.
//!
//! Invariant: what was counted, processor time and measured time included, is summed, so that their ratios stay what
//! they are; rates, latencies and memory are medians. A change of leader in any run is one of the point.

use std::collections::{BTreeMap, BTreeSet};

use crate::bench::load::Summary;
use crate::bench::point::Point;
use crate::bench::usage::Usage;

/// The runs as one; absent if there are none.
pub(super) fn merged(runs: &[Point]) -> Option<Point> {
    let shown = runs.iter().find(|run| run.leader_changed).or(runs.last())?;
    let totals: Vec<Summary> = runs.iter().map(|run| run.total.clone()).collect();
    let total = Summary::merged(&totals);
    let node = |index: usize| {
        let usages: Vec<&Usage> = runs.iter().filter_map(|run| run.nodes.get(index)).collect();
        Usage::merged(&usages)
    };
    let generators: Vec<&Usage> = runs.iter().map(|run| &run.generator).collect();
    Some(Point {
        seconds: runs.iter().map(|run| run.seconds).sum(),
        per_second: total.per_second,
        range: total.range,
        units_per_second: total.units_per_second,
        error_rate: total.error_rate(),
        by_kind: by_kind(runs),
        failures: failures(runs),
        nodes: (0..shown.nodes.len()).map(node).collect(),
        generator: Usage::merged(&generators),
        total,
        ..shown.clone()
    })
}

/// A kind that a run did not come to has a rate of 0 there.
fn by_kind(runs: &[Point]) -> BTreeMap<String, Summary> {
    let kinds: BTreeSet<&String> = runs.iter().flat_map(|run| run.by_kind.keys()).collect();
    let one = |kind: &String| {
        let summaries: Vec<Summary> =
            runs.iter().map(|run| run.by_kind.get(kind).cloned().unwrap_or_default()).collect();
        (kind.clone(), Summary::merged(&summaries))
    };
    kinds.into_iter().map(one).collect()
}

fn failures(runs: &[Point]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (why, count) in runs.iter().flat_map(|run| &run.failures) {
        *all.entry(why.clone()).or_default() += count;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::runs::Range;
    use crate::bench::sweep::tests::point;

    fn usage(cpu_s: f64) -> Usage {
        Usage { name: "n1".into(), cpu_s: Some(cpu_s), rss_kib: Some(100) }
    }

    #[test]
    fn runs_of_a_point_come_to_medians_and_sums() {
        let run = |done, cpu_s| Point { nodes: vec![usage(cpu_s)], generator: usage(cpu_s), ..point(10, done) };
        let merged = merged(&[run(1, 1.0), run(9, 2.0), run(3, 4.5)]).expect("a point");
        assert_eq!((merged.peers, merged.seconds), (10, 6.0));
        assert_eq!((merged.per_second, merged.range), (1.5, Range { runs: 3, lowest: 0.5, highest: 4.5 }));
        assert_eq!((merged.total.done, merged.total.failed, merged.error_rate), (13, 3, 3.0 / 16.0));
        assert_eq!(merged.failures["503 no_quorum"], 3);
        assert_eq!((merged.nodes[0].cpu_s, merged.generator.cpu_s), (Some(7.5), Some(7.5)));
        let kind = &merged.by_kind["announce"];
        assert_eq!((kind.done, kind.per_second, kind.range.runs), (10, 1.0, 3));
    }

    #[test]
    fn a_change_of_leader_in_one_run_is_one_of_the_point() {
        let calm =
            Point { leader_before: Some((1, 1)), leader_after: Some((1, 1)), leader_changed: false, ..point(10, 1) };
        assert!(!merged(&[calm.clone(), calm.clone()]).expect("a point").leader_changed);
        let merged = merged(&[calm.clone(), point(10, 1), calm]).expect("a point");
        assert!(merged.leader_changed);
        assert_eq!((merged.leader_before, merged.leader_after), (Some((1, 1)), Some((2, 3))));
    }

    #[test]
    fn a_kind_that_one_run_did_not_come_to_is_not_lost() {
        let mut without = point(10, 4);
        without.by_kind.remove("search");
        let merged = merged(&[without, point(10, 4)]).expect("a point");
        let search = &merged.by_kind["search"];
        assert_eq!((search.done, search.range.runs, search.range.lowest), (1, 2, 0.0));
        assert!(super::merged(&[]).is_none());
    }
}
