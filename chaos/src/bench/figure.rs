//! One measured figure, what it comes to over several runs, and the table of all of them.
//!
//! Invariant: a figure that comes of samples says how many there were, and its 99th percentile with the median. Nothing
//! that differs between two runs is in its name or its words, so that runs can be told to be of the same thing.

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::runs::{Range, median, median_known};
use super::samples::Samples;
use crate::columns::{Columns, Side};

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Which measurement it belongs to.
    pub name: String,
    /// What was measured.
    pub what: String,
    /// The figure; of several runs their median, as the percentiles are.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// The runs, and the smallest and greatest value of one.
    #[serde(flatten)]
    pub range: Range,
    /// Median of the latencies in milliseconds, where the figure itself is something else.
    pub p50_ms: Option<f64>,
    /// 99th percentile, in milliseconds, where there is one.
    pub p99_ms: Option<f64>,
    /// Samples behind it, of all runs.
    pub samples: usize,
    /// Requests that failed, of all runs.
    pub errors: u64,
    /// The original system's figure in the same unit.
    pub original: Option<f64>,
    /// What it ought to be.
    pub target: String,
}

impl Figure {
    /// A figure that was measured once.
    pub fn of(name: &str, what: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            value,
            unit: unit.into(),
            range: Range::once(value),
            p50_ms: None,
            p99_ms: None,
            samples: 1,
            errors: 0,
            original: None,
            target: String::new(),
        }
    }

    /// The median of durations, with their 99th percentile.
    pub fn median(name: &str, what: impl Into<String>, samples: &Samples) -> Self {
        let figure = Self::of(name, what, samples.percentile_ms(50), "ms");
        Self { p50_ms: None, ..figure.with_samples(samples) }
    }

    /// Durations behind a figure that is not their median.
    pub fn with_samples(self, samples: &Samples) -> Self {
        let (p50_ms, p99_ms) = (Some(samples.percentile_ms(50)), Some(samples.percentile_ms(99)));
        Self { p50_ms, p99_ms, samples: samples.count(), ..self }
    }

    /// Requests that failed.
    pub fn with_errors(self, errors: u64) -> Self {
        Self { errors, ..self }
    }

    /// The original system's figure.
    pub fn with_original(self, original: f64) -> Self {
        Self { original: Some(original), ..self }
    }

    /// What it ought to be.
    pub fn with_target(self, target: &str) -> Self {
        Self { target: target.into(), ..self }
    }
}

/// The figures of one measurement over its runs, which must all have come to the same ones.
pub fn merge(runs: &[Vec<Figure>]) -> anyhow::Result<Vec<Figure>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    for other in runs {
        check_same(first, other)?;
    }
    Ok(first.iter().enumerate().map(|(position, figure)| merged(figure, runs, position)).collect())
}

fn check_same(first: &[Figure], other: &[Figure]) -> anyhow::Result<()> {
    for (number, (one, two)) in (1..).zip(first.iter().zip(other)) {
        let same = (&one.name, &one.what, &one.unit) == (&two.name, &two.what, &two.unit);
        if !same {
            bail!("figure {number} is {} in one run and {} in another", identity(one), identity(two));
        }
    }
    if first.len() != other.len() {
        bail!("there are {} figures in one run and {} in another", first.len(), other.len());
    }
    Ok(())
}

fn identity(figure: &Figure) -> String {
    format!("{}: {:?} in {}", figure.name, figure.what, figure.unit)
}

fn merged(first: &Figure, runs: &[Vec<Figure>], position: usize) -> Figure {
    let figures = || runs.iter().filter_map(|run| run.get(position));
    let values: Vec<f64> = figures().map(|figure| figure.value).collect();
    Figure {
        value: median(values.iter().copied()),
        range: Range::over(&values),
        p50_ms: median_known(figures().map(|figure| figure.p50_ms)),
        p99_ms: median_known(figures().map(|figure| figure.p99_ms)),
        samples: figures().map(|figure| figure.samples).sum(),
        errors: figures().map(|figure| figure.errors).sum(),
        ..first.clone()
    }
}

/// The figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let repeated = figures.iter().any(|figure| figure.range.is_repeated());
    let mut headings = vec![(Side::Left, "FIGURE"), (Side::Right, "VALUE")];
    headings.extend(repeated.then_some((Side::Right, "RANGE")));
    headings.extend(["P50", "P99", "N", "ERRORS", "ORIGINAL"].map(|heading| (Side::Right, heading)));
    headings.push((Side::Left, "TARGET"));
    let mut table = Columns::new(headings);
    for figure in figures {
        let ms = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2} ms"));
        let mut cells = vec![figure.what.clone(), format!("{:.2} {}", figure.value, figure.unit)];
        cells.extend(repeated.then(|| figure.range.text(2)));
        cells.extend([ms(figure.p50_ms), ms(figure.p99_ms), figure.samples.to_string(), figure.errors.to_string()]);
        cells.push(figure.original.map_or("–".into(), |original| format!("{original} {}", figure.unit)));
        cells.push(figure.target.clone());
        table.row(cells);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run(value: f64, p99_ms: f64, errors: u64) -> Vec<Figure> {
        let latency = Figure { p99_ms: Some(p99_ms), samples: 10, ..Figure::of("cycle", "cycle", value, "ms") };
        vec![latency.with_errors(errors).with_original(8.8).with_target("< 8.8"), Figure::of("cycle", "size", 3.0, "B")]
    }

    #[test]
    fn the_table_shows_the_original_beside_the_figure() {
        let text = table(&[Figure::of("cycle", "cycle", 3.5, "ms").with_original(8.8)]);
        assert!(text.contains("3.50 ms") && text.contains("8.8 ms"), "{text}");
        assert!(!text.contains("RANGE"), "{text}");
    }

    #[test]
    fn a_median_says_what_is_behind_it() {
        let mut samples = Samples::default();
        (1..=3).for_each(|ms| samples.add(Duration::from_millis(ms)));
        let figure = Figure::median("gap", "gap", &samples).with_errors(2);
        assert_eq!((figure.value, figure.p99_ms, figure.samples, figure.errors), (2.0, Some(3.0), 3, 2));
        let rate = Figure::of("announces", "announces", 900.0, "/s").with_samples(&samples);
        assert_eq!((rate.value, rate.p50_ms, rate.p99_ms, figure.p50_ms), (900.0, Some(2.0), Some(3.0), None));
    }

    #[test]
    fn runs_come_to_medians_and_sums() {
        let odd = merge(&[run(5.0, 9.0, 1), run(1.0, 30.0, 0), run(2.0, 10.0, 2)]).expect("the same figures");
        assert_eq!(odd.len(), 2);
        assert_eq!((odd[0].value, odd[0].p99_ms, odd[0].samples, odd[0].errors), (2.0, Some(10.0), 30, 3));
        assert_eq!(odd[0].range, Range { runs: 3, lowest: 1.0, highest: 5.0 });
        assert_eq!((odd[0].original, odd[0].target.as_str(), odd[1].p99_ms), (Some(8.8), "< 8.8", None));
        let even =
            merge(&[run(5.0, 9.0, 0), run(1.0, 30.0, 0), run(2.0, 10.0, 0), run(4.0, 20.0, 0)]).expect("the same");
        assert_eq!((even[0].value, even[0].p99_ms), (3.0, Some(15.0)));
        let one = merge(&[run(5.0, 9.0, 1)]).expect("the same figures");
        assert_eq!(one, run(5.0, 9.0, 1));
    }

    #[test]
    fn runs_that_came_to_different_figures_are_not_made_one() {
        let mut short = run(1.0, 1.0, 0);
        short.pop();
        let mut renamed = run(1.0, 1.0, 0);
        renamed[1].what = "weight".into();
        let mut other_unit = run(1.0, 1.0, 0);
        other_unit[0].unit = "s".into();
        for (other, words) in [(short, "2 figures in one run and 1"), (renamed, "\"weight\""), (other_unit, "in s")] {
            let error = merge(&[run(1.0, 1.0, 0), run(1.0, 1.0, 0), other]).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn every_cell_stands_below_its_heading_and_the_range_is_shown() {
        let mut figures = merge(&[run(5.0, 9.0, 0), run(1.0, 30.0, 0)]).expect("the same figures");
        figures[1].what = "a figure whose words are longer than any that was thought of when the table was made".into();
        let text = table(&figures);
        assert!(text.contains("1.00 – 5.00"), "{text}");
        let end = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count() + word.chars().count());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(end(lines[0], "VALUE"), end(lines[1], "3.00 ms"), "{text}");
        assert_eq!(end(lines[0], "VALUE"), end(lines[2], "3.00 B"), "{text}");
        assert_eq!(end(lines[0], "RANGE"), end(lines[1], "1.00 – 5.00"), "{text}");
    }

    #[test]
    fn the_new_fields_stand_beside_the_old_ones() {
        let json = serde_json::to_value(Figure::of("cycle", "cycle", 3.5, "ms")).expect("JSON");
        assert_eq!((&json["value"], &json["runs"]), (&3.5.into(), &1.into()));
        assert_eq!((&json["lowest"], &json["highest"], &json["p50Ms"]), (&3.5.into(), &3.5.into(), &().into()));
    }
}
