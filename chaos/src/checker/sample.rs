//! Histories for the checkers' tests: one that every checker accepts, and a short notation to build broken ones.
//!
//! Invariant: times are milliseconds; `op` puts the answer at the end of the given span, so a
//! test reads like a diagram.

use crate::checker::{Checker, Findings};
use crate::history::{
    Action, After, Answer, AttributeValue, Attributes, Branch, Change, Event, FaultName, FaultOutcome, FaultRecord,
    Level, Micros, Op, OpId, Record, RunInfo, Seen, Txn,
};
use crate::model::Model;

/// How a sample operation ends.
pub(crate) enum End {
    Ok(Answer),
    Seen(Answer, Seen),
    Refused(&'static str),
    Unknown,
}

#[derive(Default)]
pub(crate) struct Sample {
    events: Vec<Event>,
    next: OpId,
    key: Option<String>,
    client: Option<String>,
    to: Option<u64>,
}

impl Sample {
    /// The next operation carries this key.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.key = Some(key.into());
        self
    }

    /// The next operation is this client's.
    pub(crate) fn by(&mut self, client: &str) -> &mut Self {
        self.client = Some(client.into());
        self
    }

    /// The next operation is sent to this node.
    pub(crate) fn to(&mut self, node: u64) -> &mut Self {
        self.to = Some(node);
        self
    }

    pub(crate) fn record(&mut self, at_ms: Micros, record: Record) -> &mut Self {
        self.events.push(Event { at: at_ms * 1_000, record });
        self
    }

    /// An operation from `span.0` to `span.1` milliseconds.
    pub(crate) fn op(&mut self, span: (Micros, Micros), op: Op, end: End) -> &mut Self {
        self.next += 1;
        let id = self.next;
        let key = self.key.take();
        let client = self.client.take().unwrap_or_else(|| "c".into());
        let to = self.to.take();
        self.record(span.0, Record::Invoke { id, client, op, key, to });
        let done = match end {
            End::Ok(answer) => Record::Ok { id, answer, seen: None },
            End::Seen(answer, seen) => Record::Ok { id, answer, seen: Some(seen) },
            End::Refused(code) => Record::Refused { id, code: code.into(), detail: String::new() },
            End::Unknown => Record::Unknown { id, reason: "timed out".into() },
        };
        self.record(span.1, done)
    }

    pub(crate) fn grant(
        &mut self,
        span: (Micros, Micros),
        peer: &str,
        file: &str,
        ttl_ms: u64,
        fence: u64,
        version: u64,
    ) -> &mut Self {
        self.op(span, acquire(peer, file, ttl_ms), End::Ok(Answer::Granted { fence, ttl_ms, version, sent: None }))
    }

    pub(crate) fn release(&mut self, span: (Micros, Micros), peer: &str, file: &str, fence: u64) -> &mut Self {
        self.op(span, Op::Release { peer: peer.into(), file: file.into(), fence }, End::Ok(Answer::Done))
    }

    pub(crate) fn publish(
        &mut self,
        span: (Micros, Micros),
        peer: &str,
        file: &str,
        fence: u64,
        hash: &str,
        end: End,
    ) -> &mut Self {
        self.op(span, publish(peer, file, fence, hash, false), end)
    }

    pub(crate) fn read(&mut self, span: (Micros, Micros), file: &str, version: u64, hash: &str) -> &mut Self {
        let op = Op::Read { file: file.into(), level: Level::Linearizable, node: None, min_index: None };
        self.op(span, op, End::Ok(Answer::File { version, hash: hash.into() }))
    }

    pub(crate) fn finals(&mut self, at: Micros, file: &str, version: u64, hash: &str) -> &mut Self {
        for node in 1..=3 {
            self.record(at, Record::Final { node, file: file.into(), version, hash: hash.into() });
        }
        self
    }

    pub(crate) fn audit(&mut self, at: Micros, file: &str, hash: &str, version: Option<u64>) -> &mut Self {
        self.record(at, Record::Audit { file: file.into(), hash: hash.into(), version })
    }

    /// In order of time.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = self.events.clone();
        events.sort_by_key(|event| event.at);
        events
    }

    pub(crate) fn model(&self) -> Model {
        Model::new(&self.events())
    }

    /// The model, with a node whose clock runs so fast.
    pub(crate) fn model_with_clocks(&self, fastest_clock_permille: u32) -> Model {
        let mut events = self.events.clone();
        for event in &mut events {
            if let Record::Run(run) = &mut event.record {
                run.fastest_clock_permille = fastest_clock_permille;
            }
        }
        events.sort_by_key(|event| event.at);
        Model::new(&events)
    }

    pub(crate) fn check(&self, checker: &Checker) -> Findings {
        (checker.check)(&self.model())
    }

    /// Asserts that the checker looked at something and accepted it.
    pub(crate) fn accepted_by(&self, checker: &Checker) {
        let found = self.check(checker);
        assert!(found.checks > 0, "{}: nothing was checked", checker.name);
        assert_eq!(found.first, [], "{}", checker.name);
        assert_eq!(found.violations, 0, "{}", checker.name);
    }

    /// Asserts that the checker finds a violation, with these words in the first finding.
    pub(crate) fn caught_by(&self, checker: &Checker, words: &str) {
        let found = self.check(checker);
        assert!(found.violations > 0, "{}: the broken history was accepted", checker.name);
        let what = &found.first.first().expect("violations are shown").what;
        assert!(what.contains(words), "{}: {what}", checker.name);
    }
}

pub(crate) fn published(version: u64) -> End {
    End::Ok(Answer::Published { version })
}

pub(crate) fn denied(holder: &str) -> End {
    End::Ok(Answer::Denied { holder: holder.into(), position: None })
}

pub(crate) fn acquire(peer: &str, file: &str, ttl_ms: u64) -> Op {
    Op::Acquire { peer: peer.into(), file: file.into(), ttl_ms, wait: false }
}

pub(crate) fn publish(peer: &str, file: &str, fence: u64, hash: &str, keep: bool) -> Op {
    Op::Publish { peer: peer.into(), file: file.into(), fence: Some(fence), version: None, hash: hash.into(), keep }
}

/// A read of file "f" from this node.
pub(crate) fn read_of(node: u64, level: Level) -> Op {
    Op::Read { file: "f".into(), level, node: Some(node), min_index: None }
}

/// The state of [`good`], as this node shows it.
pub(crate) fn answered_by(node: u64) -> End {
    End::Seen(Answer::File { version: 2, hash: "h2".into() }, Seen { node, boot: "b".into(), applied: 9, index: None })
}

/// A run in which these nodes lose their majority after 300 ms and never get it back.
pub(crate) fn parted(without: &[u64]) -> Sample {
    let mut sample = good();
    sample.record(300, Record::Quorum { without: without.to_vec(), majority: without.len() < 2 });
    sample
}

/// A short run in which everything went well.
pub(crate) fn good() -> Sample {
    let mut sample = Sample { next: 0, ..Sample::default() };
    let run = RunInfo { format: crate::history::FORMAT, nodes: 3, rounds: 1, ..RunInfo::default() };
    sample
        .record(0, Record::Run(run))
        .op((0, 1), Op::Register { peer: "a".into() }, End::Ok(Answer::Done))
        .op((0, 1), Op::Register { peer: "b".into() }, End::Ok(Answer::Done))
        .grant((1, 2), "a", "f", 100, 1, 0)
        .op((3, 4), acquire("b", "f", 100), denied("a"))
        .publish((5, 6), "a", "f", 1, "h1", published(1))
        .read((7, 8), "f", 1, "h1")
        .grant((8, 9), "b", "f", 100, 2, 1)
        .publish((10, 20), "b", "f", 2, "h2", End::Unknown)
        .grant((200, 201), "a", "f", 100, 3, 2)
        .release((202, 203), "a", "f", 3)
        .record(204, fault(FaultName::Kill, 1, FaultOutcome::Installed))
        .record(205, Record::Recovered { round: 1, after_us: 900 })
        .record(206, Record::Healed { after_us: 1_000 })
        .finals(207, "f", 2, "h2")
        .audit(208, "f", "h1", Some(1))
        .audit(208, "f", "h2", Some(2));
    let read = Op::Read { file: "f".into(), level: Level::Stale, node: Some(2), min_index: Some(7) };
    let seen = Seen { node: 2, boot: "x".into(), applied: 8, index: None };
    sample.op((208, 209), read, End::Seen(Answer::File { version: 2, hash: "h2".into() }, seen));
    let search = Op::Search { file: "f".into(), level: None, node: 2, min_index: Some(7) };
    let seen = Seen { node: 2, boot: "x".into(), applied: 7, index: None };
    sample.op((208, 209), search, End::Seen(Answer::Found { version: 2 }, seen));
    sample.op((30, 31), Op::Txn(update(vec![add("counter", "n", 1), add("counter", "trace", 5)])), {
        applied("7.0", Branch::Then, &[("counter", &[("n", 1), ("trace", 5)])])
    });
    sample.record(207, final_attributes(1, "counter", &[("n", 1), ("trace", 5)]));
    sample.record(209, Record::Copies { file: "f".into(), wanted: 2, live: 2, differing: Vec::new() });
    for node in 1..=3 {
        sample.record(209, Record::LogRead { node, lines: 9 });
        sample.record(209, Record::Resources { node, rss_kib: 40_000, data_bytes: 1 << 20 });
        sample.record(209, Record::Digest { node, applied: 9, digest: "d".into() });
    }
    sample
}

/// A transaction of peer "a" without conditions.
pub(crate) fn update(then: Vec<Change>) -> Txn {
    Txn { peer: "a".into(), conditions: vec![], then, otherwise: vec![] }
}

pub(crate) fn add(name: &str, attr: &str, by: i64) -> Change {
    let action = Action::Add { attr: attr.into(), by, min: None, max: None };
    Change { name: name.into(), action, fence: None }
}

pub(crate) fn numbers(attributes: &[(&str, i64)]) -> Attributes {
    attributes.iter().map(|(attr, value)| ((*attr).to_owned(), AttributeValue::Integer(*value))).collect()
}

/// The answer to a transaction: its id, and its names afterwards.
pub(crate) fn applied(txn: &str, branch: Branch, names: &[(&str, &[(&str, i64)])]) -> End {
    let after = |(name, attributes): &(&str, &[(&str, i64)])| After {
        name: (*name).to_owned(),
        version: None,
        attributes: numbers(attributes),
    };
    End::Ok(Answer::Applied { branch, txn: txn.into(), names: names.iter().map(after).collect() })
}

pub(crate) fn final_attributes(node: u64, name: &str, attributes: &[(&str, i64)]) -> Record {
    Record::FinalAttributes { node, name: name.into(), attributes: numbers(attributes), applied: None }
}

pub(crate) fn fault(fault: FaultName, node: u64, outcome: FaultOutcome) -> Record {
    Record::Fault(FaultRecord { round: 1, fault, node: Some(node), led: true, term: Some(1), outcome })
}

#[test]
fn every_checker_accepts_the_good_run() {
    for checker in crate::checker::ALL {
        good().accepted_by(checker);
    }
}
