//! Skipping entries, and taking over the state of another member (N3).

use std::path::Path;

use futures::stream;
use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::fixtures;
use crate::catalog::{Batch, Command, Listing};
use crate::proposal::Proposal;
use crate::storage::{FeedItem, OpenOptions, RepairError, Storage};
use crate::types::ContentHash;

const OPTIONS: OpenOptions = OpenOptions { node_id: 1, new_store_id: 1 };

/// Registers a peer of its own.
fn registration(index: u64) -> Entry {
    let op = fixtures::register(&format!("p{index}"), Listing::Whole(Vec::new()));
    let batch = Batch { stamp: None, commands: vec![Command { key: None, op }] };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(batch.into()) }
}

fn checkpoint(index: u64) -> Entry {
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal::checkpoint()) }
}

/// A member. Entries go through its log before they are applied.
struct Member(Storage);

impl Member {
    fn open(dir: &Path) -> Self {
        Self(Storage::open(dir, &OPTIONS).unwrap())
    }

    async fn write(&mut self, entries: Vec<Entry>) {
        append(&mut self.0.log_store, entries.clone()).await;
        self.apply(entries).await;
    }

    async fn apply(&mut self, entries: Vec<Entry>) {
        let items: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
        self.0.state_machine.apply(stream::iter(items)).await.unwrap();
    }

    fn digest(&self) -> ContentHash {
        self.0.state.read().digest_image().digest()
    }
}

fn registrations(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(registration).collect()
}

/// A member with the right state, and one that has applied another first entry. Both have the entries up to 9.
async fn right_and_wrong() -> (TempDir, Member, TempDir, Member) {
    let (dir, wrong_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mut right, mut wrong) = (Member::open(dir.path()), Member::open(wrong_dir.path()));
    right.write(registrations(0..10)).await;
    append(&mut wrong.0.log_store, registrations(0..10)).await;
    let mut ghost = registration(99);
    ghost.log_id = log_id(1, 0);
    wrong.apply(vec![ghost]).await;
    wrong.apply(registrations(1..10)).await;
    assert_ne!(right.digest(), wrong.digest());
    (dir, right, wrong_dir, wrong)
}

#[tokio::test]
async fn members_take_the_digest_exactly_at_a_checkpoint() {
    let dir = TempDir::new().unwrap();
    let mut member = Member::open(dir.path());
    member.write(registrations(0..3)).await;
    let before = member.digest();
    member.write(vec![checkpoint(3), registration(4)]).await;
    let image = member.0.state.checkpoint().await;
    assert_eq!(image.last_applied(), Some(log_id(1, 3)));
    let at_checkpoint = image.digest();
    assert_ne!(at_checkpoint, member.digest(), "the digest does not cover a later entry");
    assert_ne!(at_checkpoint, before, "the digest covers the position");
    // Only the position has changed.
    let other_dir = TempDir::new().unwrap();
    let mut other = Member::open(other_dir.path());
    other.write(registrations(0..3)).await;
    other.write(vec![checkpoint(3)]).await;
    assert_eq!(other.digest(), at_checkpoint);
}

#[tokio::test]
async fn a_distrusted_state_is_replaced_where_applying_stands() {
    let (_dir, mut right, wrong_dir, mut wrong) = right_and_wrong().await;
    wrong.0.state.distrust();
    let (_, mut feed) = wrong.0.state.subscribe(|_| ());
    wrong.write(registrations(10..15)).await;
    right.write(registrations(10..12)).await;
    assert_eq!(wrong.0.state.applied_index(), Some(9), "entries are skipped");
    assert_eq!(wrong.0.state.reached(), Some(log_id(1, 14)));
    let builder = wrong.0.state_machine.try_create_snapshot_builder(true).await;
    assert!(builder.is_none(), "a snapshot would purge entries that the repair still needs");

    let (last, file) = right.0.repair.state_file().await.unwrap();
    assert_eq!(last, Some(log_id(1, 11)));
    assert_eq!(wrong.0.repair.take_over(file).await.unwrap(), log_id(1, 11));
    right.write(registrations(12..16)).await;
    // Applying continues right after the skipped entries.
    wrong.write(registrations(15..16)).await;
    assert_eq!(wrong.digest(), right.digest());
    let upto = Some(log_id(1, 14));
    assert_eq!(feed.next().await, FeedItem::Replaced { upto }, "followers of the feed read the catalog again");

    // A restart begins with the state that was taken over from the other member.
    drop(wrong);
    let mut restarted = Member::open(wrong_dir.path());
    assert_eq!(restarted.0.state.applied_index(), Some(11));
    restarted.apply(registrations(12..16)).await;
    assert_eq!(restarted.digest(), right.digest());
}

#[tokio::test]
async fn a_state_that_does_not_fit_is_refused_and_the_log_goes_on() {
    let (_dir, mut right, _wrong_dir, mut wrong) = right_and_wrong().await;
    let take = async |right: &Member, wrong: &Member| {
        let (_, file) = right.0.repair.state_file().await.unwrap();
        wrong.0.repair.take_over(file).await
    };
    assert!(matches!(take(&right, &wrong).await, Err(RepairError::Replaced)), "nothing is wrong with it");
    wrong.0.state.distrust();
    right.write(registrations(10..12)).await;
    assert!(matches!(take(&right, &wrong).await, Err(RepairError::Ahead { reached: 9 })));
    let damaged = wrong.0.repair.take_over(bytes::Bytes::from_static(b"no state")).await;
    assert!(matches!(damaged, Err(RepairError::Damaged(_))));
    wrong.write(registrations(10..20)).await;
    wrong.0.log_store.purge(log_id(1, 15)).await.unwrap();
    assert!(matches!(take(&right, &wrong).await, Err(RepairError::Compacted { index: 12 })));
    assert!(wrong.0.fatal.as_io_error().is_none(), "none of it is a failure of this node's storage");
    assert!(wrong.0.state.is_distrusted());
    right.write(registrations(12..20)).await;
    take(&right, &wrong).await.unwrap();
    assert_eq!(wrong.digest(), right.digest());
}
