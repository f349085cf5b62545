//! The process that is killed: endless random appends, votes, truncations, snapshots and purges.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use futures::stream;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use raft_store::raft::{TypeConfig, Vote};
use raft_store::storage::{LogStore, StateMachine, Storage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, oneshot};

use super::{CHILD_DIR, CHILD_SEED, entry, log_id, options};

/// Appends that may wait for their flush at the same time.
const IN_FLIGHT: usize = 8;

/// Sends one line to the parent, in one write.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // If the parent is gone, nobody reads it.
    let _ = out.write_all(format!("@{line}\n").as_bytes());
    let _ = out.flush();
}

/// Runs as the child, if this process is one.
#[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
pub fn run_if_child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let seed = std::env::var(CHILD_SEED).expect("a seed").parse().expect("a number");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(live(Path::new(&dir), seed));
}

enum Pending {
    Append { first: u64, last: u64, term: u64, ack: AckReceiver },
    Drained(oneshot::Sender<()>),
}

type Channel = <openraft::impls::TokioRuntime as openraft::AsyncRuntime>::Oneshot;
type AckReceiver = <Channel as openraft::type_config::async_runtime::Oneshot>::Receiver<std::io::Result<()>>;

struct Life {
    log: LogStore,
    machine: StateMachine,
    rng: StdRng,
    term: u64,
    /// Term of each entry in the log.
    terms: BTreeMap<u64, u64>,
    applied: Option<u64>,
    pending: mpsc::Sender<Pending>,
}

async fn live(dir: &Path, seed: u64) {
    let storage = match Storage::open(dir, &options()) {
        Ok(storage) => storage,
        Err(error) => {
            say(format_args!("E {error}"));
            return;
        }
    };
    let (pending, acks) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(report(acks));
    let mut log = storage.log_store;
    let mut reader = log.get_log_reader().await;
    let found = reader.try_get_log_entries(0..u64::MAX).await.expect("the log is readable");
    let term = reader.read_vote().await.expect("the vote is readable").map_or(0, |vote| vote.leader_id.term);
    let terms = found.iter().map(|entry| (entry.log_id.index, *entry.log_id.leader_id)).collect();
    let applied = storage.state.applied_index();
    let rng = StdRng::seed_from_u64(seed);
    let mut life = Life { log, machine: storage.state_machine, rng, term, terms, applied, pending };
    life.vote().await;
    loop {
        match life.rng.random_range(0..24) {
            0 => life.vote().await,
            1 => life.truncate().await,
            2 => life.purge().await,
            _ => life.append().await,
        }
    }
}

/// Reports what was acknowledged, in order.
async fn report(mut acks: mpsc::Receiver<Pending>) {
    while let Some(pending) = acks.recv().await {
        match pending {
            Pending::Append { first, last, term, ack } => match ack.await {
                Ok(Ok(())) => say(format_args!("A {first} {last} {term}")),
                // The disk is gone and nothing will be acknowledged. Wait to be killed.
                Ok(Err(_)) | Err(_) => std::future::pending().await,
            },
            Pending::Drained(done) => drop(done.send(())),
        }
    }
}

/// A step failed because the power was cut under it; the parent is about to kill this process.
async fn survive<T, E>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(_) => std::future::pending().await,
    }
}

impl Life {
    fn end(&self) -> u64 {
        self.terms.last_key_value().map_or(self.applied.map_or(0, |applied| applied + 1), |(&last, _)| last + 1)
    }

    async fn drain(&mut self) {
        let (done, drained) = oneshot::channel();
        let sent = self.pending.send(Pending::Drained(done)).await;
        survive(sent).await;
        survive(drained.await).await;
    }

    async fn vote(&mut self) {
        self.term += 1;
        let term = self.term;
        say(format_args!("v {term}"));
        let saved = self.log.save_vote(&Vote::new(term, 1)).await;
        survive(saved).await;
        say(format_args!("V {term}"));
    }

    async fn append(&mut self) {
        let (first, term) = (self.end(), self.term);
        let last = first + self.rng.random_range(0..64);
        say(format_args!("a {first} {last} {term}"));
        let (sender, ack) = TypeConfig::oneshot();
        let queued = self.log.append((first..=last).map(|index| entry(term, index)), IOFlushed::signal(sender)).await;
        survive(queued).await;
        self.terms.extend((first..=last).map(|index| (index, term)));
        let sent = self.pending.send(Pending::Append { first, last, term, ack }).await;
        survive(sent).await;
    }

    async fn truncate(&mut self) {
        let first = self.applied.map_or(0, |applied| applied + 1);
        if first + 1 >= self.end() {
            return;
        }
        self.drain().await;
        let lowest = first.max(self.end().saturating_sub(300));
        let last = self.rng.random_range(lowest..self.end() - 1);
        say(format_args!("t {last}"));
        let truncated = self.log.truncate_after(Some(log_id(self.terms[&last], last))).await;
        survive(truncated).await;
        say(format_args!("T {last}"));
        self.terms.split_off(&(last + 1));
        // Another leader writes what follows: an index never gets two entries in one term.
        self.vote().await;
    }

    /// Applies a part of the log, takes a snapshot of it, and purges it.
    async fn purge(&mut self) {
        let first = self.applied.map_or(0, |applied| applied + 1);
        if first + 1 >= self.end() {
            return;
        }
        self.drain().await;
        let upto = self.rng.random_range(first..self.end());
        let items: Vec<_> = (first..=upto).map(|index| Ok((entry(self.terms[&index], index), None))).collect();
        self.machine.apply(stream::iter(items)).await.expect("entries apply");
        let built = self.machine.get_snapshot_builder().await.build_snapshot().await;
        survive(built).await;
        self.applied = Some(upto);
        say(format_args!("p {upto}"));
        let purged = self.log.purge(log_id(self.terms[&upto], upto)).await;
        survive(purged).await;
        say(format_args!("P {upto}"));
        self.terms = self.terms.split_off(&(upto + 1));
    }
}
