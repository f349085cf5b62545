//! The checkers' own picture of a run: operations with their outcomes, and the leases that clients could count on.
//!
//! It shares no code with the index's state machine, or a bug there would hide itself here.
//!
//! Invariants:
//! - an operation without an answer is unknown and may take effect at any later time;
//! - a lease's *guaranteed* interval is the time in which its holder, who knows only its own clock, is right to believe
//!   that it holds the lease: from the answer to the grant until the TTL, counted from when the request was *sent*, is
//!   over (T4); renewals move the end, and the first release or publish that may have ended the lease cuts it.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Attributes, Event, FaultRecord, Micros, Op, OpId, Record, RunInfo, Seen, Txn};

/// How an operation ended, as far as its client can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok(Answer, Option<Seen>),
    /// It was not, for the reason of this code.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// One operation, from its request to its answer.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its number.
    pub id: OpId,
    /// Who sent it.
    pub client: String,
    /// What was asked.
    pub op: Op,
    /// Its key, where the runner chose it.
    pub key: Option<String>,
    /// The node it was sent to, where that is known.
    pub asked: Option<u64>,
    /// When it was sent.
    pub invoked: Micros,
    /// When the first request under its key was sent: no effect of the operation is earlier, but it may be as early.
    pub began: Micros,
    /// When its outcome was known; unknown operations have none and never end.
    pub completed: Option<Micros>,
    /// Until when its client waited for an answer, if it stopped without one that decides.
    pub given_up: Option<Micros>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// The answer, if it was done.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Ok(answer, _) => Some(answer),
            Outcome::Refused(_) | Outcome::Unknown => None,
        }
    }

    /// Whether it was, or may have been, applied.
    pub fn may_be_applied(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused(_))
    }

    /// When it ended; the end of time for unknown ones.
    pub fn end(&self) -> Micros {
        self.completed.unwrap_or(Micros::MAX)
    }
}

/// A lease as its holder could see it.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its fencing token.
    pub fence: u64,
    /// The leased file.
    pub file: String,
    /// The holder.
    pub peer: String,
    /// The operation that was granted.
    pub granted_by: OpId,
    /// When the grant was asked for.
    pub asked: Micros,
    /// When the grant was answered: the guarantee begins.
    pub from: Micros,
    /// When its TTL, renewals included, may be over at the earliest.
    pub ttl_end: Micros,
    /// When something was sent that may have ended it: a release, a publish, or a request to take it over.
    pub cut: Option<Micros>,
    /// Version of the file when it was granted.
    pub version: u64,
}

impl Lease {
    /// End of the guaranteed interval.
    pub fn guaranteed_until(&self) -> Micros {
        self.cut.map_or(self.ttl_end, |cut| cut.min(self.ttl_end))
    }
}

/// A read after healing.
#[derive(Debug, Clone)]
pub struct FinalRead {
    /// The asked node.
    pub node: u64,
    /// The file.
    pub file: String,
    /// Its version.
    pub version: u64,
    /// Its hash.
    pub hash: String,
}

/// A read of attributes after healing.
#[derive(Debug, Clone)]
pub struct FinalAttributes {
    /// The asked node.
    pub node: u64,
    /// The name.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// The applied log index of the answer.
    pub applied: Option<u64>,
}

/// A node's digest.
#[derive(Debug, Clone)]
pub struct NodeDigest {
    /// The node.
    pub node: u64,
    /// Applied log index.
    pub applied: u64,
    /// SHA-256 over the state.
    pub digest: String,
}

/// Copies of one file after healing.
#[derive(Debug, Clone)]
pub struct FileCopies {
    /// The file.
    pub file: String,
    /// Copies it should have.
    pub wanted: u64,
    /// Live copies that the index counts.
    pub live: u64,
    /// Counted holders with other bytes.
    pub differing: Vec<String>,
}

/// What a node took at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sampled {
    /// When.
    pub at: Micros,
    /// Which node.
    pub node: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Bytes below its data directory.
    pub data_bytes: u64,
}

/// A time in which some nodes reached no majority.
#[derive(Debug, Clone)]
pub struct Apart {
    /// When it began.
    pub from: Micros,
    /// When it ended; past the end of the run if it did not.
    pub until: Micros,
    /// The nodes.
    pub without: BTreeSet<u64>,
    /// Whether some other node may have reached one.
    pub majority: bool,
}

impl Apart {
    /// Whether the operation took effect within the span.
    pub fn began_in(&self, operation: &Operation) -> bool {
        (self.from + 1..self.until).contains(&operation.began)
    }
}

/// A whole run.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// What ran.
    pub run: RunInfo,
    /// Every operation in order of its number.
    pub operations: BTreeMap<OpId, Operation>,
    /// Every lease that was granted, by fencing token; a token granted twice keeps the first grant.
    pub leases: BTreeMap<u64, Lease>,
    /// Reads after healing.
    pub finals: Vec<FinalRead>,
    /// Reads of attributes after healing.
    pub final_attributes: Vec<FinalAttributes>,
    /// Hashes looked up after healing: (file, hash) and the version found.
    pub audits: Vec<(String, String, Option<u64>)>,
    /// Digests after healing.
    pub digests: Vec<NodeDigest>,
    /// Faults.
    pub faults: Vec<FaultRecord>,
    /// When the process of a node was killed, paused or started, in order of time.
    pub struck: Vec<(Micros, u64)>,
    /// From each fault until writes were acknowledged again.
    pub recoveries: Vec<Micros>,
    /// From when on which nodes reached no majority, and whether others might, in order of time.
    pub quorums: Vec<(Micros, Vec<u64>, bool)>,
    /// Nodes that ended by themselves, and how.
    pub exits: Vec<(u64, String)>,
    /// Nodes that ended as they should after a fault, and how.
    pub expected_exits: Vec<(u64, String)>,
    /// What did not behave as it should under its fault.
    pub misbehaved: Vec<String>,
    /// How long healing took.
    pub healed: Option<Micros>,
    /// Why it did not heal.
    pub not_healed: Option<String>,
    /// Copies after healing.
    pub copies: Vec<FileCopies>,
    /// ERROR lines and panics in the nodes' logs.
    pub log_lines: Vec<(u64, String)>,
    /// Logs that were looked through: the node, and how many lines.
    pub logs_read: Vec<(u64, u64)>,
    /// What the nodes took.
    pub resources: Vec<Sampled>,
    /// Changes of leader: when, who, which term.
    pub leaders: Vec<(Micros, u64, u64)>,
    /// Whether the run was interrupted from outside.
    pub interrupted: bool,
    /// When the last event happened.
    pub ended: Micros,
}

impl Model {
    /// Reads a history, given in order of time.
    pub fn new(events: &[Event]) -> Self {
        let mut model = Self::default();
        for event in events {
            model.take(event);
        }
        model.join_repeats();
        model.leases = leases(&model.operations, &Clocks(model.run.fastest_clock_permille));
        model
    }

    fn take(&mut self, event: &Event) {
        self.ended = self.ended.max(event.at);
        match event.record.clone() {
            Record::Run(run) => self.run = run,
            Record::Invoke { id, client, op, key, to } => {
                let invoked = event.at;
                let asked = match &op {
                    Op::Read { node, .. } => *node,
                    Op::Search { node, .. } | Op::ReadAttributes { node, .. } | Op::LookUp { node, .. } => Some(*node),
                    _ => to,
                };
                let operation = Operation {
                    id,
                    client,
                    op,
                    key,
                    asked,
                    invoked,
                    began: invoked,
                    completed: None,
                    given_up: None,
                    outcome: Outcome::Unknown,
                };
                self.operations.insert(id, operation);
            }
            Record::Ok { id, answer, seen } => self.complete(id, Some(event.at), Outcome::Ok(answer, seen)),
            Record::Refused { id, code, .. } => self.complete(id, Some(event.at), Outcome::Refused(code)),
            Record::Unknown { id, .. } => {
                self.complete(id, None, Outcome::Unknown);
                if let Some(operation) = self.operations.get_mut(&id) {
                    operation.given_up = Some(event.at);
                }
            }
            Record::Fault(fault) => {
                let struck = fault.node.filter(|_| fault.fault.strikes_process());
                self.struck.extend(struck.map(|node| (event.at, node)));
                self.faults.push(fault);
            }
            Record::Recovered { after_us, .. } => self.recoveries.push(after_us),
            Record::Quorum { without, majority } => self.quorums.push((event.at, without, majority)),
            Record::Exit { node, status } => self.exits.push((node, status)),
            Record::ExpectedExit { node, status } => self.expected_exits.push((node, status)),
            Record::Misbehaved { what } => self.misbehaved.push(what),
            Record::Healed { after_us } => self.healed = Some(after_us),
            Record::NotHealed { reason } => self.not_healed = Some(reason),
            Record::Final { node, file, version, hash } => self.finals.push(FinalRead { node, file, version, hash }),
            Record::FinalAttributes { node, name, attributes, applied } => {
                self.final_attributes.push(FinalAttributes { node, name, attributes, applied });
            }
            Record::Audit { file, hash, version } => self.audits.push((file, hash, version)),
            Record::Copies { file, wanted, live, differing } => {
                self.copies.push(FileCopies { file, wanted, live, differing });
            }
            Record::LogLine { node, line } => self.log_lines.push((node, line)),
            Record::LogRead { node, lines } => self.logs_read.push((node, lines)),
            Record::Resources { node, rss_kib, data_bytes } => {
                self.resources.push(Sampled { at: event.at, node, rss_kib, data_bytes });
            }
            Record::Leader { node, term } => self.leaders.push((event.at, node, term)),
            Record::Rounds { done } => self.run.rounds = done,
            Record::Interrupted => self.interrupted = true,
            Record::Digest { node, applied, digest } => self.digests.push(NodeDigest { node, applied, digest }),
        }
    }

    /// Requests under one key are one operation, which may have taken effect since the first of them was sent.
    fn join_repeats(&mut self) {
        let mut began: BTreeMap<(String, String), Micros> = BTreeMap::new();
        for operation in self.operations.values_mut() {
            if let Some(key) = &operation.key {
                operation.began = *began.entry((operation.client.clone(), key.clone())).or_insert(operation.invoked);
            }
        }
    }

    fn complete(&mut self, id: OpId, at: Option<Micros>, outcome: Outcome) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.completed = at;
            operation.outcome = outcome;
        }
    }

    /// What a client may make of a TTL, in microseconds: less, where nodes' clocks run faster.
    pub fn lasts(&self, ttl_ms: u64) -> Micros {
        Clocks(self.run.fastest_clock_permille).lasts(ttl_ms)
    }

    /// Every file that an operation named.
    pub fn files(&self) -> BTreeSet<&str> {
        self.operations.values().filter_map(|operation| file_of(&operation.op)).collect()
    }

    /// The times in which some nodes reached no majority, in order.
    pub fn apart(&self) -> impl Iterator<Item = Apart> {
        let ends = self.quorums.iter().skip(1).map(|(at, ..)| *at).chain([Micros::MAX]);
        self.quorums.iter().zip(ends).filter(|((_, without, _), _)| !without.is_empty()).map(
            |((from, without, majority), until)| Apart {
                from: *from,
                until,
                without: without.iter().copied().collect(),
                majority: *majority,
            },
        )
    }

    /// The published versions that were acknowledged: (operation, file, version, hash).
    pub fn acknowledged_publishes(&self) -> impl Iterator<Item = (&Operation, &str, u64, &str)> {
        self.operations.values().filter_map(|operation| match (&operation.op, operation.answer()) {
            (Op::Publish { file, hash, .. }, Some(Answer::Published { version })) => {
                Some((operation, file.as_str(), *version, hash.as_str()))
            }
            _ => None,
        })
    }

    /// Number of operations that were answered with success.
    pub fn acknowledged(&self) -> usize {
        self.operations.values().filter(|operation| operation.answer().is_some()).count()
    }
}

/// The file an operation names.
pub fn file_of(op: &Op) -> Option<&str> {
    match op {
        Op::Register { .. } | Op::Txn(_) | Op::ReadAttributes { .. } | Op::LookUp { .. } => None,
        Op::Acquire { file, .. }
        | Op::Renew { file, .. }
        | Op::Release { file, .. }
        | Op::Leave { file, .. }
        | Op::Publish { file, .. }
        | Op::Read { file, .. }
        | Op::Search { file, .. } => Some(file),
    }
}

/// The peer an operation acts for.
pub fn peer_of(op: &Op) -> Option<&str> {
    match op {
        Op::Register { peer }
        | Op::Acquire { peer, .. }
        | Op::Renew { peer, .. }
        | Op::Release { peer, .. }
        | Op::Leave { peer, .. }
        | Op::Publish { peer, .. }
        | Op::Txn(Txn { peer, .. }) => Some(peer),
        Op::Read { .. } | Op::Search { .. } | Op::ReadAttributes { .. } | Op::LookUp { .. } => None,
    }
}

/// What a client may make of a TTL that the leader counts on its own clock (T2): less, where nodes' clocks run faster.
struct Clocks(u32);

impl Clocks {
    fn lasts(&self, ttl_ms: u64) -> Micros {
        let us = u128::from(ttl_ms) * 1_000 * 1_000 / u128::from(self.0.max(1_000));
        Micros::try_from(us).unwrap_or(Micros::MAX)
    }
}

fn leases(operations: &BTreeMap<OpId, Operation>, clocks: &Clocks) -> BTreeMap<u64, Lease> {
    let mut leases = BTreeMap::new();
    for operation in operations.values() {
        if let (Op::Acquire { peer, file, .. }, Some(&Answer::Granted { fence, ttl_ms, version, sent })) =
            (&operation.op, operation.answer())
        {
            leases.entry(fence).or_insert_with(|| Lease {
                fence,
                file: file.clone(),
                peer: peer.clone(),
                granted_by: operation.id,
                asked: operation.invoked,
                from: operation.end(),
                ttl_end: sent.unwrap_or(operation.invoked).saturating_add(clocks.lasts(ttl_ms)),
                cut: None,
                version,
            });
        }
    }
    for operation in operations.values() {
        extend_or_cut(&mut leases, operation, clocks);
    }
    cut_takeovers(&mut leases, operations);
    leases
}

fn extend_or_cut(leases: &mut BTreeMap<u64, Lease>, operation: &Operation, clocks: &Clocks) {
    let cut_at = |lease: &mut Lease| {
        lease.cut = Some(lease.cut.map_or(operation.invoked, |cut| cut.min(operation.invoked)));
    };
    match &operation.op {
        Op::Renew { fence, .. } => {
            // An acknowledged renewal proves that the lease lived without a break since its grant.
            if let (Some(lease), Some(&Answer::Granted { ttl_ms, .. })) = (leases.get_mut(fence), operation.answer()) {
                let end = operation.invoked.saturating_add(clocks.lasts(ttl_ms));
                lease.ttl_end = lease.ttl_end.max(end);
            }
        }
        Op::Release { fence, .. } | Op::Publish { fence: Some(fence), keep: false, .. } => {
            if let Some(lease) = leases.get_mut(fence).filter(|_| operation.may_be_applied()) {
                cut_at(lease);
            }
        }
        Op::Register { .. }
        | Op::Acquire { .. }
        | Op::Leave { .. }
        | Op::Publish { .. }
        | Op::Txn(_)
        | Op::Read { .. }
        | Op::Search { .. }
        | Op::ReadAttributes { .. }
        | Op::LookUp { .. } => {}
    }
}

/// A peer that registered again takes its own lease over when it asks for it (L4).
fn cut_takeovers(leases: &mut BTreeMap<u64, Lease>, operations: &BTreeMap<OpId, Operation>) {
    let mut registrations: BTreeMap<&str, Vec<Micros>> = BTreeMap::new();
    let mut requests: BTreeMap<(&str, &str), Vec<(Micros, OpId)>> = BTreeMap::new();
    for operation in operations.values().filter(|operation| operation.may_be_applied()) {
        match &operation.op {
            Op::Register { peer } => registrations.entry(peer).or_default().push(operation.end()),
            Op::Acquire { peer, file, .. } => {
                requests.entry((peer, file)).or_default().push((operation.invoked, operation.id));
            }
            Op::Renew { .. }
            | Op::Release { .. }
            | Op::Leave { .. }
            | Op::Publish { .. }
            | Op::Txn(_)
            | Op::Read { .. }
            | Op::Search { .. }
            | Op::ReadAttributes { .. }
            | Op::LookUp { .. } => {}
        }
    }
    for lease in leases.values_mut() {
        let (peer, file) = (lease.peer.as_str(), lease.file.as_str());
        let registered_again = registrations.get(peer).is_some_and(|ends| ends.iter().any(|&end| end > lease.asked));
        let asked_again = requests.get(&(peer, file)).and_then(|requests| {
            let later = |(at, id): &&(Micros, OpId)| *at > lease.from && *id != lease.granted_by;
            requests.iter().filter(later).map(|(at, _)| *at).min()
        });
        if let Some(at) = asked_again.filter(|_| registered_again) {
            lease.cut = Some(lease.cut.map_or(at, |cut| cut.min(at)));
        }
    }
}
