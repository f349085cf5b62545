//! Seeded crashes on a simulated disk: whatever was acknowledged before the power failed is there afterwards, whichever
//! part of the unsynced writes survived.

use openraft::storage::{RaftLogReader, RaftLogStorage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// What the log has promised so far.
#[derive(Default)]
struct Promises {
    /// Index → term of acknowledged entries.
    entries: std::collections::BTreeMap<u64, u64>,
    vote: u64,
    /// Purge points: the last acknowledged one, and the newest.
    purged: (Option<u64>, Option<u64>),
}

/// A pending append, and the newest purge point that was queued before it.
struct Queued {
    range: std::ops::Range<u64>,
    term: u64,
    purged: Option<u64>,
    ack: Ack,
}

/// One run of the process: random operations, and a power failure in the middle of some.
async fn one_life(disk: &SimDisk, rng: &mut StdRng, term: u64, promised: &mut Promises) {
    let (mut log, _) = open(disk).expect("the log opens after a crash");
    verify(&mut log, promised).await;
    log.save_vote(&vote(term)).await.unwrap();
    promised.vote = term;
    let mut acks = Vec::new();
    for _ in 0..rng.random_range(0..30) {
        let state = log.get_log_state().await.unwrap();
        let end = state.last_log_id.map_or(0, |last| last.index + 1);
        let first = state.last_purged_log_id.map_or(0, |purged| purged.index + 1);
        match rng.random_range(0..10) {
            0 if first + 2 < end => {
                let upto = rng.random_range(first..end - 1);
                let upto = promised.entries.get(&upto).map(|&term| log_id(term, upto));
                if let Some(upto) = upto {
                    log.purge(upto).await.unwrap();
                    promised.purged.1 = Some(upto.index);
                }
            }
            1 if first < end => {
                settle(&mut acks, promised).await;
                let last = rng.random_range(first..end);
                promised.entries.split_off(&(last + 1));
                let last = promised.entries.get(&last).map(|&term| log_id(term, last));
                log.truncate_after(last.or(state.last_purged_log_id)).await.unwrap();
                let kept = last.map_or(first, |last| last.index + 1);
                promised.entries.split_off(&kept);
                if kept < end {
                    promised.purged.0 = promised.purged.1;
                }
            }
            _ => {
                let count = rng.random_range(1..20);
                let ack = start_append(&mut log, entries(term, end..end + count)).await;
                acks.push(Queued { range: end..end + count, term, purged: promised.purged.1, ack });
                if rng.random_bool(0.3) {
                    settle(&mut acks, promised).await;
                }
            }
        }
        let last = log.get_log_state().await.unwrap().last_log_id;
        log.save_committed(last).await.unwrap();
    }
    let keep = rng.random_range(0..=disk.unsynced());
    disk.crash(keep);
    for Queued { range, term, purged, ack } in acks {
        if ack.await.is_ok_and(|outcome| outcome.is_ok()) {
            promised.entries.extend(range.map(|index| (index, term)));
            promised.purged.0 = purged;
        }
    }
}

async fn settle(acks: &mut Vec<Queued>, promised: &mut Promises) {
    for Queued { range, term, purged, ack } in acks.drain(..) {
        ack.await.expect("an outcome").expect("nothing fails before the crash");
        promised.entries.extend(range.map(|index| (index, term)));
        promised.purged.0 = purged;
    }
}

async fn verify(log: &mut LogStore, promised: &mut Promises) {
    let state = log.get_log_state().await.unwrap();
    let purged = state.last_purged_log_id.map(|purged| purged.index);
    assert!(promised.purged.0 <= purged && purged <= promised.purged.1, "{purged:?}, promised {:?}", promised.purged);
    promised.purged = (purged, purged);
    let read_vote = log.get_log_reader().await.read_vote().await.unwrap();
    assert_eq!(read_vote.map_or(0, |vote| vote.leader_id.term), promised.vote);
    let found = read_all(log).await;
    for (&index, &term) in promised.entries.range(purged.map_or(0, |purged| purged + 1)..) {
        let position = found.iter().find(|entry| entry.log_id.index == index);
        assert_eq!(position, Some(&entry(term, index)), "an acknowledged entry");
    }
    // Pending entries may have survived; from now on they count like all others.
    for entry in &found {
        promised.entries.insert(entry.log_id.index, *entry.log_id.leader_id);
    }
    let committed = log.read_committed().await.unwrap();
    assert!(committed <= state.last_log_id, "{committed:?} is beyond the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_means_synced() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimDisk::default();
        let mut promised = Promises::default();
        for term in 1..12 {
            one_life(&disk, &mut rng, term, &mut promised).await;
        }
        assert!(!promised.entries.is_empty(), "seed {seed} acknowledged nothing");
    }
}
