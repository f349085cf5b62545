//! One measured figure, and the table of all of them.
//!
//! Invariant: a figure that comes of samples says how many there were, and its 99th percentile with the median.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

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
            p99_ms: None,
            samples: 1,
            errors: 0,
            original: None,
            target: String::new(),
        }
    }

    /// The median of durations, with their 99th percentile.
    pub fn median(name: &str, what: impl Into<String>, samples: &Samples) -> Self {
        Self::of(name, what, samples.percentile_ms(50), "ms").with_samples(samples)
    }

    /// Durations behind a figure that is not their median.
    pub fn with_samples(self, samples: &Samples) -> Self {
        Self { p99_ms: Some(samples.percentile_ms(99)), samples: samples.count(), ..self }
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
    let mut text = format!(
        " {:<52} {:>12} {:>11} {:>7} {:>7} {:>10}  {}",
        "FIGURE", "VALUE", "P99", "N", "ERRORS", "ORIGINAL", "TARGET"
    );
    for figure in figures {
        let value = format!("{:.2} {}", figure.value, figure.unit);
        let p99 = figure.p99_ms.map_or("–".into(), |p99| format!("{p99:.2} ms"));
        let original = figure.original.map_or("–".into(), |original| format!("{original} {}", figure.unit));
        let _ = write!(
            text,
            "\n {:<52} {value:>12} {p99:>11} {:>7} {:>7} {original:>10}  {}",
            figure.what, figure.samples, figure.errors, figure.target
        );
    }
    text
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
    }
}
