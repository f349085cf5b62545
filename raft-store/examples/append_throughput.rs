//! Measures durable appends: entries per second and the time to an acknowledgement, one writer, batches of 1 and 64.
//!
//! `cargo run --release -p raft-store --features storage --example append_throughput [directory]`
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

use std::time::{Duration, Instant};

use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use raft_store::catalog::{Batch, Command, ExpirePeer, Op};
use raft_store::raft::{CommittedLeader, Entry, LogId, TypeConfig};
use raft_store::storage::{OpenOptions, Storage};
use raft_store::types::PeerId;

/// Time per measurement.
const RUN: Duration = Duration::from_secs(3);

fn entry(index: u64) -> Entry {
    let leader: CommittedLeader = openraft::impls::leader_id_std::LeaderId::new(1, 1_u64).to_committed();
    let peer = PeerId::parse("p".repeat(120)).expect("a valid peer id");
    let commands = vec![Command { key: None, op: Op::ExpirePeer(ExpirePeer { peer, incarnation: index, term: 1 }) }; 2];
    Entry { log_id: LogId::new(leader, index), payload: EntryPayload::Normal(Batch { stamp: None, commands }.into()) }
}

#[tokio::main]
async fn main() {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!("batch  in flight  entries/s  flushes/s  ack p50 ms  p99 ms");
    for (batch, in_flight) in [(1, 1), (1, 64), (64, 1), (64, 8)] {
        let dir = tempfile::TempDir::new_in(&base).expect("a temporary directory");
        let mut storage =
            Storage::open(dir.path(), &OpenOptions { node_id: 1, new_store_id: 1 }).expect("a new directory");
        let started = Instant::now();
        let mut next = 0;
        let mut waits = Vec::new();
        let mut pending = std::collections::VecDeque::new();
        while started.elapsed() < RUN || !pending.is_empty() {
            if started.elapsed() < RUN && pending.len() < in_flight {
                let (sender, ack) = TypeConfig::oneshot();
                let entries: Vec<_> = (next..next + batch).map(entry).collect();
                next += batch;
                let queued = Instant::now();
                storage.log_store.append(entries, IOFlushed::signal(sender)).await.expect("queued");
                pending.push_back((queued, ack));
                continue;
            }
            if let Some((queued, ack)) = pending.pop_front() {
                ack.await.expect("an outcome").expect("durable");
                waits.push(queued.elapsed());
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let flushes = storage.stats.histograms().syncs.count();
        waits.sort_unstable();
        let at = |share: usize| waits.get(waits.len() * share / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
        println!(
            "{batch:5}  {in_flight:9}  {:9.0}  {:9.0}  {:10.3}  {:6.3}",
            next as f64 / seconds,
            flushes as f64 / seconds,
            at(50),
            at(99)
        );
    }
}
