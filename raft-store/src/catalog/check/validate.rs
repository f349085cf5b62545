//! Checks that decoded tables are sound enough to apply commands to.
//!
//! Invariant: on tables that pass, neither `apply` nor a query panics. Each check says in words what is wrong.

use std::collections::BTreeSet;

use crate::catalog::keys::answers::Answers;
use crate::catalog::records::{Contention, FileRecord};
use crate::catalog::rules::ENDED_LEASES_PER_FILE;
use crate::catalog::state::{Catalog, Deadline};
use crate::catalog::tables::slab::Id;
use crate::types::{FileName, limits};

/// No counter or version can have reached this value by counting. Greater ones could overflow later.
const COUNTER_MAX: u64 = 1 << 62;

type Check = Result<(), String>;

/// Checks everything that is stored. The derived fields are still empty.
pub(in crate::catalog) fn stored(catalog: &Catalog) -> Check {
    scalars(catalog)?;
    let mut deadlines = Deadlines { seen: BTreeSet::new(), positions: catalog.positions };
    let mut grants = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (_, record) in catalog.files.iter() {
        require(names.insert(&*record.name), || format!("two files are named {}", record.name))?;
        file(catalog, record, &mut deadlines).map_err(|why| format!("file {}: {why}", record.name))?;
        let is_new = leases_of(record).all(|fencing_token| grants.insert(fencing_token));
        require(is_new, || format!("file {}: a fencing token was given twice", record.name))?;
    }
    let mut ids = BTreeSet::new();
    let mut incarnations = BTreeSet::new();
    for (_, record) in catalog.peers.iter() {
        require(ids.insert(&record.id), || format!("two peers have the id {}", record.id))?;
        let counted = record.incarnation <= catalog.incarnations && incarnations.insert(record.incarnation);
        require(counted, || format!("peer {}: its incarnation", record.id))?;
        record.forget_at.map_or(Ok(()), |deadline| deadlines.add(deadline))?;
    }
    answers(&catalog.answers, &mut deadlines)
}

fn scalars(catalog: &Catalog) -> Check {
    let counters = [
        catalog.clock,
        catalog.sequence,
        catalog.positions,
        catalog.incarnations,
        catalog.fencing_tokens,
        catalog.tickets,
    ];
    require(counters.iter().all(|counter| *counter <= COUNTER_MAX), || "a counter is out of range".into())?;
    require(catalog.files.free_list_is_exact(), || "the free list of files".into())?;
    require(catalog.peers.free_list_is_exact(), || "the free list of peers".into())
}

/// Deadlines are the keys of one index, so no two may be equal.
struct Deadlines {
    seen: BTreeSet<u64>,
    positions: u64,
}

impl Deadlines {
    fn add(&mut self, deadline: Deadline) -> Check {
        let is_new = deadline.position <= self.positions && self.seen.insert(deadline.position);
        require(is_new, || format!("the position {} of a deadline", deadline.position))
    }
}

fn file(catalog: &Catalog, record: &FileRecord, deadlines: &mut Deadlines) -> Check {
    FileName::parse_stored(&*record.name).map_err(|error| error.to_string())?;
    require(record.version <= COUNTER_MAX, || "its version is out of range".into())?;
    require(record.version > 0 || record.hash.is_none(), || "version 0 has bytes".into())?;
    require(record.hash.is_some() || record.size.is_none(), || "a size without bytes".into())?;
    let is_needed = record.version > 0 || record.contention.is_some() || !record.attributes.is_empty();
    require(is_needed, || "nobody needs its name".into())?;
    require(record.attributes.is_sorted(), || "the order of its attributes".into())?;
    let few = record.attributes.len() <= limits::ATTRIBUTES_PER_NAME_MAX;
    require(few, || "it has too many attributes".into())?;
    require(is_ascending(record.past.iter().map(|past| past.version)), || "the order of its versions".into())?;
    let remembered =
        |version: u64| version < record.version && version + limits::REMEMBERED_VERSIONS as u64 > record.version;
    require(record.past.iter().all(|past| past.version > 0 && remembered(past.version)), || "an old version".into())?;
    require(is_ascending(record.holders.iter().map(|holder| holder.peer)), || "the order of its holders".into())?;
    require(is_ascending(record.refused.iter().copied()), || "the order of its refusals".into())?;
    let given = leases_of(record).last().is_none_or(|last| last <= catalog.fencing_tokens);
    require(given && is_ascending(leases_of(record)), || "the order of its fencing tokens".into())?;
    require(record.ended.len() <= ENDED_LEASES_PER_FILE, || "it remembers too many leases".into())?;
    for holder in &record.holders {
        peer_exists(catalog, holder.peer)?;
        require(record.hash_of(holder.version).is_some(), || "a holder of no remembered version".into())?;
        require(record.refused.binary_search(&holder.peer).is_err(), || "a holder that refused it".into())?;
    }
    record.refused.iter().try_for_each(|peer| peer_exists(catalog, *peer))?;
    record.contention.as_ref().map_or(Ok(()), |contention| contested(catalog, contention, deadlines))
}

fn contested(catalog: &Catalog, contention: &Contention, deadlines: &mut Deadlines) -> Check {
    let one = contention.lease.is_some() != contention.offer.is_some();
    require(one, || "it has not exactly one of a lease and a pending grant".into())?;
    if let Some(lease) = &contention.lease {
        peer_exists(catalog, lease.peer)?;
        deadlines.add(lease.deadline)?;
    }
    let mut waiting = BTreeSet::new();
    let mut ticket = 0;
    if let Some(offer) = &contention.offer {
        peer_exists(catalog, offer.peer)?;
        deadlines.add(offer.deadline)?;
        waiting.insert(offer.peer);
        ticket = offer.ticket;
    }
    require(ticket <= catalog.tickets, || "the ticket of its pending grant".into())?;
    for waiter in &contention.queue {
        peer_exists(catalog, waiter.peer)?;
        require(waiting.insert(waiter.peer), || "a peer waits twice".into())?;
        let in_order = waiter.ticket > ticket && waiter.ticket <= catalog.tickets;
        require(in_order, || "the tickets of its wait queue".into())?;
        ticket = waiter.ticket;
    }
    Ok(())
}

/// The fencing tokens of a file's leases, ended ones first.
fn leases_of(record: &FileRecord) -> impl Iterator<Item = u64> {
    let live = record.lease().map(|lease| lease.fencing_token);
    record.ended.iter().map(|ended| ended.fencing_token).chain(live)
}

fn answers(answers: &Answers, deadlines: &mut Deadlines) -> Check {
    for (id, owner) in answers.owners.iter() {
        let all = owner.sessions.values().flat_map(|session| session.answers.values());
        let all = all.chain(owner.opaque.values().flat_map(|key| key.chunks.values()));
        let readable = all.into_iter().all(|answer| answer.result().is_some());
        require(readable, || format!("an answer to peer {id} does not decode"))?;
        owner.sessions.values().try_for_each(|session| deadlines.add(session.due))?;
        owner.opaque.values().try_for_each(|key| deadlines.add(key.due))?;
        let first_uses: BTreeSet<u64> = owner.opaque.values().map(|key| key.first_used).collect();
        require(first_uses.len() == owner.opaque.len(), || format!("two keys of peer {id} have one position"))?;
    }
    Ok(())
}

fn peer_exists(catalog: &Catalog, peer: Id) -> Check {
    require(catalog.peers.get(peer).is_some(), || format!("it names peer {peer}, which does not exist"))
}

fn is_ascending<T: Ord>(mut values: impl Iterator<Item = T>) -> bool {
    let Some(mut last) = values.next() else { return true };
    values.all(|value| {
        let grows = value > last;
        last = value;
        grows
    })
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}
