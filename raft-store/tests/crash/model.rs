//! What may be found after a crash, and what must be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use raft_store::storage::{LogStore, Storage, StorageError};

use super::{entry, options_of_another_disk};

/// What one index of the log may have.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The term of the entry that was acknowledged here.
    acknowledged: Option<u64>,
    /// Terms in which an entry was written here.
    tried: BTreeSet<u64>,
}

/// Everything that the children in one directory have reported.
#[derive(Debug, Clone, Default)]
pub struct Model {
    places: BTreeMap<u64, Place>,
    /// Acknowledged and attempted.
    vote: (u64, u64),
    /// Acknowledged and attempted. A purge is only queued: a later acknowledgement acknowledges it too.
    purged: (Option<u64>, Option<u64>),
    purge_queued: Option<u64>,
    /// Saved committed log indexes; none of them is guaranteed to survive.
    committed: BTreeSet<u64>,
    /// Digest of the catalog in each attempted snapshot; empty if the writer reports no snapshots.
    snapshots: BTreeMap<u64, String>,
    /// The newest snapshot that was acknowledged.
    snapshot: Option<u64>,
    /// The directory's store id, once it was open.
    store_id: Option<u64>,
    /// The cluster's id, acknowledged and attempted.
    cluster: (Option<u64>, Option<u64>),
    /// How much was reported: detects a test that tested nothing.
    pub counts: Counts,
    /// Why a child could not open the directory. After a power cut that is expected.
    pub refusal: Option<String>,
}

/// Acknowledged operations.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub entries: u64,
    pub votes: u64,
    pub truncations: u64,
    pub purges: u64,
    pub snapshots: u64,
    pub reopened: u64,
    pub refused: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.votes += other.votes;
        self.truncations += other.truncations;
        self.purges += other.purges;
        self.snapshots += other.snapshots;
        self.reopened += other.reopened;
        self.refused += other.refused;
    }

    /// A run that did not do each kind of thing proves nothing.
    pub fn assert_not_vacuous(&self) {
        assert!(
            self.entries > 1_000 && self.votes > 10 && self.truncations > 3 && self.purges > 3,
            "too little was acknowledged for a verdict: {self:?}"
        );
    }
}

impl Model {
    /// Records the lines of a child.
    pub fn hear(&mut self, lines: &[String]) {
        for line in lines {
            // libtest writes to the same pipe, sometimes in front of the first line.
            let Some((_, said)) = line.split_once('@') else { continue };
            let (verb, rest) = said.split_once(' ').unwrap_or((said, ""));
            if verb == "E" {
                self.counts.refused += 1;
                self.refusal = Some(rest.to_owned());
            }
            if let ("s", Some((index, digest))) = (verb, rest.split_once(' ')) {
                self.snapshots.insert(index.parse().expect("an index"), digest.to_owned());
                continue;
            }
            let numbers: Option<Vec<u64>> = rest.split(' ').map(|text| text.parse().ok()).collect();
            match (verb, numbers.as_deref()) {
                ("a", Some(&[first, last, term])) => {
                    (first..=last).for_each(|index| {
                        self.places.entry(index).or_default().tried.insert(term);
                    });
                }
                ("A", Some(&[first, last, term])) => {
                    self.counts.entries += last - first + 1;
                    (first..=last).for_each(|index| {
                        self.places.entry(index).or_default().acknowledged = Some(term);
                    });
                    self.promise_queued();
                }
                ("v", Some(&[term])) => self.vote.1 = term,
                ("V", Some(&[term])) => {
                    self.counts.votes += 1;
                    self.vote.0 = term;
                    self.promise_queued();
                }
                ("t", Some(&[last])) => {
                    self.places.range_mut(last + 1..).for_each(|(_, place)| place.acknowledged = None);
                }
                ("T", Some(&[last])) => {
                    self.counts.truncations += 1;
                    self.places.split_off(&(last + 1));
                    self.promise_queued();
                }
                ("p", Some(&[upto])) => self.purged.1 = Some(upto),
                ("P", Some(&[upto])) => {
                    self.counts.purges += 1;
                    self.purge_queued = Some(upto);
                }
                ("S", Some(&[index])) => {
                    self.counts.snapshots += 1;
                    self.snapshot = Some(index);
                }
                ("m", Some(&[index])) => drop(self.committed.insert(index)),
                ("I", Some(&[store])) => self.store_id = Some(store),
                ("c", Some(&[cluster])) => self.cluster.1 = Some(cluster),
                ("C", Some(&[cluster])) => self.cluster.0 = Some(cluster),
                // Half a line of a killed child: ignore it.
                _ => {}
            }
        }
    }

    /// Something queued after the newest purge was acknowledged: writers report nothing else in between.
    fn promise_queued(&mut self) {
        if let Some(upto) = self.purge_queued.take() {
            self.purged.0 = Some(upto);
        }
    }

    /// Whether anything at all was acknowledged; the opening of a directory is the first thing that is.
    pub fn is_promised_nothing(&self) -> bool {
        self.store_id.is_none()
    }

    /// Opens the directory and compares.
    pub async fn verify(&mut self, dir: &Path) -> Result<(), String> {
        let storage = Storage::open(dir, &options_of_another_disk());
        self.judge(storage.map_err(|error| format!("it does not open: {error}"))?).await
    }

    /// Like [`Model::verify`], where nothing has been acknowledged yet: then the directory may also be refused, if the
    /// error tells the operator what to do. True if it was.
    pub async fn verify_unborn(&mut self, dir: &Path) -> Result<bool, String> {
        match Storage::open(dir, &options_of_another_disk()) {
            Ok(storage) => self.judge(storage).await.map(|()| false),
            Err(StorageError::Damaged { .. }) => Ok(true),
            Err(error) => Err(format!("it is refused without advice: {error}")),
        }
    }

    async fn judge(&mut self, storage: Storage) -> Result<(), String> {
        let identity = storage.identity.get();
        if self.store_id.is_some_and(|store_id| identity.store_id != store_id) {
            return Err(format!("it has become the directory of another disk: {identity:?}"));
        }
        if identity.cluster_id < self.cluster.0 || identity.cluster_id > self.cluster.1 {
            return Err(format!("cluster {:?}, acknowledged and tried {:?}", identity.cluster_id, self.cluster));
        }
        let applied = storage.state.applied_index();
        if !self.snapshots.is_empty() || self.store_id.is_some() {
            if applied < self.snapshot {
                return Err(format!("the state at {applied:?}, acknowledged a snapshot at {:?}", self.snapshot));
            }
            let digest = applied.map(|_| storage.state.read().catalog().digest().to_string());
            if digest.as_ref() != applied.and_then(|index| self.snapshots.get(&index)) {
                return Err(format!("the state at {applied:?} is not the one that was put into a snapshot"));
            }
        }
        let mut log = storage.log_store;
        let purged = log.get_log_state().await.map_err(|error| error.to_string())?.last_purged_log_id;
        if purged.map(|purged| purged.index) > applied {
            return Err(format!("purged {purged:?} beyond the snapshot at {applied:?}"));
        }
        self.judge_log(&mut log).await
    }

    /// Compares a log. What is found must survive from now on: Raft treats it as durable.
    pub async fn judge_log(&mut self, log: &mut LogStore) -> Result<(), String> {
        let state = log.get_log_state().await.map_err(|error| error.to_string())?;
        let mut reader = log.get_log_reader().await;
        let vote = reader.read_vote().await.map_err(|error| error.to_string())?.map_or(0, |vote| vote.leader_id.term);
        if vote < self.vote.0 || vote > self.vote.1 {
            return Err(format!("vote {vote}, acknowledged {}, tried {}", self.vote.0, self.vote.1));
        }
        let purged = state.last_purged_log_id.map(|purged| purged.index);
        if purged < self.purged.0 || purged > self.purged.1 {
            return Err(format!("purged {purged:?}, acknowledged {:?}, tried {:?}", self.purged.0, self.purged.1));
        }
        let committed = log.read_committed().await.map_err(|error| error.to_string())?;
        if committed > state.last_log_id {
            return Err(format!("committed {committed:?} beyond the end of the log"));
        }
        let committed = committed.map(|committed| committed.index);
        if committed
            .is_some_and(|committed| !self.committed.is_empty() && committed > *self.committed.last().expect("one"))
        {
            return Err(format!("committed {committed:?} was never saved"));
        }
        let first = purged.map_or(0, |purged| purged + 1);
        let found = reader.try_get_log_entries(0..u64::MAX).await.map_err(|error| error.to_string())?;
        let mut places = BTreeMap::new();
        for (index, found) in (first..).zip(&found) {
            if found.log_id.index != index {
                return Err(format!("entry {} where {index} should be", found.log_id.index));
            }
            let term = *found.log_id.leader_id;
            if *found != entry(term, index) {
                return Err(format!("entry {index} of term {term} has another content"));
            }
            if !self.places.get(&index).is_some_and(|place| place.tried.contains(&term)) {
                return Err(format!("entry {index} of term {term} was never written"));
            }
            places.insert(index, Place { acknowledged: Some(term), tried: [term].into() });
        }
        let end = first + found.len() as u64;
        for (&index, place) in self.places.range(first..) {
            let Some(term) = place.acknowledged else { continue };
            if index >= end {
                return Err(format!("acknowledged entry {index} is lost; the log ends before {end}"));
            }
            if places.get(&index).is_none_or(|found| found.acknowledged != Some(term)) {
                return Err(format!("acknowledged entry {index} of term {term} was replaced"));
            }
        }
        self.places = places;
        self.vote = (vote, vote);
        self.purged = (purged, purged);
        self.purge_queued = None;
        self.counts.reopened += 1;
        Ok(())
    }
}
