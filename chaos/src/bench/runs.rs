//! What several runs of one measurement come to.
//!
//! Invariant: a rate, a latency or a memory is the median of the runs', whatever their order, and lies
//! within the range that stands beside it; what was counted is the sum. Runs are made in rounds, so that
//! a machine that drifts hits all alike.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How many runs are behind a figure, and how far apart they lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Range {
    /// Runs.
    pub runs: usize,
    /// The smallest value of a run.
    pub lowest: f64,
    /// The greatest.
    pub highest: f64,
}

impl Range {
    /// Of a value that was measured once.
    pub fn once(value: f64) -> Self {
        Self { runs: 1, lowest: value, highest: value }
    }

    /// Of one value per run.
    pub fn over(values: &[f64]) -> Self {
        let sorted = sorted(values.iter().copied());
        let (lowest, highest) = sorted.first().copied().zip(sorted.last().copied()).unwrap_or_default();
        Self { runs: sorted.len(), lowest, highest }
    }

    /// Whether there was more than one run, and so something to show.
    pub fn is_repeated(&self) -> bool {
        self.runs > 1
    }

    /// Both ends with this many digits; a dash for a single run.
    pub fn text(&self, digits: usize) -> String {
        if !self.is_repeated() {
            return "–".into();
        }
        format!("{:.digits$} – {:.digits$}", self.lowest, self.highest)
    }
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle one, or the mean of the two in the middle; 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), middle.checked_sub(1).and_then(|below| sorted.get(below))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => f64::midpoint(*lower, *upper),
        (Some(upper), _) => *upper,
        (None, _) => 0.0,
    }
}

/// The median of the values that are known; absent if none is.
pub fn median_known(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.into_iter().flatten().collect();
    (!known.is_empty()).then(|| median(known))
}

/// Everything once, then everything again: numbers of the runs, from 1, and of the items, from 0.
pub fn rounds(items: usize, repeat: u32) -> impl Iterator<Item = (u32, usize)> {
    (1..=repeat).flat_map(move |run| (0..items).map(move |item| (run, item)))
}

/// Names a run where there are several.
pub fn label(run: u32, repeat: u32) -> String {
    if repeat > 1 { format!(", run {run} of {repeat}") } else { String::new() }
}

/// Where the logs of a run go: no run's may take the place of another's.
pub fn logs(logs: &Path, run: u32, repeat: u32) -> PathBuf {
    if repeat > 1 { logs.join(format!("run-{run}")) } else { logs.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median([9.0, 1.0, 4.0]), 4.0);
        assert_eq!(median([9.0, 1.0, 4.0, 6.0]), 5.0);
        assert_eq!((median([7.0]), median([])), (7.0, 0.0));
        assert_eq!(median_known([None, Some(3.0), Some(1.0), Some(2.0)]), Some(2.0));
        assert_eq!(median_known([None, None]), None);
    }

    #[test]
    fn a_range_has_both_ends_and_is_shown_only_if_there_was_more_than_one_run() {
        let range = Range::over(&[3.0, 1.0, 2.0]);
        assert_eq!((range.runs, range.lowest, range.highest), (3, 1.0, 3.0));
        assert_eq!(range.text(1), "1.0 – 3.0");
        assert_eq!((Range::once(5.0).text(0), Range::once(5.0)), ("–".into(), Range::over(&[5.0])));
    }

    #[test]
    fn every_item_is_done_before_one_is_done_again() {
        let order: Vec<(u32, usize)> = rounds(2, 3).collect();
        assert_eq!(order, [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]);
    }

    #[test]
    fn only_several_runs_are_told_apart() {
        assert_eq!((label(1, 1), label(2, 3)), (String::new(), ", run 2 of 3".into()));
        assert_eq!(logs(Path::new("logs"), 1, 1), Path::new("logs"));
        assert_eq!(logs(Path::new("logs"), 2, 3), Path::new("logs/run-2"));
    }
}
