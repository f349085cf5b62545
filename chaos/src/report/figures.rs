//! Figures of a run: how long, how much, how fast, how long without writes, who led.
//!
//! Invariant: everything is counted from the history alone, so that `check` gives the figures again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::percentile;
use crate::history::{FaultOutcome, Micros, Op};
use crate::model::{Model, Operation};

/// A gap between acknowledged writes counts as unavailable from this length on, in microseconds.
pub const GAP: Micros = 250_000;

/// What a report says in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// From the first to the last event, in microseconds.
    pub duration_us: Micros,
    /// Acknowledged operations per second, over the time in which clients worked.
    pub acknowledged_per_second: f64,
    /// Failovers: times from a fault to the next acknowledged write.
    pub failover: Spread,
    /// Latency of acknowledged operations by kind.
    pub latency: BTreeMap<String, Spread>,
    /// Faults by name.
    pub faults: BTreeMap<String, FaultCounts>,
    /// Who led from when on.
    pub leaders: Vec<Led>,
    /// Spans without an acknowledged write.
    pub unavailable: Vec<Window>,
    /// Sum of these spans, in microseconds.
    pub unavailable_us: Micros,
    /// Requests that were sent again under the key of an earlier one.
    pub repeated: usize,
    /// Operations that were held against the properties, all together.
    pub operations: usize,
}

/// A distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half are below.
    pub p50_us: Micros,
    /// 95 % are below.
    pub p95_us: Micros,
    /// 99 % are below.
    pub p99_us: Micros,
    /// The greatest.
    pub max_us: Micros,
}

/// What became of the faults of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounts {
    /// Took effect.
    pub installed: usize,
    /// Could not be tried.
    pub skipped: usize,
    /// May have taken effect.
    pub indeterminate: usize,
}

/// A change of leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    /// When it was seen.
    pub at: Micros,
    /// Who.
    pub node: u64,
    /// Term.
    pub term: u64,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    pub from: Micros,
    /// Its end.
    pub until: Micros,
}

impl Spread {
    /// Of values in any order.
    pub fn of(mut values: Vec<Micros>) -> Self {
        values.sort_unstable();
        Self {
            count: values.len(),
            p50_us: percentile(&values, 50),
            p95_us: percentile(&values, 95),
            p99_us: percentile(&values, 99),
            max_us: values.last().copied().unwrap_or(0),
        }
    }
}

impl Figures {
    /// Counts a run.
    pub fn new(model: &Model, recoveries: &[Micros]) -> Self {
        let unavailable = gaps(model);
        let worked = model.operations.values().filter_map(|operation| operation.completed).max().unwrap_or(0);
        let began = model.operations.values().map(|operation| operation.invoked).min().unwrap_or(0);
        let seconds = worked.saturating_sub(began) as f64 / 1e6;
        let per_second = if seconds > 0.0 { model.acknowledged() as f64 / seconds } else { 0.0 };
        Self {
            duration_us: model.ended,
            acknowledged_per_second: (per_second * 10.0).round() / 10.0,
            failover: Spread::of(recoveries.to_vec()),
            latency: latencies(model),
            faults: faults(model),
            leaders: model.leaders.iter().map(|&(at, node, term)| Led { at, node, term }).collect(),
            unavailable_us: unavailable.iter().map(|window| window.until - window.from).sum(),
            unavailable,
            repeated: model.operations.values().filter(|operation| operation.began < operation.invoked).count(),
            operations: model.operations.len(),
        }
    }
}

/// The kind of an operation, for tables.
pub fn kind(op: &Op) -> &'static str {
    match op {
        Op::Register { .. } => "register",
        Op::Acquire { wait: false, .. } => "acquire",
        Op::Acquire { wait: true, .. } => "acquire (waiting)",
        Op::Renew { .. } => "renew",
        Op::Release { .. } => "release",
        Op::Leave { .. } => "leave",
        Op::Publish { .. } => "publish",
        Op::Read { .. } => "read",
        Op::Search { .. } => "search",
        Op::Txn(_) => "transaction",
        Op::ReadAttributes { .. } => "read attributes",
        Op::LookUp { .. } => "look up",
    }
}

/// Whether the operation is a write that a majority had to take.
pub fn is_acknowledged_write(operation: &Operation) -> bool {
    operation.answer().is_some() && !operation.op.is_read()
}

fn gaps(model: &Model) -> Vec<Window> {
    let mut ends: Vec<Micros> = model
        .operations
        .values()
        .filter(|operation| is_acknowledged_write(operation))
        .filter_map(|operation| operation.completed)
        .collect();
    // Before the first and after the last of them clients may have asked for long, in vain.
    let writes = model.operations.values().filter(|operation| !operation.op.is_read());
    let asked: Vec<Micros> = writes.map(|operation| operation.invoked).collect();
    ends.sort_unstable();
    let (first, last) = (ends.first().copied(), ends.last().copied());
    ends.extend(asked.iter().min().filter(|&&at| first.is_none_or(|first| at < first)));
    ends.extend(asked.iter().max().filter(|&&at| last.is_none_or(|last| at > last)));
    ends.sort_unstable();
    let gap = |pair: &[Micros]| match pair {
        [from, until] if until - from >= GAP => Some(Window { from: *from, until: *until }),
        _ => None,
    };
    ends.windows(2).filter_map(gap).collect()
}

fn latencies(model: &Model) -> BTreeMap<String, Spread> {
    let mut by_kind: BTreeMap<&str, Vec<Micros>> = BTreeMap::new();
    for operation in model.operations.values().filter(|operation| operation.answer().is_some()) {
        by_kind.entry(kind(&operation.op)).or_default().push(operation.end().saturating_sub(operation.invoked));
    }
    by_kind.into_iter().map(|(kind, values)| (kind.to_owned(), Spread::of(values))).collect()
}

fn faults(model: &Model) -> BTreeMap<String, FaultCounts> {
    let mut tallies: BTreeMap<String, FaultCounts> = BTreeMap::new();
    for fault in &model.faults {
        let tally = tallies.entry(fault.fault.to_string()).or_default();
        match fault.outcome {
            FaultOutcome::Installed => tally.installed += 1,
            FaultOutcome::Skipped(_) => tally.skipped += 1,
            FaultOutcome::Indeterminate(_) => tally.indeterminate += 1,
        }
    }
    tallies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::sample::{fault, good};
    use crate::history::{FaultName, Record};

    #[test]
    fn gaps_between_acknowledged_writes_are_unavailability() {
        let mut sample = good();
        sample.grant((700, 701), "a", "f", 10, 10, 2).read((900, 901), "f", 2, "h2");
        let figures = Figures::new(&sample.model(), &[]);
        assert_eq!(figures.unavailable, [Window { from: 203_000, until: 701_000 }]);
        assert_eq!(figures.unavailable_us, 498_000);
    }

    #[test]
    fn faults_leaders_and_latencies_are_counted() {
        let mut sample = good();
        sample.record(300, fault(FaultName::Kill, 2, FaultOutcome::Skipped("nobody leads".into())));
        sample.record(301, Record::Leader { node: 2, term: 7 });
        let figures = Figures::new(&sample.model(), &[5, 1]);
        assert_eq!(figures.faults["kill"], FaultCounts { installed: 1, skipped: 1, indeterminate: 0 });
        assert_eq!(figures.leaders, [Led { at: 301_000, node: 2, term: 7 }]);
        assert_eq!(figures.latency["publish"].count, 1);
        assert_eq!((figures.failover.p50_us, figures.failover.max_us), (5, 5));
    }
}
