//! The log on a simulated disk: order, acknowledgement, holes, purge, truncation, damage, errors.

use futures::FutureExt as _;
use openraft::storage::{RaftLogReader, RaftLogStorage};

use super::*;
use crate::storage::device::MetaKey;
use crate::storage::sim::SimFault;
use crate::storage::{PURGE_STEP_RECORDS, TAIL_BYTES_MAX};

/// Starts an append whose sync is held, so that the next operations wait behind it and form one group.
async fn append_held(disk: &SimDisk, log: &mut LogStore, entries: Vec<Entry>) -> Ack {
    disk.hold_syncs();
    let ack = start_append(log, entries).await;
    disk.wait_for_held_sync();
    ack
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_sync() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let mut ack = append_held(&disk, &mut log, entries(1, 0..3)).await;
    assert!(ack.try_recv().is_err(), "acknowledged while the sync was waiting");
    assert_eq!(indexes(&mut log).await, [0, 1, 2], "readable before it is durable");
    disk.release_syncs();
    ack.await.unwrap().unwrap();
    assert_eq!(disk.durable_indexes(), [0, 1, 2]);
}

#[tokio::test]
async fn what_waited_shares_one_sync() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let mut acks = vec![append_held(&disk, &mut log, vec![entry(1, 0)]).await];
    let before = disk.syncs();
    for index in 1..50 {
        acks.push(start_append(&mut log, vec![entry(1, index)]).await);
    }
    disk.release_syncs();
    for ack in acks {
        ack.await.unwrap().unwrap();
    }
    assert_eq!(disk.syncs() - before, 1);
}

#[tokio::test]
async fn a_failed_sync_fails_everything_for_ever() {
    for fault in [SimFault::Apply, SimFault::Sync, SimFault::SyncPanic] {
        let disk = SimDisk::default();
        let (mut log, fatal) = open(&disk).unwrap();
        append(&mut log, entries(1, 0..2)).await;
        let held = append_held(&disk, &mut log, vec![entry(1, 2)]).await;
        let queued = start_append(&mut log, vec![entry(1, 3)]).await;
        disk.fail_next(fault);
        disk.release_syncs();
        if fault != SimFault::Apply {
            held.await.unwrap().expect_err("its sync failed");
        }
        queued.await.unwrap().expect_err("it came after the failure");
        assert!(fatal.wait().await.contains("injected"), "{:?}", fatal.get());
        let syncs = disk.syncs();
        log.save_vote(&vote(5)).await.expect_err("votes too");
        log.purge(log_id(1, 0)).await.expect_err("purges too");
        assert_eq!(disk.syncs(), syncs, "a failed sync was repeated");
        disk.crash(0);
        let (mut log, _) = open(&disk).unwrap();
        assert_eq!(&indexes(&mut log).await[..2], [0, 1], "what was acknowledged before is there");
        assert_eq!(log.get_log_reader().await.read_vote().await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_append_that_leaves_a_gap_is_refused() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..3)).await;
    let gap = log.append(vec![entry(1, 4)], openraft::storage::IOFlushed::noop()).await;
    assert!(gap.unwrap_err().to_string().contains("do not continue the log"));
    let inner = log.append(vec![entry(1, 3), entry(1, 5)], openraft::storage::IOFlushed::noop()).await;
    inner.expect_err("a gap within the entries");
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
}

#[tokio::test]
async fn truncated_entries_stay_away() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..10)).await;
    log.truncate_after(Some(log_id(1, 4))).await.unwrap();
    append(&mut log, entries(2, 5..7)).await;
    close(log);
    disk.crash(0);
    let (mut log, _) = open(&disk).unwrap();
    let expected: Vec<_> = entries(1, 0..5).into_iter().chain(entries(2, 5..7)).collect();
    assert_eq!(read_all(&mut log).await, expected);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(2, 6)));
}

#[tokio::test]
async fn an_append_and_its_truncation_may_share_a_flush() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..2)).await;
    let first = append_held(&disk, &mut log, vec![entry(1, 2)]).await;
    // Both wait behind the held sync and form one group.
    let second = start_append(&mut log, entries(1, 3..6)).await;
    let truncation = log.truncate_after(Some(log_id(1, 3)));
    let release = async { disk.release_syncs() };
    let (truncated, ()) = futures::join!(truncation, release);
    truncated.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    append(&mut log, entries(3, 4..5)).await;
    assert_eq!(disk.durable_indexes(), [0, 1, 2, 3, 4]);
    close(log);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(3, 4)));
}

#[tokio::test]
async fn an_interrupted_purge_is_finished_at_the_next_opening() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let total = PURGE_STEP_RECORDS as u64 * 3;
    append(&mut log, entries(1, 0..total)).await;
    let upto = total - 10;
    // The purge and an entry form one group behind the held sync, so no deletion comes before its flush.
    let first = append_held(&disk, &mut log, entries(1, total..total + 1)).await;
    log.purge(log_id(1, upto)).await.unwrap();
    assert_eq!(indexes(&mut log).await.first(), Some(&(upto + 1)));
    let second = start_append(&mut log, entries(1, total + 1..total + 2)).await;
    disk.release_syncs();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    // Deletions are never synced by themselves: this crash undoes them.
    disk.crash(0);
    drop(log);
    assert_eq!(disk.durable_indexes().first(), Some(&0), "the test needs leftovers");
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(disk.durable_indexes().first(), Some(&(upto + 1)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, upto)));
    assert_eq!(indexes(&mut log).await, (upto + 1..total + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_purge_waits_for_no_flush_and_what_follows_it_makes_it_durable() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..20)).await;
    let ack = append_held(&disk, &mut log, entries(1, 20..21)).await;
    log.purge(log_id(1, 9)).now_or_never().expect("Raft's main loop waits for this call").unwrap();
    assert_eq!(indexes(&mut log).await.first(), Some(&10));
    disk.release_syncs();
    ack.await.unwrap().unwrap();
    append(&mut log, entries(1, 21..22)).await;
    close(log);
    disk.crash(0);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(indexes(&mut log).await, (10..22).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_purge_point_is_durable_before_a_record_goes() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..20)).await;
    disk.hold_syncs();
    let purge = log.purge(log_id(1, 9));
    let check = async {
        let waiting = disk.clone();
        tokio::task::spawn_blocking(move || waiting.wait_for_held_sync()).await.unwrap();
        let visible = disk.open().indexes(0..u64::MAX, 100).unwrap();
        disk.release_syncs();
        visible
    };
    let (purged, visible) = futures::join!(purge, check);
    purged.unwrap();
    assert_eq!(visible.first(), Some(&0), "a record was deleted before the purge point was durable");
}

#[tokio::test]
async fn a_purge_beyond_the_end_leaves_an_empty_log_that_goes_on_there() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..5)).await;
    log.purge(log_id(3, 99)).await.unwrap();
    append(&mut log, entries(3, 100..102)).await;
    close(log);
    disk.crash(0);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(indexes(&mut log).await, [100, 101]);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(3, 99)));
}

#[tokio::test]
async fn the_committed_id_goes_with_the_next_flush_and_causes_none() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..5)).await;
    let syncs = disk.syncs();
    log.save_committed(Some(log_id(1, 3))).await.unwrap();
    log.save_committed(Some(log_id(1, 4))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 4)));
    append(&mut log, entries(1, 5..6)).await;
    assert_eq!(disk.syncs() - syncs, 1);
    disk.crash(0);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 4)));
}

#[tokio::test]
async fn a_clean_end_saves_the_committed_id() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..5)).await;
    log.save_committed(Some(log_id(1, 4))).await.unwrap();
    close(log);
    disk.crash(0);
    let (mut log, _) = open(&disk).unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 4)));
}

#[tokio::test]
async fn entries_that_left_the_cache_are_read_from_the_device() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    let big = |index| {
        let peer = crate::types::PeerId::parse("p".repeat(128)).unwrap();
        let op = crate::catalog::Op::ExpirePeer(crate::catalog::ExpirePeer { peer, incarnation: index, term: 1 });
        let commands = vec![crate::catalog::Command { key: None, op }; 2_000];
        let payload = EntryPayload::Normal(Batch { stamp: None, commands }.into());
        Entry { payload, ..entry(1, index) }
    };
    let count = (TAIL_BYTES_MAX / (2_000 * 128)) as u64 + 20;
    for index in 0..count {
        append(&mut log, vec![big(index)]).await;
    }
    let mut reader = log.get_log_reader().await;
    let read = reader.try_get_log_entries(0..u64::MAX).await.unwrap();
    assert_eq!(read, (0..count).map(big).collect::<Vec<_>>());
    assert_eq!(reader.try_get_log_entries(3..=4).await.unwrap(), [big(3), big(4)]);
    let limited = reader.limited_get_log_entries(0, count).await.unwrap();
    assert!(!limited.is_empty() && (limited.len() as u64) < count, "{}", limited.len());
    assert_eq!(limited, (0..limited.len() as u64).map(big).collect::<Vec<_>>());
    drop(reader);
    disk.tamper(5, |_| None);
    let error = log.get_log_reader().await.try_get_log_entries(0..10).await.unwrap_err();
    assert!(error.to_string().contains("no entry 5"), "{error}");
}

async fn tampered(change: impl FnOnce(&SimDisk)) -> StorageError {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).unwrap();
    append(&mut log, entries(1, 0..10)).await;
    log.save_vote(&vote(1)).await.unwrap();
    close(log);
    change(&disk);
    let before = disk.durable_indexes();
    let error = open(&disk).err().expect("a damaged log does not open");
    assert_eq!(disk.durable_indexes(), before, "the data is left unchanged");
    error
}

#[tokio::test]
async fn damage_and_unknown_formats_are_told_apart() {
    let missing = tampered(|disk| disk.tamper(4, |_| None)).await.to_string();
    assert!(missing.contains("entry 4 is missing") && missing.contains("rejoin"), "{missing}");

    let flipped = tampered(|disk| {
        disk.tamper(4, |mut bytes| {
            bytes[3] ^= 1;
            Some(bytes)
        })
    });
    let flipped = flipped.await.to_string();
    assert!(flipped.contains("log entry 4") && flipped.contains("checksum"), "{flipped}");

    let cut = tampered(|disk| disk.tamper(4, |bytes| Some(bytes[..6].to_vec()))).await;
    assert!(matches!(cut, StorageError::Damaged { .. }), "{cut}");

    let misplaced = tampered(|disk| disk.tamper(4, |_| Some(crate::storage::codec::encode(&entry(1, 5)).unwrap())));
    assert!(misplaced.await.to_string().contains("in the place of another"));

    let fallen = tampered(|disk| disk.tamper(4, |_| Some(crate::storage::codec::encode(&entry(0, 4)).unwrap())));
    assert!(fallen.await.to_string().contains("the term falls at entry 4"));

    let vote = tampered(|disk| {
        disk.tamper_meta(MetaKey::Vote, |mut bytes| {
            bytes[1] ^= 0x40;
            bytes
        })
    });
    assert!(vote.await.to_string().contains("'vote'"));

    let newer = tampered(|disk| {
        disk.tamper(4, |mut bytes| {
            bytes.truncate(bytes.len() - 4);
            bytes[0] = 9;
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            Some(bytes)
        })
    });
    assert!(matches!(newer.await, StorageError::UnknownVersion { found: 9, known: 2, .. }));
}
