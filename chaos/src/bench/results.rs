//! What the fixed measurements came to, run by run.
//!
//! Invariant: a run that failed costs no other run and no other measurement their figures, and is never passed over in
//! silence: as long as there is one, the whole is a failure.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::{FILE, Figure, figure, runs};

/// The runs of one measurement.
#[derive(Debug)]
struct Measured {
    name: &'static str,
    runs: Vec<Vec<Figure>>,
    failures: Vec<String>,
}

/// The runs of all of them.
#[derive(Debug)]
pub struct Results {
    measured: Vec<Measured>,
    repeat: u32,
}

impl Results {
    pub(super) fn new(names: &[&'static str], repeat: u32) -> Self {
        let measured = |name: &&'static str| Measured { name, runs: Vec::new(), failures: Vec::new() };
        Self { measured: names.iter().map(measured).collect(), repeat }
    }

    /// Adds a run of the measurement with this place among the names.
    pub(super) fn add(&mut self, index: usize, run: u32, outcome: anyhow::Result<Vec<Figure>>) {
        let Some(measured) = self.measured.get_mut(index) else { return };
        match outcome {
            Ok(figures) => measured.runs.push(figures),
            Err(error) => {
                let label = runs::label(run, self.repeat);
                measured.failures.push(format!("{}{label}: {error:#}", measured.name));
            }
        }
    }

    /// The figures of every measurement that has any, over those of its runs that did not fail.
    pub fn figures(&self) -> Vec<Figure> {
        self.measured.iter().filter_map(|measured| figure::merge(&measured.runs).ok()).flatten().collect()
    }

    /// What went wrong, a line for each.
    pub fn failures(&self) -> Vec<String> {
        let of = |measured: &Measured| {
            let differ = figure::merge(&measured.runs).err();
            let differ = differ.map(|error| format!("{}: the runs do not fit together: {error}", measured.name));
            measured.failures.iter().cloned().chain(differ).collect::<Vec<_>>()
        };
        self.measured.iter().flat_map(of).collect()
    }

    /// All failures as one, if there are any.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.failures().as_slice() {
            [] => Ok(()),
            [failure] => bail!("a measurement failed: {failure}"),
            failures => bail!("{} failures:\n  {}", failures.len(), failures.join("\n  ")),
        }
    }

    /// Writes the figures.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&self.figures())?;
        std::fs::write(directory.join(FILE), json + "\n").context("cannot write the figures")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, value: f64) -> anyhow::Result<Vec<Figure>> {
        Ok(vec![Figure::of(name, name, value, "ms")])
    }

    #[test]
    fn a_run_that_fails_is_told_and_the_others_count() {
        let mut results = Results::new(&["cycle", "gap"], 3);
        for (run, value) in [(1, 1.0), (3, 9.0)] {
            results.add(0, run, figures("cycle", value));
        }
        results.add(0, 2, Err(anyhow::anyhow!("nobody leads").context("after the kill")));
        results.add(1, 1, figures("gap", 4.0));
        let merged = results.figures();
        let seen: Vec<(&str, f64, usize)> =
            merged.iter().map(|figure| (figure.name.as_str(), figure.value, figure.range.runs)).collect();
        assert_eq!(seen, [("cycle", 5.0, 2), ("gap", 4.0, 1)]);
        let error = results.check().expect_err("a run failed").to_string();
        assert!(error.contains("cycle, run 2 of 3: after the kill: nobody leads"), "{error}");
    }

    #[test]
    fn runs_that_differ_are_a_failure_of_their_measurement_alone() {
        let mut results = Results::new(&["cycle", "gap"], 2);
        results.add(0, 1, figures("cycle", 1.0));
        results.add(1, 1, figures("gap", 1.0));
        assert!(results.check().is_ok());
        results.add(0, 2, figures("bicycle", 1.0));
        results.add(1, 2, figures("gap", 3.0));
        assert!(results.figures().iter().all(|figure| figure.name == "gap" && figure.value == 2.0));
        assert_eq!(results.figures().len(), 1);
        let error = results.check().expect_err("they differ").to_string();
        assert!(error.contains("cycle: the runs do not fit together") && error.contains("bicycle"), "{error}");
    }

    #[test]
    fn the_file_has_what_was_measured_so_far() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut results = Results::new(&["cycle", "gap"], 1);
        results.add(0, 1, figures("cycle", 1.0));
        results.add(1, 1, Err(anyhow::anyhow!("nobody leads")));
        results.write(directory.path()).expect("written");
        let text = std::fs::read(directory.path().join(FILE)).expect("written");
        let written: Vec<Figure> = serde_json::from_slice(&text).expect("figures");
        assert_eq!(written, results.figures());
        assert_eq!(written.len(), 1);
    }
}
