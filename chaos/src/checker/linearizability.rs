//! Proves: every file is a linearizable object. Its register (version and hash) and its lease (fencing token, holder, and
//! the moment until which it is guaranteed) went through one order of operations that agrees with real time and explains
//! every answer: grants, renewals, releases, publishes, strong reads, and refusals that say that a lease is over.
//!
//! Source: Herlihy and Wing; the search is `wgl.rs`, one object per file (linearizability is local). Rules L1 to L3, F2, F5,
//! R1.
//!
//! How leases end by themselves: log time is not the checker's time, but a TTL begins no earlier than its request was sent.
//! So every grant and renewal brings an *expiry*: an operation that may take effect at any time from the moment at which
//! the TTL could be over at the earliest, or never, and only if no renewal moved that moment on.
//!
//! Requests under one key are one operation (X1), from the first request to the first answer. One without an answer may
//! take effect at any time or never; it is offered to the search until a later lease proves that its time is over.
//!
//! Cannot see: what only stale reads saw, denials in favour of a peer that waits in line, and order across files. What the
//! budget cuts short is undecided.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::wgl::{self, Budget, Call, Spec, Verdict};
use super::{Checker, Findings};
use crate::history::{Answer, Level, Micros, Op, OpId};
use crate::model::{Model, Operation, Outcome, file_of};

/// Time that one file may take.
pub const FILE_BUDGET: Duration = Duration::from_secs(20);
/// Time that all files of a run may take.
pub const RUN_BUDGET: Duration = Duration::from_secs(120);
/// Configurations that are held at once for one file.
pub const CONFIGURATIONS_MAX: usize = 400_000;
/// Open operations that are shown beside one that cannot be explained.
const SHOWN_OPEN: usize = 6;

/// Files are linearizable.
pub const CHECKER: Checker =
    Checker { name: "linearizability", property: "every file and its lease linearizable", check };

/// Number of a hash or peer within one file.
type Sign = u32;

/// The lease that lives, as far as an observer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lease {
    /// Its token; none for a grant whose answer nobody got.
    fence: Option<u64>,
    holder: Sign,
    /// When it can be over at the earliest.
    until: Micros,
    asked: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    version: u64,
    hash: Sign,
    lease: Option<Lease>,
    last_fence: u64,
}

/// In words; numbers that mean something only within one search are left out, so that findings can be compared.
impl std::fmt::Debug for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "v{}", self.version)?;
        match self.lease {
            Some(Lease { fence: Some(fence), until, .. }) => write!(out, ", fence {fence} until {until} µs"),
            Some(Lease { fence: None, until, .. }) => write!(out, ", a lease nobody was told of, until {until} µs"),
            None => write!(out, ", no lease (last fence {})", self.last_fence),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Grant {
        peer: Sign,
        fence: Option<u64>,
        until: Micros,
        asked: Micros,
        version: Option<u64>,
    },
    Renew {
        fence: u64,
        until: Micros,
    },
    Expire {
        fence: Option<u64>,
        holder: Sign,
        at: Micros,
    },
    Release {
        fence: u64,
    },
    Publish {
        fence: Option<u64>,
        named: Option<u64>,
        version: Option<u64>,
        hash: Sign,
        keep: bool,
    },
    Read {
        version: u64,
        hash: Sign,
    },
    /// The lease is over, by the answer's word.
    Over {
        fence: u64,
    },
    /// Somebody has the lease.
    Taken {
        holder: Sign,
    },
}

/// One file, and when each peer may have registered again.
struct File {
    registered: HashMap<Sign, Vec<Micros>>,
}

impl Spec for File {
    type State = State;
    type Op = Step;

    fn initial(&self) -> State {
        State { version: 0, hash: 0, lease: None, last_fence: 0 }
    }

    fn step(&self, state: &State, op: &Step) -> Option<State> {
        let own = |fence: u64| state.lease.filter(|lease| lease.fence == Some(fence));
        match *op {
            Step::Grant { peer, fence, until, asked, version } => {
                let free = state.lease.is_none_or(|lease| lease.holder == peer && self.again(peer, lease.asked));
                let newer = fence.is_none_or(|fence| fence > state.last_fence);
                let fits = version.is_none_or(|version| version == state.version);
                let lease = Some(Lease { fence, holder: peer, until, asked });
                let last_fence = fence.unwrap_or(state.last_fence);
                (free && newer && fits).then_some(State { lease, last_fence, ..*state })
            }
            Step::Renew { fence, until } => {
                let lease = own(fence)?;
                Some(State { lease: Some(Lease { until: lease.until.max(until), ..lease }), ..*state })
            }
            Step::Expire { fence, holder, at } => {
                let lease = state.lease.filter(|lease| lease.fence == fence && lease.holder == holder)?;
                (lease.until <= at).then_some(State { lease: None, ..*state })
            }
            Step::Release { fence } => {
                Some(State { lease: state.lease.filter(|lease| lease.fence != Some(fence)), ..*state })
            }
            Step::Publish { fence, named, version, hash, keep } => {
                let next = state.version + 1;
                let fits = named.is_none_or(|named| named == next) && version.is_none_or(|version| version == next);
                let allowed = match fence {
                    Some(fence) => own(fence).is_some(),
                    None => state.version == 0,
                };
                let lease = state.lease.filter(|_| keep || fence.is_none());
                (fits && allowed).then_some(State { version: next, hash, lease, ..*state })
            }
            Step::Read { version, hash } => (state.version == version && state.hash == hash).then_some(*state),
            Step::Over { fence } => own(fence).is_none().then_some(*state),
            Step::Taken { holder } => state.lease.is_some_and(|lease| lease.holder == holder).then_some(*state),
        }
    }

    fn is_pure(&self, op: &Step) -> bool {
        matches!(op, Step::Read { .. } | Step::Over { .. } | Step::Taken { .. })
    }
}

impl File {
    /// Whether the peer may have registered again after it asked for a lease (L4).
    fn again(&self, peer: Sign, asked: Micros) -> bool {
        self.registered.get(&peer).is_some_and(|ends| ends.iter().any(|&end| end > asked))
    }
}

fn check(model: &Model) -> Findings {
    check_within(model, RUN_BUDGET)
}

fn check_within(model: &Model, budget: Duration) -> Findings {
    let mut findings = Findings::default();
    let deadline = Instant::now() + budget;
    // A stopped process, or a clock that runs at another rate, voids the assumption of leader reads (R1).
    let strong_leader = !model.faults.iter().any(|fault| super::reads::voids_leader_reads(&fault.fault));
    let mut by_file: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let Some(file) = file_of(&operation.op) {
            by_file.entry(file).or_default().push(operation);
        }
    }
    for (file, operations) in by_file {
        let history = Reading::new(model, file, strong_leader).read(&operations);
        let time = FILE_BUDGET.min(deadline.saturating_duration_since(Instant::now()));
        judge(file, history, time, &mut findings);
    }
    findings
}

/// Searches, first without the grants that nobody was told of, then with as many of them as it takes.
///
/// An order found without some of them is an order; that there is none is believed only with all of them.
fn judge(file: &str, mut history: History, time: Duration, findings: &mut Findings) {
    let deadline = Instant::now() + time;
    let certain = history.calls.iter().filter(|call| call.certain).count();
    let verdict = loop {
        let time = deadline.saturating_duration_since(Instant::now());
        let verdict = wgl::search(&history.spec, &history.calls, Budget { time, configurations: CONFIGURATIONS_MAX });
        let Verdict::Rejected { call, .. } = &verdict else { break verdict };
        let Some(denial) = history.calls.get(*call) else { break verdict };
        let wanted = match denial.op {
            Step::Taken { holder } => history.newest_nameless(holder, denial.returned.unwrap_or(Micros::MAX)),
            _ => None,
        };
        match wanted {
            Some(index) => history.offer(index),
            None if history.nameless.is_empty() => break verdict,
            None => {
                while !history.nameless.is_empty() {
                    history.offer(0);
                }
            }
        }
    };
    match verdict {
        Verdict::Accepted => findings.checks += certain as u64,
        Verdict::Undecided { explained } => {
            findings.checks += explained as u64;
            findings.undecided.push(format!(
                "{file}: the search was given up after {explained} of {certain} operations; too many overlap"
            ));
        }
        Verdict::Rejected { call, open, states } => {
            let others = open.into_iter().filter_map(|other| history.owners.get(other).copied().flatten());
            let mut shown: Vec<OpId> = history.owners.get(call).copied().flatten().into_iter().collect();
            shown.extend(others.take(SHOWN_OPEN));
            findings.expect(false, &shown, || {
                let what = history.calls.get(call).map(|call| words(&call.op)).unwrap_or_default();
                format!("{file}: no order of the operations explains that {what}; before it {}", possible(&states))
            });
        }
    }
}

fn possible(states: &[String]) -> String {
    match states {
        [only] => format!("only this was possible: {only}"),
        [first, ..] => format!("{} states were possible, such as {first}", states.len()),
        [] => "nothing was possible".into(),
    }
}

fn words(step: &Step) -> String {
    match step {
        Step::Grant { fence: Some(fence), .. } => format!("fence {fence} was granted"),
        Step::Grant { fence: None, .. } => "a lease was granted".into(),
        Step::Renew { fence, .. } => format!("fence {fence} was renewed"),
        Step::Expire { .. } => "a lease ended".into(),
        Step::Release { fence } => format!("fence {fence} was released"),
        Step::Publish { version: Some(version), .. } => format!("v{version} was published"),
        Step::Publish { version: None, .. } => "a version was published".into(),
        Step::Read { version, .. } => format!("a read saw v{version}"),
        Step::Over { fence } => format!("fence {fence} was over"),
        Step::Taken { .. } => "the lease was denied in favour of its holder".into(),
    }
}

/// The calls of one file, and which operation each stands for.
struct History {
    spec: File,
    calls: Vec<Call<Step>>,
    owners: Vec<Option<OpId>>,
    /// Grants that nobody was told of, and the ends of their leases; not among the calls yet.
    nameless: Vec<Nameless>,
}

/// A grant that may have happened and whose answer was lost.
struct Nameless {
    peer: Sign,
    owner: Option<OpId>,
    grant: Call<Step>,
    expiry: Call<Step>,
}

impl History {
    /// The newest such grant of the peer that could explain a denial answered at `end`.
    fn newest_nameless(&self, peer: Sign, end: Micros) -> Option<usize> {
        let fits = |(_, one): &(usize, &Nameless)| one.peer == peer && one.grant.invoked <= end;
        let newest = self.nameless.iter().enumerate().filter(fits).max_by_key(|(_, one)| one.grant.invoked);
        newest.map(|(index, _)| index)
    }

    /// Offers the grant to the search.
    fn offer(&mut self, index: usize) {
        let Nameless { owner, grant, expiry, .. } = self.nameless.swap_remove(index);
        self.calls.extend([grant, expiry]);
        self.owners.extend([owner, owner]);
    }
}

/// Translates operations into calls.
struct Reading<'a> {
    model: &'a Model,
    file: &'a str,
    strong_leader: bool,
    peers: HashMap<&'a str, Sign>,
    hashes: HashMap<&'a str, Sign>,
    calls: Vec<Call<Step>>,
    owners: Vec<Option<OpId>>,
    nameless: Vec<Nameless>,
}

/// What all requests under one key came to.
struct Joined<'a> {
    first: &'a Operation,
    /// The request with the answer that counts.
    told: &'a Operation,
    repeated: bool,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    Unknown,
}

impl<'a> Reading<'a> {
    fn new(model: &'a Model, file: &'a str, strong_leader: bool) -> Self {
        // Sign 0 is the empty hash of a file that does not exist.
        let hashes = HashMap::from([("", 0)]);
        let (calls, owners, nameless) = (Vec::new(), Vec::new(), Vec::new());
        Self { model, file, strong_leader, peers: HashMap::new(), hashes, calls, owners, nameless }
    }

    fn read(mut self, operations: &[&'a Operation]) -> History {
        let joined = join(operations);
        let waiting: BTreeSet<&str> = operations.iter().filter_map(|operation| waiter(operation)).collect();
        let denied: BTreeMap<&str, Micros> = last_denials(operations);
        for joined in &joined {
            self.translate(joined, &waiting, &denied);
        }
        let (model, file) = (self.model, self.file);
        for read in model.finals.iter().filter(|read| read.file == file) {
            let step = Step::Read { version: read.version, hash: sign(&mut self.hashes, &read.hash) };
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

    fn push(&mut self, op: Step, invoked: Micros, returned: Option<Micros>, certain: bool, owner: Option<OpId>) {
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
                        // A repeat tells of the first grant, but maybe not with the version of that moment.
                        let version = (!joined.repeated).then_some(version);
                        let grant = Step::Grant { peer: holder, fence: Some(fence), until, asked: began, version };
                        self.push(grant, began, returned, true, owner);
                        self.push(Step::Expire { fence: Some(fence), holder, at: until }, until, None, false, owner);
                    }
                    (Fate::Done, Some(Answer::Denied { holder, .. })) if !waiting.contains(holder.as_str()) => {
                        let holder = sign(&mut self.peers, holder);
                        self.push(Step::Taken { holder }, began, returned, true, owner);
                    }
                    // Whether it was granted matters only if somebody was denied the lease in its favour.
                    (Fate::Unknown, _) if !wait => {
                        if let Some(&last) = denied.get(peer.as_str()).filter(|&&last| last >= began) {
                            let until = began.saturating_add(self.model.lasts(*ttl_ms));
                            let last = last.saturating_add(1);
                            let offered = |op, invoked| Call { op, invoked, returned: Some(last), certain: false };
                            let grant = Step::Grant { peer: holder, fence: None, until, asked: began, version: None };
                            let expiry = Step::Expire { fence: None, holder, at: until };
                            let (grant, mut expiry) = (offered(grant, began), offered(expiry, until));
                            expiry.returned = None;
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
                self.push(Step::Renew { fence: *fence, until }, began, returned, certain, owner);
                self.push(Step::Expire { fence: Some(*fence), holder, at: until }, until, None, false, owner);
            }
            Op::Release { fence, .. } => match joined.fate {
                Fate::Refused => self.push_over(over, *fence, began, returned, owner),
                Fate::Done | Fate::Unknown => {
                    self.push(Step::Release { fence: *fence }, began, returned, certain, owner);
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
                let step = Step::Publish { fence: *fence, named: *version, version: got, hash, keep: *keep };
                self.push(step, began, returned, certain, owner);
            }
            Op::Read { level, .. } => {
                let strong = *level == Level::Linearizable || (*level == Level::Leader && self.strong_leader);
                if let (true, Some(Answer::File { version, hash })) = (strong, told.answer()) {
                    let step = Step::Read { version: *version, hash: sign(&mut self.hashes, hash) };
                    self.push(step, began, returned, true, owner);
                }
            }
            Op::Register { .. } | Op::Leave { .. } => {}
        }
    }

    fn push_over(&mut self, over: bool, fence: u64, began: Micros, returned: Option<Micros>, owner: Option<OpId>) {
        if over {
            self.push(Step::Over { fence }, began, returned, true, owner);
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
                Step::Grant { fence: Some(fence), .. } => {
                    granted.insert(fence, end);
                }
                Step::Publish { version: Some(_), .. } => exists = exists.min(end),
                Step::Read { version, .. } if version > 0 => exists = exists.min(end),
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
                Step::Renew { fence, .. }
                | Step::Release { fence }
                | Step::Publish { fence: Some(fence), .. }
                | Step::Expire { fence: Some(fence), .. } => granted.get(&fence).copied(),
                Step::Publish { fence: None, .. } => Some(exists),
                Step::Grant { .. }
                | Step::Expire { .. }
                | Step::Read { .. }
                | Step::Over { .. }
                | Step::Taken { .. } => None,
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

fn sign<'a>(signs: &mut HashMap<&'a str, Sign>, text: &'a str) -> Sign {
    let next = Sign::try_from(signs.len()).unwrap_or(Sign::MAX);
    *signs.entry(text).or_insert(next)
}

fn waiter(operation: &Operation) -> Option<&str> {
    match &operation.op {
        Op::Acquire { peer, wait: true, .. } => Some(peer),
        _ => None,
    }
}

/// Until when the lease was denied in favour of each peer.
fn last_denials<'a>(operations: &[&'a Operation]) -> BTreeMap<&'a str, Micros> {
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
fn join<'a>(operations: &[&'a Operation]) -> Vec<Joined<'a>> {
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

fn settle<'a>(requests: &[&'a Operation]) -> Joined<'a> {
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

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    fn renew(peer: &str, fence: u64, ttl_ms: u64) -> Op {
        Op::Renew { peer: peer.into(), file: "f".into(), fence, ttl_ms }
    }

    fn renewed(fence: u64, ttl_ms: u64) -> End {
        End::Ok(Answer::Granted { fence, ttl_ms, version: 2, sent: None })
    }

    #[test]
    fn a_second_grant_while_the_first_must_live_is_caught() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).grant((250, 251), "b", "f", 100, 11, 2);
        sample.caught_by(&CHECKER, "fence 11 was granted");
    }

    #[test]
    fn a_second_grant_after_the_time_to_live_is_explained_by_an_expiry() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).grant((311, 312), "b", "f", 100, 11, 2);
        sample.finals(400, "f", 2, "h2").accepted_by(&CHECKER);
    }

    #[test]
    fn a_faster_clock_of_a_node_brings_the_expiry_forward_and_no_more() {
        let rejected = |at| {
            let mut sample = good();
            sample.grant((210, 211), "a", "f", 100, 10, 2).grant((at, at), "b", "f", 100, 11, 2);
            check(&sample.model_with_clocks(2_000)).violations
        };
        assert_eq!((rejected(259), rejected(261)), (1, 0));
    }

    #[test]
    fn a_renewal_moves_the_expiry_on() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).op((300, 301), renew("a", 10, 100), renewed(10, 100));
        sample.grant((350, 351), "b", "f", 100, 11, 2);
        sample.caught_by(&CHECKER, "fence 11 was granted");
    }

    #[test]
    fn a_lost_release_explains_an_early_grant_once() {
        let release = || Op::Release { peer: "a".into(), file: "f".into(), fence: 10 };
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).op((212, 213), release(), End::Unknown);
        sample.grant((250, 251), "b", "f", 100, 11, 2).accepted_by(&CHECKER);
        sample.grant((252, 253), "a", "f", 100, 12, 2);
        sample.caught_by(&CHECKER, "fence 12 was granted");
    }

    #[test]
    fn a_lease_called_over_too_early_is_caught() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 100, 10, 2).op(
            (250, 251),
            renew("a", 10, 100),
            End::Refused("lease_expired"),
        );
        sample.caught_by(&CHECKER, "fence 10 was over");
    }

    #[test]
    fn a_stale_strong_read_is_caught() {
        let mut sample = good();
        sample.read((210, 211), "f", 1, "h1");
        sample.caught_by(&CHECKER, "a read saw v1");
    }

    #[test]
    fn a_publish_under_a_lease_that_another_took_is_caught() {
        let mut sample = good();
        sample.grant((210, 211), "a", "f", 10, 10, 2).grant((230, 231), "b", "f", 100, 11, 2);
        sample.publish((240, 241), "a", "f", 10, "h3", published(3));
        sample.caught_by(&CHECKER, "v3 was published");
    }

    #[test]
    fn a_publish_whose_answer_was_lost_may_have_happened_or_not() {
        let mut happened = good();
        happened.grant((210, 211), "a", "f", 100, 10, 2).publish((212, 213), "a", "f", 10, "h3", End::Unknown);
        let mut never = good();
        never.grant((210, 211), "a", "f", 100, 10, 2).publish((212, 213), "a", "f", 10, "h3", End::Unknown);
        happened.read((220, 221), "f", 3, "h3").finals(400, "f", 3, "h3");
        never.read((220, 221), "f", 2, "h2");
        assert_eq!(
            (happened.check(&CHECKER).violations, never.check(&CHECKER).violations),
            (1, 0),
            "finals of v2 remain"
        );
        happened.read((222, 223), "f", 2, "h2");
        happened.caught_by(&CHECKER, "a read saw v2");
    }

    #[test]
    fn repeats_under_one_key_are_one_grant() {
        let mut sample = good();
        sample.key("k").op((210, 220), acquire("a", "f", 50), End::Unknown);
        sample.key("k").grant((230, 231), "a", "f", 30, 10, 2);
        sample.publish((232, 233), "a", "f", 10, "h3", published(3));
        sample.read((234, 235), "f", 3, "h3");
        let found = sample.check(&CHECKER);
        assert_eq!(found.violations, 1, "only the final reads of v2 are wrong: {found:?}");
        assert!(found.first[0].what.contains("a read saw v2"), "{found:?}");
    }

    #[test]
    fn a_denial_in_favour_of_a_lost_grant_is_explained() {
        let mut sample = good();
        sample.op((210, 220), acquire("a", "f", 50), End::Unknown);
        sample.op((225, 226), acquire("b", "f", 50), denied("a"));
        sample.grant((280, 281), "b", "f", 50, 12, 2).accepted_by(&CHECKER);
        let mut sample = good();
        sample.op((225, 226), acquire("b", "f", 50), denied("a"));
        sample.caught_by(&CHECKER, "denied");
    }

    #[test]
    fn a_search_without_time_decides_nothing() {
        let mut sample = good();
        for number in 0..40 {
            let hash = format!("x{number}");
            sample.op((210, 300), publish("a", "g", 5, &hash, true), End::Unknown);
        }
        sample.grant((205, 206), "a", "g", 500, 5, 0).read((250, 251), "g", 99, "never");
        let found = check_within(&sample.model(), Duration::ZERO);
        assert_eq!(found.violations, 0);
        assert_eq!(found.undecided.len(), 1, "{found:?}");
    }
}
