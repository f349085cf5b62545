//! What the evaluation came to: checks, figures, loads, and where all of it was measured.
//!
//! Invariant: only checks decide about success; a figure is compared, and never judged.

use super::check::{self, Check};
use super::page;
use crate::bench::load::Wire;
use crate::bench::machine::Machine;
use crate::bench::sweep::Sweep;
use crate::bench::{Figure, original, table};
use crate::revision::{REVISION, seconds_since_1970};

/// The loads over one wire format.
#[derive(Debug)]
pub struct Loads {
    /// Which.
    pub wire: Wire,
    /// As fast as the peers can.
    pub sweep: Sweep,
    /// As many operations a second as the original was published to reach.
    pub at_published_rates: Vec<Sweep>,
}

/// What it all came to.
#[derive(Debug)]
pub struct Evaluation {
    /// `git describe` of the sources.
    pub revision: &'static str,
    /// When it began, Unix seconds.
    pub at: u64,
    /// Where ours was measured.
    pub machine: Machine,
    /// The command line.
    pub command: Vec<String>,
    /// Whether it was the short form.
    pub quick: bool,
    /// Every check.
    pub checks: Vec<Check>,
    /// The core figures.
    pub figures: Vec<Figure>,
    /// The loads.
    pub loads: Vec<Loads>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Evaluation {
    pub(super) fn new(quick: bool) -> Self {
        Self {
            revision: REVISION,
            at: seconds_since_1970(),
            machine: Machine::this(),
            command: std::env::args().collect(),
            quick,
            checks: Vec::new(),
            figures: Vec::new(),
            loads: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The checks that failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.pass).count()
    }

    /// The figures with a published one beside them, and how many of these are better.
    pub(super) fn ahead(&self) -> (usize, usize) {
        let ahead = self.figures.iter().filter_map(|figure| figure.original.map(|original| figure.value < original));
        let ahead: Vec<bool> = ahead.collect();
        (ahead.iter().filter(|ahead| **ahead).count(), ahead.len())
    }

    /// All tables for people.
    pub fn text(&self) -> String {
        let mut parts = vec![check::table(&self.checks)];
        if !self.figures.is_empty() {
            parts.push(table(&self.figures));
        }
        for loads in &self.loads {
            parts.push(format!(" {}:\n{}", page::wire_words(loads.wire), loads.sweep.table()));
            parts.extend(loads.at_published_rates.iter().map(Sweep::table));
        }
        parts.push(format!(" ours: {}\n original: {}", self.machine.text(), original::MACHINE));
        parts.extend(self.notes.iter().map(|note| format!(" {note}")));
        let (ahead, compared) = self.ahead();
        let (failed, all) = (self.failed(), self.checks.len());
        parts.push(format!(
            " {} of {all} checks pass; {ahead} of {compared} figures are ahead of the published ones",
            all - failed
        ));
        parts.join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_figures_with_a_published_one_beside_them_are_compared() {
        let figure = |value, original: Option<f64>| {
            let figure = Figure::of("cycle", "cycle", value, "ms");
            Figure { original, ..figure }
        };
        let figures = vec![figure(1.0, Some(8.8)), figure(9.0, Some(8.8)), figure(16.0, None)];
        assert_eq!(Evaluation { figures, ..Evaluation::new(true) }.ahead(), (1, 2));
        assert!(super::super::FIGURES.iter().all(|name| crate::bench::NAMES.contains(name)));
    }
}
