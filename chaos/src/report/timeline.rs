//! The data of the timeline: what each node was doing, who led, faults, operations per moment,
//! and spans without writes.
//!
//! Invariant: bounded by [`BUCKETS_MAX`] and [`MARKS_MAX`], however long the run was.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Report;
use crate::history::{Event, FaultName, FaultOutcome, Micros, Record, Span};

/// Width of a bucket of operations in a run that is not very long: 100 ms.
const BUCKET: Micros = 100_000;
/// Most buckets; a longer run has wider ones.
const BUCKETS_MAX: u64 = 12_000;
/// Most faults that are drawn one by one.
const MARKS_MAX: usize = 12_000;

/// Everything the page draws, in the shape its script reads.
#[derive(Debug, Default, Serialize)]
pub(super) struct Timeline {
    pub(super) duration: Micros,
    pub(super) bucket: Micros,
    pub(super) nodes: Vec<u64>,
    pub(super) acknowledged: Vec<u32>,
    pub(super) refused: Vec<u32>,
    pub(super) unknown: Vec<u32>,
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Vec<Mark>,
    pub(super) gaps: Vec<(Micros, Micros)>,
    /// Faults that were left out.
    pub(super) left_out: usize,
}

/// A span in a node's lane.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bar {
    pub(super) node: u64,
    pub(super) from: Micros,
    pub(super) until: Micros,
    /// `down`, `paused`, `cut` or `leader`.
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// A fault.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    pub(super) at: Micros,
    pub(super) node: u64,
    pub(super) text: String,
    /// `hit`, `heal` or `skipped`.
    pub(super) kind: &'static str,
}

impl Timeline {
    pub(super) fn new(report: &Report, events: &[Event]) -> Self {
        let duration = report.figures.duration_us.max(1);
        let bucket = BUCKET.max(duration.div_ceil(BUCKETS_MAX));
        let buckets = usize::try_from(duration / bucket).unwrap_or(0) + 1;
        let mut timeline = Self {
            duration,
            bucket,
            nodes: nodes(report, events),
            acknowledged: vec![0; buckets],
            refused: vec![0; buckets],
            unknown: vec![0; buckets],
            gaps: report.figures.unavailable.iter().map(|window| (window.from, window.until)).collect(),
            ..Self::default()
        };
        timeline.leaders(report);
        let mut open: BTreeMap<(u64, &'static str), (Micros, String)> = BTreeMap::new();
        for event in events {
            timeline.take(event, &mut open);
        }
        for ((node, kind), (from, text)) in open {
            timeline.bars.push(Bar { node, from, until: duration, kind, text });
        }
        timeline
    }

    fn leaders(&mut self, report: &Report) {
        let leaders = &report.figures.leaders;
        for (index, led) in leaders.iter().enumerate() {
            let until = leaders.get(index + 1).map_or(self.duration, |next| next.at);
            let text = format!("node {} leads in term {}", led.node, led.term);
            self.bars.push(Bar { node: led.node, from: led.at, until, kind: "leader", text });
        }
    }

    fn take(&mut self, event: &Event, open: &mut BTreeMap<(u64, &'static str), (Micros, String)>) {
        let at = event.at;
        let bucket = usize::try_from(at / self.bucket).unwrap_or(usize::MAX);
        let count = |buckets: &mut Vec<u32>| {
            if let Some(count) = buckets.get_mut(bucket) {
                *count += 1;
            }
        };
        match &event.record {
            Record::Ok { .. } => count(&mut self.acknowledged),
            Record::Refused { .. } => count(&mut self.refused),
            Record::Unknown { .. } => count(&mut self.unknown),
            Record::Exit { node, status } => {
                self.mark(at, *node, format!("node {node} ended by itself: {status}"), "hit");
                open.entry((*node, "down")).or_insert((at, "ended by itself".into()));
            }
            Record::Fault(fault) => {
                let whom = fault.node.map_or_else(|| "the cluster".to_owned(), |node| format!("node {node}"));
                let led = fault.term.map(|term| format!(", which led in term {term}")).unwrap_or_default();
                let (word, kind) = match &fault.outcome {
                    FaultOutcome::Installed if fault.fault.ends_fault() => (String::new(), "heal"),
                    FaultOutcome::Installed => (String::new(), "hit"),
                    FaultOutcome::Skipped(why) => (format!(" (skipped: {why})"), "skipped"),
                    FaultOutcome::Indeterminate(why) => (format!(" (maybe: {why})"), "hit"),
                };
                let text = format!("round {}: {} on {whom}{led}{word}", fault.round, fault.fault);
                self.mark(at, fault.node.unwrap_or(0), text.clone(), kind);
                if kind != "skipped" {
                    self.state(at, fault.node, fault.fault, text, open);
                }
            }
            Record::Healed { .. } | Record::NotHealed { .. } => {
                for ((node, kind), (from, text)) in std::mem::take(open) {
                    self.bars.push(Bar { node, from, until: at, kind, text });
                }
            }
            _ => {}
        }
    }

    fn state(
        &mut self,
        at: Micros,
        node: Option<u64>,
        fault: FaultName,
        text: String,
        open: &mut BTreeMap<(u64, &'static str), (Micros, String)>,
    ) {
        let kind = match fault.span() {
            Span::Down => "down",
            Span::Paused => "paused",
            Span::Disturbed => "cut",
            Span::Moment => return,
            Span::Restarts => return self.close(at, node, "down", open),
            Span::Resumes => return self.close(at, node, "paused", open),
            Span::Repairs => return self.close(at, node, "cut", open),
        };
        for node in node.map_or_else(|| self.nodes.clone(), |node| vec![node]) {
            open.entry((node, kind)).or_insert((at, text.clone()));
        }
    }

    fn close(
        &mut self,
        at: Micros,
        node: Option<u64>,
        kind: &'static str,
        open: &mut BTreeMap<(u64, &'static str), (Micros, String)>,
    ) {
        for node in node.map_or_else(|| self.nodes.clone(), |node| vec![node]) {
            if let Some((from, text)) = open.remove(&(node, kind)) {
                self.bars.push(Bar { node, from, until: at, kind, text });
            }
        }
    }

    fn mark(&mut self, at: Micros, node: u64, text: String, kind: &'static str) {
        if self.marks.len() < MARKS_MAX {
            self.marks.push(Mark { at, node, text, kind });
        } else {
            self.left_out += 1;
        }
    }
}

fn nodes(report: &Report, events: &[Event]) -> Vec<u64> {
    let mut nodes: BTreeSet<u64> = (1..=report.nodes).collect();
    for event in events {
        match &event.record {
            Record::Fault(fault) => nodes.extend(fault.node),
            Record::Leader { node, .. } | Record::Resources { node, .. } => {
                nodes.insert(*node);
            }
            _ => {}
        }
    }
    nodes.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::ALL;
    use crate::checker::sample::{fault, good};
    use crate::report::judge;

    #[test]
    fn a_kill_is_a_bar_until_the_restart() {
        let mut sample = good();
        sample.record(300, fault(FaultName::Kill, 2, FaultOutcome::Installed));
        sample.record(450, fault(FaultName::Restart, 2, FaultOutcome::Installed));
        sample.record(460, Record::Leader { node: 3, term: 8 });
        sample.record(900, Record::Healed { after_us: 1 });
        let timeline = Timeline::new(&judge(&sample.model(), ALL, None), &sample.events());
        let down: Vec<_> = timeline.bars.iter().filter(|bar| bar.node == 2 && bar.kind == "down").collect();
        assert_eq!((down.len(), down[0].from, down[0].until), (1, 300_000, 450_000));
        let led = timeline.bars.iter().find(|bar| bar.kind == "leader").expect("a leader");
        assert_eq!((led.node, led.from, led.until), (3, 460_000, 900_000));
        assert_eq!(timeline.acknowledged.iter().sum::<u32>(), 12);
        assert_eq!(timeline.unknown.iter().sum::<u32>(), 1);
    }

    #[test]
    fn a_long_run_has_wider_buckets() {
        let mut sample = good();
        sample.record(3_600_000, Record::Interrupted);
        let timeline = Timeline::new(&judge(&sample.model(), ALL, None), &sample.events());
        assert!(timeline.acknowledged.len() as u64 <= BUCKETS_MAX + 1);
        assert_eq!(timeline.acknowledged.iter().sum::<u32>(), 12);
    }
}
