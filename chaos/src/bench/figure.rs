//! One measured figure, and the table of all of them.
//!
//! Invariant: a figure that comes of samples says how many there were, and its 99th percentile with the median. Nothing that
//! differs between two runs is in its name or its words, so that runs can be told to be of the same thing.

use serde::{Deserialize, Serialize};

use super::columns::{Columns, Side};
use super::samples::Samples;

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Which measurement it belongs to.
    pub name: String,
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Median of the latencies in milliseconds, where the figure itself is something else.
    pub p50_ms: Option<f64>,
    /// 99th percentile, in milliseconds, where there is one.
    pub p99_ms: Option<f64>,
    /// Samples behind it.
    pub samples: usize,
    /// Requests that failed.
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

/// The figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let mut headings = vec![(Side::Left, "FIGURE"), (Side::Right, "VALUE")];
    headings.extend(["P50", "P99", "N", "ERRORS", "ORIGINAL"].map(|heading| (Side::Right, heading)));
    headings.push((Side::Left, "TARGET"));
    let mut table = Columns::new(headings);
    for figure in figures {
        let ms = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2} ms"));
        let mut cells = vec![figure.what.clone(), format!("{:.2} {}", figure.value, figure.unit)];
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

    #[test]
    fn the_table_shows_the_original_beside_the_figure() {
        let text = table(&[Figure::of("cycle", "cycle", 3.5, "ms").with_original(8.8)]);
        assert!(text.contains("3.50 ms") && text.contains("8.8 ms"), "{text}");
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
    fn every_cell_stands_below_its_heading() {
        let what = "a figure whose words are longer than any that was thought of when the table was made";
        let text = table(&[Figure::of("cycle", what, 3.5, "ms"), Figure::of("cycle", "cycle", 20_000.0, "writes/s")]);
        let end = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count() + word.chars().count());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(end(lines[0], "VALUE"), end(lines[1], "3.50 ms"), "{text}");
        assert_eq!(end(lines[0], "VALUE"), end(lines[2], "20000.00 writes/s"), "{text}");
    }
}
