//! The writer: a seeded sequence of everything that Raft does to a store. It reports its attempts and what was
//! acknowledged.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::stream;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use raft_store::raft::{TypeConfig, Vote};
use raft_store::storage::{LogStore, OpenOptions, SharedState, StateMachine, Storage};
use rand::Rng;
use rand::rngs::StdRng;

use super::crash::{self, entry, log_id};

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Vote,
    /// A number of appends that do not wait for one another, and the number of entries of each.
    Append(u64, u64),
    /// Removes a number of entries from the end.
    Truncate(u64),
    /// Records that everything so far is committed.
    Committed,
    /// Applies all but a number of entries, takes a snapshot, and purges what it covers.
    Compact(u64),
    /// Installs a snapshot from a leader that is a number of entries ahead.
    Install(u64),
}

/// Every kind of step next to every other kind that can follow it.
pub const SCRIPT: &[Step] = &[
    Step::Vote,
    Step::Append(1, 1),
    Step::Committed,
    Step::Append(3, 4),
    Step::Vote,
    Step::Truncate(2),
    Step::Append(1, 3),
    Step::Truncate(1),
    Step::Truncate(1),
    Step::Vote,
    Step::Append(2, 8),
    Step::Committed,
    Step::Compact(5),
    Step::Append(1, 2),
    Step::Compact(0),
    Step::Vote,
    Step::Append(1, 4),
    Step::Truncate(4),
    Step::Append(4, 2),
    Step::Install(10),
    Step::Append(1, 3),
    Step::Vote,
    Step::Install(20),
    Step::Committed,
    Step::Append(2, 2),
    Step::Compact(1),
    Step::Truncate(1),
    Step::Append(1, 1),
    Step::Committed,
    Step::Vote,
];

/// A random sequence.
pub fn random_steps(rng: &mut StdRng, count: usize) -> Vec<Step> {
    let step = |rng: &mut StdRng| match rng.random_range(0..20) {
        0..3 => Step::Vote,
        3..6 => Step::Truncate(rng.random_range(1..6)),
        6..8 => Step::Compact(rng.random_range(0..6)),
        8 => Step::Install(rng.random_range(1..30)),
        9..11 => Step::Committed,
        _ => Step::Append(rng.random_range(1..4), rng.random_range(1..10)),
    };
    (0..count).map(|_| step(rng)).collect()
}

/// A writer on a log, and on the state machine that belongs to it, if there is one.
pub struct Writer<'a> {
    log: LogStore,
    machine: Option<(StateMachine, SharedState)>,
    say: &'a (dyn Fn(String) + Sync),
    term: u64,
    /// Term of each entry in the log.
    terms: BTreeMap<u64, u64>,
    applied: Option<u64>,
}

impl<'a> Writer<'a> {
    /// Continues with a log, as a process that has just started.
    pub async fn start(
        mut log: LogStore,
        machine: Option<(StateMachine, SharedState)>,
        say: &'a (dyn Fn(String) + Sync),
    ) -> Self {
        let mut reader = log.get_log_reader().await;
        let found = reader.try_get_log_entries(0..u64::MAX).await.expect("the log is readable");
        let term = reader.read_vote().await.expect("the vote is readable").map_or(0, |vote| vote.leader_id.term);
        let terms = found.iter().map(|entry| (entry.log_id.index, *entry.log_id.leader_id)).collect();
        let purged = log.get_log_state().await.expect("a log state").last_purged_log_id.map(|purged| purged.index);
        let mut writer = Self { log, machine, say, term, terms, applied: purged };
        if let Some((_, state)) = &writer.machine {
            writer.applied = state.applied_index();
        }
        writer
    }

    fn say(&self, line: std::fmt::Arguments<'_>) {
        (self.say)(format!("@{line}"));
    }

    fn first(&self) -> u64 {
        self.applied.map_or(0, |applied| applied + 1)
    }

    fn end(&self) -> u64 {
        self.terms.last_key_value().map_or(self.first(), |(&last, _)| last + 1)
    }

    /// Makes one step; a step that does not fit the current log does nothing.
    pub async fn step(&mut self, step: Step) {
        match step {
            Step::Vote => self.vote().await,
            Step::Append(appends, entries) => self.append(appends, entries).await,
            Step::Truncate(entries) => self.truncate(entries).await,
            Step::Committed => self.committed().await,
            Step::Compact(keep) => self.compact(keep).await,
            Step::Install(ahead) => self.install(ahead).await,
        }
    }

    async fn vote(&mut self) {
        self.term += 1;
        let term = self.term;
        self.say(format_args!("v {term}"));
        self.log.save_vote(&Vote::new(term, 1)).await.expect("saved");
        self.say(format_args!("V {term}"));
    }

    async fn append(&mut self, appends: u64, entries: u64) {
        let mut acks = Vec::new();
        for _ in 0..appends {
            let (first, term) = (self.end(), self.term);
            let range = first..first + entries;
            self.say(format_args!("a {first} {} {term}", range.end - 1));
            let (sender, ack) = TypeConfig::oneshot();
            let made = range.clone().map(|index| entry(term, index));
            self.log.append(made, IOFlushed::signal(sender)).await.expect("queued");
            self.terms.extend(range.clone().map(|index| (index, term)));
            acks.push((range, term, ack));
        }
        for (Range { start, end }, term, ack) in acks {
            ack.await.expect("an outcome").expect("durable");
            self.say(format_args!("A {start} {} {term}", end - 1));
        }
    }

    async fn truncate(&mut self, entries: u64) {
        let Some(last) = self.end().checked_sub(entries + 1).filter(|&last| last >= self.first()) else { return };
        self.say(format_args!("t {last}"));
        self.log.truncate_after(Some(log_id(self.terms[&last], last))).await.expect("truncated");
        self.say(format_args!("T {last}"));
        self.terms.split_off(&(last + 1));
        // Another leader writes what follows: an index never gets two entries in one term.
        self.vote().await;
    }

    async fn committed(&mut self) {
        let Some((&last, &term)) = self.terms.last_key_value() else { return };
        self.say(format_args!("m {last}"));
        self.log.save_committed(Some(log_id(term, last))).await.expect("queued");
    }

    async fn compact(&mut self, keep: u64) {
        let Some(upto) = self.end().checked_sub(keep + 1).filter(|&upto| upto >= self.first()) else { return };
        let term = self.terms[&upto];
        if let Some((mut machine, state)) = self.machine.take() {
            let items: Vec<_> =
                (self.first()..=upto).map(|index| Ok((entry(self.terms[&index], index), None))).collect();
            machine.apply(stream::iter(items)).await.expect("applied");
            self.say(format_args!("s {upto} {}", state.read().digest()));
            machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
            self.say(format_args!("S {upto}"));
            self.machine = Some((machine, state));
        }
        self.purge(term, upto).await;
    }

    async fn install(&mut self, ahead: u64) {
        let upto = self.end() + ahead;
        let term = self.term;
        if let Some((mut machine, state)) = self.machine.take() {
            let donor = tempfile::TempDir::new().expect("a temporary directory");
            let leader = OpenOptions { node_id: 2, ..crash::options() };
            let storage = Storage::open(donor.path(), &leader).expect("it opens");
            let mut leader = storage.state_machine;
            leader.apply(stream::iter(vec![Ok((entry(term, upto), None))])).await.expect("applied");
            let snapshot = leader.get_snapshot_builder().await.build_snapshot().await.expect("built");
            self.say(format_args!("s {upto} {}", storage.state.read().digest()));
            machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("installed");
            self.say(format_args!("S {upto}"));
            self.machine = Some((machine, state));
        }
        self.purge(term, upto).await;
    }

    async fn purge(&mut self, term: u64, upto: u64) {
        self.applied = Some(upto);
        self.say(format_args!("p {upto}"));
        self.log.purge(log_id(term, upto)).await.expect("purged");
        self.say(format_args!("P {upto}"));
        self.terms = self.terms.split_off(&(upto + 1));
    }
}
