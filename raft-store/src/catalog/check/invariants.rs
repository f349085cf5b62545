//! What is true of the catalog between any two entries. Tests check it after every step.
//!
//! Invariant: each function checks one property, recomputed from the stored records alone; [`check`] calls them all.

use std::collections::BTreeSet;

use super::validate;
use crate::catalog::records::FileRecord;
use crate::catalog::rules::ENDED_LEASES_PER_FILE;
use crate::catalog::state::Catalog;
use crate::types::limits;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {details}")]
pub struct Violation {
    /// What should be true.
    pub invariant: &'static str,
    /// Where it does not hold.
    pub details: String,
}

type Check = Result<(), Violation>;

/// Checks every invariant. Takes time in proportion to the whole state.
pub fn check(catalog: &Catalog) -> Check {
    no_events_are_left(catalog)?;
    for (_, file) in catalog.files.iter() {
        one_lease_or_offer(file)?;
        a_free_file_has_no_queue(file)?;
        the_queue_has_no_duplicates(file)?;
        fencing_tokens_grow(catalog, file)?;
        remembered_versions_are_recent(file)?;
        holders_have_remembered_bytes(file)?;
        holders_and_refusals_are_apart(file)?;
        ended_leases_are_few(file)?;
        a_record_ends_with_its_last_attribute(file)?;
    }
    fencing_tokens_are_unique(catalog)?;
    incarnations_are_unique(catalog)?;
    the_stored_tables_are_decodable(catalog)?;
    the_indexes_equal_their_recomputation(catalog)?;
    the_totals_equal_their_recomputation(catalog)
}

fn require(holds: bool, invariant: &'static str, details: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation { invariant, details: details() }) }
}

fn no_events_are_left(catalog: &Catalog) -> Check {
    require(catalog.events.is_empty(), "an entry's events leave with its replies", || format!("{:?}", catalog.events))
}

fn one_lease_or_offer(file: &FileRecord) -> Check {
    let both = file.lease().is_some() && file.offer().is_some();
    require(!both, "a file has at most one live lease, and no pending grant beside it (L1)", || file.name.to_string())
}

fn a_free_file_has_no_queue(file: &FileRecord) -> Check {
    let free = file.lease().is_none() && file.offer().is_none();
    require(!free || file.contention.is_none(), "nobody waits for a free file (L5)", || file.name.to_string())
}

fn the_queue_has_no_duplicates(file: &FileRecord) -> Check {
    let Some(contention) = &file.contention else { return Ok(()) };
    let offered = contention.offer.iter().map(|offer| (offer.peer, offer.ticket));
    let places: Vec<_> = offered.chain(contention.queue.iter().map(|waiter| (waiter.peer, waiter.ticket))).collect();
    let peers: BTreeSet<_> = places.iter().map(|(peer, _)| *peer).collect();
    require(peers.len() == places.len(), "a peer has one place per file (L5)", || file.name.to_string())?;
    let first_come = places.windows(2).all(|pair| pair[0].1 < pair[1].1);
    require(first_come, "tickets grow along the wait queue (L5)", || file.name.to_string())
}

fn fencing_tokens_grow(catalog: &Catalog, file: &FileRecord) -> Check {
    let tokens: Vec<_> = file
        .ended
        .iter()
        .map(|ended| ended.fencing_token)
        .chain(file.lease().map(|lease| lease.fencing_token))
        .collect();
    let grow = tokens.windows(2).all(|pair| pair[0] < pair[1]);
    let given = tokens.last().is_none_or(|last| *last <= catalog.fencing_tokens);
    require(grow && given, "fencing tokens grow with every grant (L2)", || format!("{}: {tokens:?}", file.name))
}

fn fencing_tokens_are_unique(catalog: &Catalog) -> Check {
    let mut seen = BTreeSet::new();
    for (_, file) in catalog.files.iter() {
        if let Some(lease) = file.lease() {
            let is_new = seen.insert(lease.fencing_token);
            require(is_new, "no two live leases share a fencing token (L2)", || file.name.to_string())?;
        }
    }
    Ok(())
}

fn incarnations_are_unique(catalog: &Catalog) -> Check {
    let incarnations: BTreeSet<_> = catalog.peers.iter().map(|(_, peer)| peer.incarnation).collect();
    let count = catalog.peers.iter().count();
    require(incarnations.len() == count, "every registration is an incarnation of its own (P1)", || format!("{count}"))
}

fn remembered_versions_are_recent(file: &FileRecord) -> Check {
    let recent = file
        .past
        .iter()
        .all(|past| past.version < file.version && past.version + limits::REMEMBERED_VERSIONS as u64 > file.version);
    require(recent, "the last versions' hashes are remembered, and no others (F2)", || file.name.to_string())
}

fn holders_have_remembered_bytes(file: &FileRecord) -> Check {
    let known = file.holders.iter().all(|holder| file.hash_of(holder.version).is_some());
    require(known, "holders have the bytes of a remembered version (F4)", || file.name.to_string())
}

fn holders_and_refusals_are_apart(file: &FileRecord) -> Check {
    let apart = file.refused.iter().all(|peer| file.holder(*peer).is_err());
    require(apart, "who refused a file does not hold it (F7)", || file.name.to_string())
}

fn ended_leases_are_few(file: &FileRecord) -> Check {
    require(file.ended.len() <= ENDED_LEASES_PER_FILE, "a file remembers a few ended leases", || file.name.to_string())
}

fn a_record_ends_with_its_last_attribute(file: &FileRecord) -> Check {
    let needed = file.version > 0 || file.contention.is_some() || !file.attributes.is_empty();
    require(needed, "a name without version, lease and attribute is gone (K1, L6)", || file.name.to_string())
}

fn the_stored_tables_are_decodable(catalog: &Catalog) -> Check {
    let verdict = validate::stored(catalog);
    require(verdict.is_ok(), "what is stored decodes", || verdict.err().unwrap_or_default())
}

/// A catalog with the same stored records and everything derived rebuilt.
fn recomputed(catalog: &Catalog) -> Catalog {
    let bare = Catalog {
        clock: catalog.clock,
        positions: catalog.positions,
        files: catalog.files.clone(),
        peers: catalog.peers.clone(),
        answers: catalog.answers.stored(),
        ..Catalog::with_limits(catalog.limits)
    };
    bare.with_indexes()
}

fn the_indexes_equal_their_recomputation(catalog: &Catalog) -> Check {
    const CLAIM: &str = "indexes equal their recomputation";
    let fresh = recomputed(catalog);
    require(catalog.names.is_consistent(&catalog.files), "every name is found by its bytes", || "names".into())?;
    require(catalog.peer_ids.is_consistent(&catalog.peers), "every peer is found by its id", || "peer ids".into())?;
    require(catalog.answers.is_consistent(), "every peer's answers are found by its id", || "answers".into())?;
    require(catalog.due == fresh.due, CLAIM, || format!("deadlines {:?}, not {:?}", catalog.due, fresh.due))?;
    require(catalog.contended == fresh.contended, CLAIM, || "contended files".into())?;
    require(catalog.answers == fresh.answers, CLAIM, || "answers".into())?;
    let found = catalog.answers.txns_are_found();
    require(found, "a remembered transaction is found by its id (K5)", || "transactions".into())?;
    for (id, peer) in catalog.peers.iter() {
        let (sets, expected) = (catalog.sets(id), fresh.sets(id));
        require(sets == expected, CLAIM, || format!("peer {}: {sets:?}, not {expected:?}", peer.id))?;
        let is_true = sets.digest().is_none_or(|digest| digest == catalog.fresh_digest(id));
        require(is_true, "a digest that is kept is that of the holdings (P2)", || peer.id.to_string())?;
        let owners = &catalog.answers.owners;
        let keys = sets.keys.filter(|(_, then)| *then == owners.forgotten());
        let are_its_own = keys.is_none_or(|(slot, _)| owners.owner_at(slot) == Some(&peer.id));
        require(are_its_own, "the keys that a peer remembers are its own (X1)", || peer.id.to_string())?;
    }
    Ok(())
}

fn the_totals_equal_their_recomputation(catalog: &Catalog) -> Check {
    let expected = recomputed(catalog).totals;
    let totals = catalog.totals;
    require(totals == expected, "totals equal their recomputation", || format!("{totals:?}, not {expected:?}"))
}
