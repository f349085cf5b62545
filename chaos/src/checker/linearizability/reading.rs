//! Translates what the clients of a run recorded about one file into calls for the search.
//!
//! Invariant: a call may begin no later and end no earlier than its operation could have taken effect; what nobody
//! was told of is offered, never asserted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::wgl::Call;
use super::file::{File, Sign, Transition};
use crate::history::{Answer, Level, Micros, Op, OpId};
use crate::model::{Model, Operation, Outcome};

/// The calls of one file, and which operation each stands for.
pub(super) struct History {
    pub(super) spec: File,
    pub(super) calls: Vec<Call<Transition>>,
    pub(super) owners: Vec<Option<OpId>>,
    /// Grants that nobody was told of, and the ends of their leases; not among the calls yet.
    pub(super) nameless: Vec<Nameless>,
}

/// A grant that may have happened and whose answer was lost.
pub(super) struct Nameless {
    pub(super) peer: Sign,
    pub(super) owner: Option<OpId>,
    pub(super) grant: Call<Transition>,
    pub(super) expiry: Call<Transition>,
}

impl History {
    /// The newest such grant of the peer that could explain a denial answered at `end`.
    pub(super) fn newest_nameless(&self, peer: Sign, end: Micros) -> Option<usize> {
        let fits = |(_, one): &(usize, &Nameless)| one.peer == peer && one.grant.invoked <= end;
        let newest = self.nameless.iter().enumerate().filter(fits).max_by_key(|(_, one)| one.grant.invoked);
        newest.map(|(index, _)| index)
    }

    /// Offers the grant to the search.
    pub(super) fn offer(&mut self, index: usize) {
        let Nameless { owner, grant, expiry, .. } = self.nameless.swap_remove(index);
        self.calls.extend([grant, expiry]);
        self.owners.extend([owner, owner]);
    }
}

/// Translates operations into calls.
pub(super) struct Reading<'a> {
    model: &'a Model,
    file: &'a str,
    strong_leader: bool,
    peers: HashMap<&'a str, Sign>,
    hashes: HashMap<&'a str, Sign>,
    calls: Vec<Call<Transition>>,
    owners: Vec<Option<OpId>>,
    nameless: Vec<Nameless>,
    /// Peers that may have registered more than once.
    again: BTreeSet<&'a str>,
}

/// What all requests under one key came to.
pub(super) struct Joined<'a> {
    first: &'a Operation,
    /// The request with the answer that counts.
    told: &'a Operation,
    repeated: bool,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Refused,
    Unknown,
}

impl<'a> Reading<'a> {
    pub(super) fn new(model: &'a Model, file: &'a str, strong_leader: bool) -> Self {
        // Sign 0 is the empty hash of a file that does not exist.
        let hashes = HashMap::from([("", 0)]);
        let (calls, owners, nameless) = (Vec::new(), Vec::new(), Vec::new());
        let (mut once, mut again) = (BTreeSet::new(), BTreeSet::new());
        for operation in model.operations.values().filter(|operation| operation.may_be_applied()) {
            if let Op::Register { peer } = &operation.op
                && !once.insert(peer.as_str())
            {
                again.insert(peer.as_str());
            }
        }
        Self { model, file, strong_leader, peers: HashMap::new(), hashes, calls, owners, nameless, again }
    }

    pub(super) fn read(mut self, operations: &[&'a Operation]) -> History {
        let joined = join(operations);
        let waiting: BTreeSet<&str> = operations.iter().filter_map(|operation| waiter(operation)).collect();
        let denied: BTreeMap<&str, Micros> = last_denials(operations);
        for joined in &joined {
            self.translate(joined, &waiting, &denied);
        }
        let (model, file) = (self.model, self.file);
        for read in model.finals.iter().filter(|read| read.file == file) {
            let step = Transition::Read { version: read.version, hash: sign(&mut self.hashes, &read.hash) };
            // Read after everything was over; the record has no span of its own.
            self.push(step, model.ended, Some(model.ended), true, None);
        }
        self.end_hopeless();
        let registered = self.registrations();
        History { spec: File { registered }, calls: self.calls, owners: self.owners, nameless: self.nameless }
    }

    fn registrations(&self) -> HashMap<Sign, Vec<Micros>> {
        let mut registered: HashMap<Sign, Vec<Micros>> = HashMap::new();
        for operation in self.model.operations.values().filter(|operation| operation.may_be_applied()) {
            if let Op::Register { peer } = &operation.op
                && let Some(&peer) = self.peers.get(peer.as_str())
            {
                registered.entry(peer).or_default().push(operation.end());
            }
        }
        registered
    }

    fn push(&mut self, op: Transition, invoked: Micros, returned: Option<Micros>, certain: bool, owner: Option<OpId>) {
        self.calls.push(Call { op, invoked, returned, certain });
        self.owners.push(owner);
    }

    fn translate(&mut self, joined: &Joined<'a>, waiting: &BTreeSet<&str>, denied: &BTreeMap<&str, Micros>) {
        let (first, told) = (joined.first, joined.told);
        let (began, ended, owner) = (first.began, told.completed, Some(told.id));
        let certain = joined.fate == Fate::Done;
        let returned = ended.filter(|_| joined.fate != Fate::Unknown);
        let over = matches!(&told.outcome, Outcome::Refused(code) if matches!(code.as_str(), "lease_expired" | "lease_required"));
        match &first.op {
            Op::Acquire { peer, ttl_ms, wait, .. } => {
                let holder = sign(&mut self.peers, peer);
                match (joined.fate, told.answer()) {
                    (Fate::Done, Some(&Answer::Granted { fence, ttl_ms, version, sent })) => {
                        let until = sent.unwrap_or(told.invoked).saturating_add(self.model.lasts(ttl_ms));
                        // A repeat returns the first grant, but perhaps with a later version.
                        let version = (!joined.repeated).then_some(version);
                        let grant =
                            Transition::Grant { peer: holder, fence: Some(fence), until, asked: began, version };
                        self.push(grant, began, returned, true, owner);
                        self.push(
                            Transition::Expire { fence: Some(fence), holder, at: until },
                            until,
                            None,
                            false,
                            owner,
                        );
                    }
                    (Fate::Done, Some(Answer::Denied { holder, .. })) if !waiting.contains(holder.as_str()) => {
                        let holder = sign(&mut self.peers, holder);
                        self.push(Transition::Taken { holder }, began, returned, true, owner);
                    }
                    // Whether it was granted matters only if somebody was denied the lease in its favour, or if it took
                    // the place of a longer lease of the same peer (L4).
                    (Fate::Unknown, _) => {
                        let denied = denied.get(peer.as_str()).filter(|&&last| !wait && last >= began);
                        let took_over = self.again.contains(peer.as_str());
                        if took_over || denied.is_some() {
                            let until = began.saturating_add(self.model.lasts(*ttl_ms));
                            let returned = denied.filter(|_| !took_over).map(|last| last.saturating_add(1));
                            let grant =
                                Transition::Grant { peer: holder, fence: None, until, asked: began, version: None };
                            let expiry = Transition::Expire { fence: None, holder, at: until };
                            let grant = Call { op: grant, invoked: began, returned, certain: false };
                            let expiry = Call { op: expiry, invoked: until, returned: None, certain: false };
                            self.nameless.push(Nameless { peer: holder, owner, grant, expiry });
                        }
                    }
                    _ => {}
                }
            }
            Op::Renew { peer, fence, ttl_ms, .. } => {
                let holder = sign(&mut self.peers, peer);
                let ttl_ms = match told.answer() {
                    Some(Answer::Granted { ttl_ms, .. }) => *ttl_ms,
                    _ => *ttl_ms,
                };
                if joined.fate == Fate::Refused {
                    self.push_over(over, *fence, began, returned, owner);
                    return;
                }
                let until = began.saturating_add(self.model.lasts(ttl_ms));
                self.push(Transition::Renew { fence: *fence, until }, began, returned, certain, owner);
                self.push(Transition::Expire { fence: Some(*fence), holder, at: until }, until, None, false, owner);
            }
            Op::Release { fence, .. } => match joined.fate {
                Fate::Refused => self.push_over(over, *fence, began, returned, owner),
                Fate::Done | Fate::Unknown => {
                    self.push(Transition::Release { fence: *fence }, began, returned, certain, owner);
                }
            },
            Op::Publish { fence, version, hash, keep, .. } => {
                if joined.fate == Fate::Refused {
                    if let Some(fence) = fence {
                        self.push_over(over, *fence, began, returned, owner);
                    }
                    return;
                }
                let got = match told.answer() {
                    Some(Answer::Published { version }) => Some(*version),
                    _ => None,
                };
                let hash = sign(&mut self.hashes, hash);
                let step = Transition::Publish { fence: *fence, named: *version, version: got, hash, keep: *keep };
                self.push(step, began, returned, certain, owner);
            }
            Op::Read { level, .. } => {
                let strong = *level == Level::Linearizable || (*level == Level::Leader && self.strong_leader);
                if let (true, Some(Answer::File { version, hash })) = (strong, told.answer()) {
                    let step = Transition::Read { version: *version, hash: sign(&mut self.hashes, hash) };
                    self.push(step, began, returned, true, owner);
                }
            }
            Op::Register { .. } | Op::Leave { .. } | Op::Search { .. } => {}
            // Attributes are another object, which `transactions` judges.
            Op::Txn(_) | Op::ReadAttributes { .. } | Op::LookUp { .. } => {}
        }
    }

    fn push_over(&mut self, over: bool, fence: u64, began: Micros, returned: Option<Micros>, owner: Option<OpId>) {
        if over {
            self.push(Transition::Over { fence }, began, returned, true, owner);
        }
    }

    /// What hangs on a lease is over at the latest when a later lease was granted, and what creates the name when
    /// somebody saw a version of it. Without this the search would drag every lost request along to the end.
    fn end_hopeless(&mut self) {
        let mut granted: BTreeMap<u64, Micros> = BTreeMap::new();
        let mut exists = Micros::MAX;
        for call in &self.calls {
            let end = call.returned.unwrap_or(Micros::MAX);
            match call.op {
                Transition::Grant { fence: Some(fence), .. } => {
                    granted.insert(fence, end);
                }
                Transition::Publish { version: Some(_), .. } => exists = exists.min(end),
                Transition::Read { version, .. } if version > 0 => exists = exists.min(end),
                _ => {}
            }
        }
        // The earliest end of any later grant.
        let mut earliest = Micros::MAX;
        for (_, end) in granted.iter_mut().rev() {
            let own = *end;
            *end = earliest;
            earliest = earliest.min(own);
        }
        for call in self.calls.iter_mut().filter(|call| !call.certain) {
            let last = match call.op {
                Transition::Renew { fence, .. }
                | Transition::Release { fence }
                | Transition::Publish { fence: Some(fence), .. }
                | Transition::Expire { fence: Some(fence), .. } => granted.get(&fence).copied(),
                Transition::Publish { fence: None, .. } => Some(exists),
                Transition::Grant { .. }
                | Transition::Expire { .. }
                | Transition::Read { .. }
                | Transition::Over { .. }
                | Transition::Taken { .. } => None,
            };
            if let Some(last) = last.filter(|&last| last != Micros::MAX) {
                // Just after it: the later grant may need this operation before itself.
                let last = last.saturating_add(1);
                let end = call.returned.map_or(last, |end| end.min(last));
                call.returned = Some(end);
            }
        }
        // What could only begin after its end never took effect.
        let (mut calls, mut owners) = (Vec::new(), Vec::new());
        for (call, owner) in self.calls.drain(..).zip(self.owners.drain(..)) {
            if call.certain || call.returned.is_none_or(|end| end >= call.invoked) {
                calls.push(call);
                owners.push(owner);
            }
        }
        (self.calls, self.owners) = (calls, owners);
    }
}

pub(super) fn sign<'a>(signs: &mut HashMap<&'a str, Sign>, text: &'a str) -> Sign {
    let next = Sign::try_from(signs.len()).unwrap_or(Sign::MAX);
    *signs.entry(text).or_insert(next)
}

pub(super) fn waiter(operation: &Operation) -> Option<&str> {
    match &operation.op {
        Op::Acquire { peer, wait: true, .. } => Some(peer),
        _ => None,
    }
}

/// Until when the lease was denied in favour of each peer.
pub(super) fn last_denials<'a>(operations: &[&'a Operation]) -> BTreeMap<&'a str, Micros> {
    let mut last = BTreeMap::new();
    for operation in operations {
        if let Some(Answer::Denied { holder, .. }) = operation.answer() {
            let at: &mut Micros = last.entry(holder.as_str()).or_default();
            *at = (*at).max(operation.end());
        }
    }
    last
}

/// Joins the requests under one key; in order of their first request.
pub(super) fn join<'a>(operations: &[&'a Operation]) -> Vec<Joined<'a>> {
    let mut joined: Vec<Vec<&Operation>> = Vec::new();
    let mut by_key: HashMap<(&str, &str), usize> = HashMap::new();
    for &operation in operations {
        match &operation.key {
            Some(key) => {
                let group = *by_key.entry((&operation.client, key)).or_insert_with(|| {
                    joined.push(Vec::new());
                    joined.len() - 1
                });
                joined[group].push(operation);
            }
            None => joined.push(vec![operation]),
        }
    }
    joined.iter().map(|requests| settle(requests)).collect()
}

pub(super) fn settle<'a>(requests: &[&'a Operation]) -> Joined<'a> {
    let first = requests[0];
    let earliest = |fits: &dyn Fn(&Operation) -> bool| {
        requests.iter().copied().filter(|operation| fits(operation)).min_by_key(|operation| operation.end())
    };
    let repeated = requests.len() > 1;
    if let Some(told) = earliest(&|operation| operation.answer().is_some()) {
        return Joined { first, told, repeated, fate: Fate::Done };
    }
    let acquire = matches!(first.op, Op::Acquire { .. });
    // A grant that is over by itself is replayed as `lease_expired` (X1): it was granted, with a token nobody knows.
    let settled = |operation: &Operation| match &operation.outcome {
        Outcome::Refused(code) => {
            !acquire && matches!(code.as_str(), "lease_expired" | "lease_required" | "version_conflict")
        }
        Outcome::Ok(..) | Outcome::Unknown => false,
    };
    if let Some(told) = earliest(&settled) {
        return Joined { first, told, repeated, fate: Fate::Refused };
    }
    let maybe = |operation: &Operation| match &operation.outcome {
        Outcome::Unknown => true,
        Outcome::Refused(code) => acquire && code == "lease_expired",
        Outcome::Ok(..) => false,
    };
    let fate = if requests.iter().any(|operation| maybe(operation)) { Fate::Unknown } else { Fate::Refused };
    Joined { first, told: first, repeated, fate }
}
