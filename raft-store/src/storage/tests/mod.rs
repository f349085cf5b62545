//! Tests of the storage that need more than one of its files.
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod crash_sim;
mod datadir;
mod log;
mod repair;
mod snapshots;
mod suite;

use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::async_runtime::Oneshot;
use openraft::vote::RaftLeaderId;

use super::sim::SimDisk;
use super::{Entry, FatalSignal, LogId, LogStore, StorageError, Vote};
use crate::catalog::{Batch, Stamp};
use crate::raft::CommittedLeader;

type Leader = openraft::impls::leader_id_std::LeaderId<u64, u64>;

/// A log id.
fn log_id(term: u64, index: u64) -> LogId {
    let leader: CommittedLeader = Leader::new(term, 1).to_committed();
    LogId::new(leader, index)
}

/// An entry with a payload that identifies it.
fn entry(term: u64, index: u64) -> Entry {
    let stamp = Stamp { term, at: index * 1_000 + term };
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Batch { stamp: Some(stamp), commands: vec![] }.into()),
    }
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

fn vote(term: u64) -> Vote {
    Vote::new(term, 1)
}

/// A log on a simulated disk.
fn open(disk: &SimDisk) -> Result<(LogStore, FatalSignal), StorageError> {
    let fatal = FatalSignal::default();
    Ok((LogStore::on_device(disk.open(), fatal.clone())?, fatal))
}

type Ack = <<openraft::impls::TokioRuntime as openraft::AsyncRuntime>::Oneshot as Oneshot>::Receiver<
    Result<(), std::io::Error>,
>;

/// Queues an append; the receiver gets the outcome.
async fn start_append(log: &mut LogStore, entries: Vec<Entry>) -> Ack {
    let (sender, receiver) = <<openraft::impls::TokioRuntime as openraft::AsyncRuntime>::Oneshot as Oneshot>::channel();
    log.append(entries, IOFlushed::signal(sender)).await.expect("the append is queued");
    receiver
}

/// Appends and waits until it is durable.
async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    start_append(log, entries).await.await.expect("an outcome").expect("durable");
}

/// All entries of a log.
async fn read_all(log: &mut LogStore) -> Vec<Entry> {
    log.get_log_reader().await.try_get_log_entries(0..u64::MAX).await.expect("a readable log")
}

/// The indexes of a log's entries.
async fn indexes(log: &mut LogStore) -> Vec<u64> {
    read_all(log).await.iter().map(|entry| entry.log_id.index).collect()
}

/// Checks that nobody else holds the log, so that dropping it stops its thread.
fn close(log: LogStore) {
    let shared = log.into_shared();
    assert_eq!(Arc::strong_count(&shared), 1, "something still holds the log");
}
