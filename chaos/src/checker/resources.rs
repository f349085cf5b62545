//! Proves: nodes do not grow without bound. No sample of a node's memory or data directory is above a
//! ceiling, and over a long run the last quarter's smallest sample is not far above the second quarter's
//! greatest: what a run settles on stays.
//!
//! Source: the soak of the fault matrix (memory and file sizes bounded).
//!
//! Cannot see: leaks smaller than the slack, and peaks between two samples. Runs shorter than [`LONG`]
//! are held against the ceilings alone.

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::Micros;
use crate::model::{Model, Sampled};

/// Resident memory that a node of these workloads never needs, in KiB.
pub const RSS_MAX_KIB: u64 = 1_500 * 1_024;
/// Bytes that a node of these workloads never has on disk.
pub const DATA_MAX: u64 = 4 << 30;
/// Growth is examined from this length of run on, in microseconds.
pub const LONG: Micros = 5 * 60 * 1_000_000;
/// Growth that does not count as a leak: this factor in percent, and these amounts.
const GROWTH_PERCENT: u64 = 120;
const RSS_SLACK_KIB: u64 = 64 * 1_024;
const DATA_SLACK: u64 = 128 << 20;

/// Nodes stay small.
pub const CHECKER: Checker = Checker { name: "resources", property: "memory and files of every node bounded", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    let mut by_node: BTreeMap<u64, Vec<Sampled>> = BTreeMap::new();
    for sample in &model.resources {
        by_node.entry(sample.node).or_default().push(*sample);
    }
    for (node, samples) in by_node {
        for sample in &samples {
            findings.expect(sample.rss_kib <= RSS_MAX_KIB, &[], || {
                format!("node {node} took {} MiB of memory", sample.rss_kib / 1_024)
            });
            findings.expect(sample.data_bytes <= DATA_MAX, &[], || {
                format!("node {node} had {} MiB on disk", sample.data_bytes >> 20)
            });
        }
        growth(node, &samples, &mut findings);
    }
    findings
}

fn growth(node: u64, samples: &[Sampled], findings: &mut Findings) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
    let span = last.at - first.at;
    if span < LONG {
        return;
    }
    let quarter = |number: u64| {
        let (from, to) = (first.at + span * number / 4, first.at + span * (number + 1) / 4);
        samples.iter().filter(move |sample| from <= sample.at && sample.at <= to)
    };
    let mut bounded = |what: &str, early: Option<u64>, late: Option<u64>, slack: u64| {
        if let (Some(early), Some(late)) = (early, late) {
            findings.expect(late <= early * GROWTH_PERCENT / 100 + slack, &[], || {
                format!("the {what} of node {node} grew from {early} to {late} over the run")
            });
        }
    };
    let rss = |sample: &Sampled| sample.rss_kib;
    bounded("memory in KiB", quarter(1).map(rss).max(), quarter(3).map(rss).min(), RSS_SLACK_KIB);
    let data = |sample: &Sampled| sample.data_bytes;
    bounded("data in bytes", quarter(1).map(data).max(), quarter(3).map(data).min(), DATA_SLACK);
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Record;

    fn soak(rss: impl Fn(u64) -> u64, data: impl Fn(u64) -> u64) -> Sample {
        let mut sample = good();
        for minute in 1..=20 {
            let record = Record::Resources { node: 1, rss_kib: rss(minute), data_bytes: data(minute) };
            sample.record(minute * 60_000, record);
        }
        sample
    }

    #[test]
    fn a_steady_node_is_accepted() {
        soak(|minute| 90_000 + minute % 3 * 10_000, |_| 50 << 20).accepted_by(&CHECKER);
    }

    #[test]
    fn a_leak_is_caught() {
        soak(|minute| 50_000 * minute, |_| 50 << 20).caught_by(&CHECKER, "memory in KiB of node 1 grew");
        soak(|_| 90_000, |minute| minute << 27).caught_by(&CHECKER, "data in bytes of node 1 grew");
    }

    #[test]
    fn a_node_above_the_ceiling_is_caught_in_a_short_run_too() {
        let mut sample = good();
        sample.record(230, Record::Resources { node: 3, rss_kib: RSS_MAX_KIB + 1, data_bytes: 0 });
        sample.caught_by(&CHECKER, "node 3 took 1500 MiB");
    }
}
