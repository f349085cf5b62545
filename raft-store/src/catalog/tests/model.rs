//! A small model of the catalog that is built from events alone: what an observer of the event stream can rely on.
//!
//! Invariant: it shares no code with the catalog. Every event is checked against the rules of leases, wait queues and
//! versions. After every step the model must agree with the catalog's queries.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, Event, FileNumber, FileView, LeaseEnd};
use crate::types::{Attributes, ContentHash, FileName, PeerId, TxnId};

type Verdict = Result<(), String>;

#[derive(Default)]
pub(in crate::catalog) struct Model {
    now: u64,
    last_fencing_token: u64,
    last_incarnation: u64,
    last_ticket: u64,
    replicas: u32,
    peers: BTreeMap<PeerId, (u64, bool)>,
    files: BTreeMap<FileName, File>,
    leases: BTreeMap<FileName, (PeerId, u64, u64)>,
    offers: BTreeMap<FileName, (PeerId, u64)>,
    lines: BTreeMap<FileName, Vec<(PeerId, u64)>>,
    numbers: BTreeMap<FileNumber, FileName>,
    last_txn: Option<TxnId>,
}

#[derive(Default)]
struct File {
    version: u64,
    deleted: bool,
    hash: Option<ContentHash>,
    fencing_token: u64,
    holders: BTreeMap<PeerId, u64>,
    refused: BTreeSet<PeerId>,
    attributes: Attributes,
}

fn require(holds: bool, what: &str) -> Verdict {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

impl Model {
    pub(in crate::catalog) fn new() -> Self {
        Self { replicas: 2, ..Self::default() }
    }

    /// Follows one entry's events.
    pub(in crate::catalog) fn follow(&mut self, now: u64, events: &[Event]) -> Verdict {
        require(now >= self.now, "the clock goes forward")?;
        self.now = now;
        events.iter().try_for_each(|event| self.step(event).map_err(|why| format!("{why}: {event:?}")))
    }

    fn step(&mut self, event: &Event) -> Verdict {
        match event {
            Event::PeerRegistered { .. }
            | Event::PeerListed { .. }
            | Event::PeerExpired { .. }
            | Event::PeerForgotten { .. } => self.peer_step(event),
            Event::FilePublished { .. }
            | Event::FileDeleted { .. }
            | Event::HolderAdded { .. }
            | Event::HolderDropped { .. } => self.file_step(event),
            Event::LeaseGranted { .. } | Event::LeaseRenewed { .. } | Event::LeaseEnded { .. } => {
                self.lease_step(event)
            }
            Event::LineJoined { .. } | Event::LeaseOffered { .. } | Event::LineLeft { .. } => self.line_step(event),
            Event::AttributesChanged { .. } => self.attributes_step(event),
            Event::MembersChanged { .. } => Ok(()),
            Event::ReplicasSet { replicas } => {
                let changed = std::mem::replace(&mut self.replicas, *replicas) != *replicas;
                require(changed, "a setting that is announced has changed")
            }
        }
    }

    fn peer_step(&mut self, event: &Event) -> Verdict {
        match event {
            Event::PeerRegistered { peer, incarnation, live } => {
                let same = self.peers.get(peer).is_some_and(|(known, _)| known == incarnation);
                require(same || *incarnation > self.last_incarnation, "incarnations grow")?;
                self.last_incarnation = self.last_incarnation.max(*incarnation);
                self.peers.insert(peer.clone(), (*incarnation, *live));
            }
            Event::PeerListed { peer } => require(self.peers.contains_key(peer), "a known peer lists")?,
            Event::PeerExpired { peer } => {
                let known = self.peers.get_mut(peer).ok_or("an unknown peer expires")?;
                require(std::mem::replace(&mut known.1, false), "a live peer expires")?;
            }
            Event::PeerForgotten { peer } => {
                let known = self.peers.remove(peer).ok_or("an unknown peer is forgotten")?;
                require(!known.1, "a live peer is never forgotten")?;
                let holds = self.files.values().any(|file| file.holders.contains_key(peer));
                require(!holds, "a forgotten peer holds nothing")?;
                let refuses = self.files.values().any(|file| file.refused.contains(peer));
                require(!refuses, "a forgotten peer refuses nothing")?;
                let leases = self.leases.values().all(|(holder, ..)| holder != peer);
                let waits = self.lines.values().flatten().any(|(waiter, _)| waiter == peer);
                require(leases && !waits, "a forgotten peer has no lease and no place")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn file_step(&mut self, event: &Event) -> Verdict {
        match event {
            Event::FilePublished { file, number, version, hash, peer, fencing_token } => {
                self.version_step(file, *number, *version, peer)?;
                let lease = self.leases.get(file).filter(|(holder, ..)| holder == peer).map(|(_, token, _)| *token);
                let unleased = *version == 1 && *fencing_token == 0;
                require(unleased || lease == Some(*fencing_token), "a version is published under the live lease")?;
                let record = self.files.entry(file.clone()).or_default();
                (record.hash, record.deleted, record.fencing_token) = (Some(*hash), false, *fencing_token);
            }
            Event::FileDeleted { file, number, version, peer } => {
                self.version_step(file, *number, *version, peer)?;
                let (_, token, _) = self.leases.get(file).ok_or("a file is deleted under its lease")?;
                let record = self.files.entry(file.clone()).or_default();
                (record.hash, record.deleted, record.fencing_token) = (None, true, *token);
            }
            Event::HolderAdded { file, peer, version, current } => {
                let record = self.files.get_mut(file).ok_or("somebody holds a file that does not exist")?;
                require(*version <= record.version, "holders hold versions that exist")?;
                require(*current == (*version == record.version), "the current version is the last one")?;
                let before = record.holders.insert(peer.clone(), *version);
                require(before != Some(*version), "a holder is announced once")?;
                record.refused.remove(peer);
            }
            Event::HolderDropped { file, peer, refused } => {
                let record = self.files.get_mut(file).ok_or("a file that does not exist is dropped")?;
                let refusal_forgotten = !*refused && record.refused.remove(peer);
                let dropped = record.holders.remove(peer).is_some();
                require(dropped != refusal_forgotten, "only holders and refusals are dropped")?;
                if *refused {
                    record.refused.insert(peer.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn version_step(&mut self, file: &FileName, number: FileNumber, version: u64, peer: &PeerId) -> Verdict {
        let numbered = self.numbers.entry(number).or_insert_with(|| file.clone());
        require(numbered == file, "a number always belongs to one file")?;
        let numbers = self.numbers.values().filter(|known| *known == file).count();
        require(numbers == 1, "a file always has one number")?;
        let record = self.files.entry(file.clone()).or_default();
        require(version == record.version + 1, "versions have no gaps")?;
        record.version = version;
        let claimant = self.leases.get(file).map(|(peer, ..)| peer).or(self.offers.get(file).map(|(peer, _)| peer));
        require(claimant.is_none_or(|claimant| claimant == peer), "nobody publishes under another peer's lease")
    }

    fn attributes_step(&mut self, event: &Event) -> Verdict {
        let Event::AttributesChanged { file, number, txn, changed, removed, is_left, peer } = event else {
            return Ok(());
        };
        require(self.peers.contains_key(peer), "a known peer changes attributes")?;
        require(self.last_txn.is_none_or(|last| last <= *txn), "ids of transactions grow")?;
        self.last_txn = Some(*txn);
        require(!changed.is_empty() || !removed.is_empty(), "something changes")?;
        let numbered = self.numbers.entry(*number).or_insert_with(|| file.clone());
        require(numbered == file, "a number belongs to one file at a time")?;
        let record = self.files.entry(file.clone()).or_default();
        for (key, value) in changed.iter() {
            let before = record.attributes.set(key.clone(), value.clone());
            require(before.as_ref() != Some(value), "an attribute that is told has changed")?;
        }
        for key in removed {
            require(record.attributes.remove(key.as_str()).is_some(), "what is removed was there")?;
        }
        require(record.attributes.len() <= 32, "a name has few attributes")?;
        require(record.attributes.is_empty() != *is_left, "the event says whether any is left")?;
        if !*is_left && record.version == 0 {
            self.files.remove(file);
            self.numbers.remove(number);
        }
        Ok(())
    }

    fn lease_step(&mut self, event: &Event) -> Verdict {
        match event {
            Event::LeaseGranted { file, peer, fencing_token, deadline } => {
                require(!self.leases.contains_key(file), "a file has one lease")?;
                require(*fencing_token > self.last_fencing_token, "fencing tokens grow")?;
                require(*deadline > self.now, "a lease is granted for some time")?;
                self.last_fencing_token = *fencing_token;
                match self.offers.remove(file) {
                    Some((offered, _)) => require(offered == *peer, "a pending grant is the offered peer's")?,
                    None => self.forget_place(file, peer),
                }
                require(self.peers.contains_key(peer), "a known peer takes the lease")?;
                self.leases.insert(file.clone(), (peer.clone(), *fencing_token, *deadline));
            }
            Event::LeaseRenewed { file, peer, fencing_token, deadline } => {
                let lease = self.leases.get_mut(file).ok_or("a lease is renewed that is not live")?;
                require(lease.0 == *peer && lease.1 == *fencing_token, "the holder renews")?;
                require(*deadline >= lease.2 && lease.2 > self.now, "a renewal never shortens nor revives")?;
                lease.2 = *deadline;
            }
            Event::LeaseEnded { file, peer, fencing_token, cause } => {
                let lease = self.leases.remove(file).ok_or("a lease ends that is not live")?;
                require(lease.0 == *peer && lease.1 == *fencing_token, "the lease that ends is the live one")?;
                let over = lease.2 <= self.now;
                require(over == (*cause == LeaseEnd::Expired), "a lease expires at its deadline and never before")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A grant that claims no offer removes the place of a peer that waited behind its own lease.
    fn forget_place(&mut self, file: &FileName, peer: &PeerId) {
        self.lines.entry(file.clone()).or_default().retain(|(waiter, _)| waiter != peer);
    }

    fn line_step(&mut self, event: &Event) -> Verdict {
        match event {
            Event::LineJoined { file, peer, ticket } => {
                require(*ticket > self.last_ticket, "tickets grow")?;
                self.last_ticket = *ticket;
                let taken = self.leases.contains_key(file) || self.offers.contains_key(file);
                require(taken, "nobody waits for a free file")?;
                let line = self.lines.entry(file.clone()).or_default();
                let offered = self.offers.get(file).is_some_and(|(offered, _)| offered == peer);
                require(!offered && line.iter().all(|(waiter, _)| waiter != peer), "a peer has one place")?;
                line.push((peer.clone(), *ticket));
            }
            Event::LeaseOffered { file, peer, deadline } => {
                let free = !self.leases.contains_key(file) && !self.offers.contains_key(file);
                require(free, "only a free lease is offered")?;
                require(*deadline == self.now + 15_000, "a claim has its window")?;
                let line = self.lines.entry(file.clone()).or_default();
                require(line.first().is_some_and(|(head, _)| head == peer), "first in, first out")?;
                line.remove(0);
                self.offers.insert(file.clone(), (peer.clone(), *deadline));
            }
            Event::LineLeft { file, peer, .. } => {
                if self.offers.get(file).is_some_and(|(offered, _)| offered == peer) {
                    self.offers.remove(file);
                } else {
                    let line = self.lines.entry(file.clone()).or_default();
                    let before = line.len();
                    line.retain(|(waiter, _)| waiter != peer);
                    require(line.len() + 1 == before, "only a waiter leaves")?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares the model with what queries show.
    pub(in crate::catalog) fn compare(&self, catalog: &Catalog) -> Verdict {
        let peers: BTreeMap<PeerId, (u64, bool)> =
            catalog.peers().map(|peer| (peer.id, (peer.incarnation, peer.live))).collect();
        require(peers == self.peers, "peers are as the events say")?;
        for (name, file) in &self.files {
            let view = catalog.file(name).ok_or("a file is gone")?;
            require(self.shows(file, &view), &format!("{name} is as the events say: {view:?}"))?;
        }
        let living: Vec<_> = self.files.iter().filter(|(_, file)| file.hash.is_some()).map(|(name, _)| name).collect();
        require(catalog.files().map(|file| file.name).eq(living.iter().map(|name| (*name).clone())), "all files")?;
        self.compare_leases(catalog)?;
        let counts = catalog.counts();
        require(counts.files == living.len() as u64, "files are counted")?;
        require(counts.tombstones == self.files.values().filter(|file| file.deleted).count() as u64, "tombstones")?;
        require(counts.leases == self.leases.len() as u64, "leases are counted")?;
        let records = self.files.values().filter(|file| file.hash.is_none() && !file.attributes.is_empty());
        require(counts.records == records.count() as u64, "records are counted")?;
        let waiting = self.lines.values().map(Vec::len).sum::<usize>() + self.offers.len();
        require(counts.waiting == waiting as u64, "waiters are counted")?;
        require(catalog.needs_ticks() != (self.leases.is_empty() && self.offers.is_empty()), "ticks")
    }

    fn shows(&self, file: &File, view: &FileView) -> bool {
        let holders: BTreeMap<_, _> = view.holders.iter().map(|holder| (holder.peer.clone(), holder.version)).collect();
        let live =
            view.holders.iter().all(|holder| self.peers.get(&holder.peer).is_some_and(|peer| peer.1 == holder.live));
        (view.version, view.deleted, view.hash, view.fencing_token)
            == (file.version, file.deleted, file.hash, file.fencing_token)
            && holders == file.holders
            && view.refused.iter().eq(&file.refused)
            && view.attributes == file.attributes
            && live
    }

    fn compare_leases(&self, catalog: &Catalog) -> Verdict {
        let mut expected = BTreeMap::new();
        for (file, (peer, token, deadline)) in &self.leases {
            expected.insert(file.clone(), (peer.clone(), Some(*token), *deadline));
        }
        for (file, (peer, deadline)) in &self.offers {
            expected.insert(file.clone(), (peer.clone(), None, *deadline));
        }
        expected.retain(|_, (_, _, deadline)| *deadline > self.now);
        let shown: BTreeMap<_, _> =
            catalog.leases().map(|lease| (lease.file, (lease.holder, lease.fencing_token, lease.deadline))).collect();
        require(shown == expected, "leases and pending grants are as the events say")?;
        for lease in catalog.leases() {
            let shown: Vec<_> = lease.line.into_iter().map(|waiter| (waiter.peer, waiter.ticket)).collect();
            let told = self.lines.get(&lease.file).cloned().unwrap_or_default();
            require(shown == told, "wait queues are as the events say")?;
        }
        Ok(())
    }
}
