//! What may and what must be found after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use raft_store::storage::Storage;

use super::{entry, options};

/// What one place of the log may hold.
#[derive(Debug, Default)]
struct Place {
    /// The term of the entry that was acknowledged here.
    acknowledged: Option<u64>,
    /// Terms in which an entry was written here.
    tried: BTreeSet<u64>,
}

/// Everything said by children that worked in one directory.
#[derive(Debug, Default)]
pub struct Model {
    places: BTreeMap<u64, Place>,
    /// Acknowledged and tried.
    vote: (u64, u64),
    purged: (Option<u64>, Option<u64>),
    /// How much was said, so that a test which tested nothing is noticed.
    pub counts: Counts,
    /// Why a child could not open the directory; after a power cut that is the cut itself.
    pub refusal: Option<String>,
}

/// Acknowledged operations.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub entries: u64,
    pub votes: u64,
    pub truncations: u64,
    pub purges: u64,
    pub reopened: u64,
    pub refused: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.votes += other.votes;
        self.truncations += other.truncations;
        self.purges += other.purges;
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
    /// Takes in what a child said.
    pub fn hear(&mut self, lines: &[String]) {
        for line in lines {
            // libtest writes to the same pipe, sometimes in front of the first line.
            let Some((_, said)) = line.split_once('@') else { continue };
            let (verb, rest) = said.split_once(' ').unwrap_or((said, ""));
            if verb == "E" {
                self.counts.refused += 1;
                self.refusal = Some(rest.to_owned());
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
                }
                ("v", Some(&[term])) => self.vote.1 = term,
                ("V", Some(&[term])) => {
                    self.counts.votes += 1;
                    self.vote.0 = term;
                }
                ("t", Some(&[last])) => {
                    self.places.range_mut(last + 1..).for_each(|(_, place)| place.acknowledged = None);
                }
                ("T", Some(&[last])) => {
                    self.counts.truncations += 1;
                    self.places.split_off(&(last + 1));
                }
                ("p", Some(&[upto])) => self.purged.1 = Some(upto),
                ("P", Some(&[upto])) => {
                    self.counts.purges += 1;
                    self.purged.0 = Some(upto);
                }
                // Half a line from a killed child: it says nothing.
                _ => {}
            }
        }
    }

    /// Opens the directory and compares. What is found is promised from now on: Raft takes it for durable.
    pub async fn verify(&mut self, dir: &Path) -> Result<(), String> {
        let storage = Storage::open(dir, &options()).map_err(|error| format!("it does not open: {error}"))?;
        let mut log = storage.log_store;
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
        if purged > storage.state.applied_index() {
            return Err(format!("purged {purged:?} beyond the snapshot at {:?}", storage.state.applied_index()));
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
        self.counts.reopened += 1;
        Ok(())
    }
}
