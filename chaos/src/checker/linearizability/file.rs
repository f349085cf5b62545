//! One file as a sequential object: its register, its lease, and what each operation does to
//! them (Rules L1 to L4, F2, F5).
//!
//! Invariant: [`File::step`] is the only description of the rules that the search judges by.

use std::collections::HashMap;

use super::super::wgl::Spec;
use crate::history::Micros;

/// Number of a hash or peer within one file.
pub(super) type Sign = u32;

/// The lease that lives, as far as an observer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// Its token; none for a grant whose answer nobody got.
    pub(super) fence: Option<u64>,
    pub(super) holder: Sign,
    /// When it can be over at the earliest.
    pub(super) until: Micros,
    pub(super) asked: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) version: u64,
    pub(super) hash: Sign,
    pub(super) lease: Option<Lease>,
    pub(super) last_fence: u64,
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
pub(super) enum Transition {
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
pub(super) struct File {
    pub(super) registered: HashMap<Sign, Vec<Micros>>,
}

impl Spec for File {
    type State = State;
    type Op = Transition;

    fn initial(&self) -> State {
        State { version: 0, hash: 0, lease: None, last_fence: 0 }
    }

    fn step(&self, state: &State, op: &Transition) -> Option<State> {
        let own = |fence: u64| state.lease.filter(|lease| lease.fence == Some(fence));
        match *op {
            Transition::Grant { peer, fence, until, asked, version } => {
                let free = state.lease.is_none_or(|lease| lease.holder == peer && self.again(peer, lease.asked));
                let newer = fence.is_none_or(|fence| fence > state.last_fence);
                let fits = version.is_none_or(|version| version == state.version);
                let lease = Some(Lease { fence, holder: peer, until, asked });
                let last_fence = fence.unwrap_or(state.last_fence);
                (free && newer && fits).then_some(State { lease, last_fence, ..*state })
            }
            Transition::Renew { fence, until } => {
                let lease = own(fence)?;
                Some(State { lease: Some(Lease { until: lease.until.max(until), ..lease }), ..*state })
            }
            Transition::Expire { fence, holder, at } => {
                let lease = state.lease.filter(|lease| lease.fence == fence && lease.holder == holder)?;
                (lease.until <= at).then_some(State { lease: None, ..*state })
            }
            Transition::Release { fence } => {
                Some(State { lease: state.lease.filter(|lease| lease.fence != Some(fence)), ..*state })
            }
            Transition::Publish { fence, named, version, hash, keep } => {
                let next = state.version + 1;
                let fits = named.is_none_or(|named| named == next) && version.is_none_or(|version| version == next);
                let allowed = match fence {
                    Some(fence) => own(fence).is_some(),
                    None => state.version == 0,
                };
                let lease = state.lease.filter(|_| keep || fence.is_none());
                (fits && allowed).then_some(State { version: next, hash, lease, ..*state })
            }
            Transition::Read { version, hash } => (state.version == version && state.hash == hash).then_some(*state),
            Transition::Over { fence } => own(fence).is_none().then_some(*state),
            Transition::Taken { holder } => state.lease.is_some_and(|lease| lease.holder == holder).then_some(*state),
        }
    }

    fn is_pure(&self, op: &Transition) -> bool {
        matches!(op, Transition::Read { .. } | Transition::Over { .. } | Transition::Taken { .. })
    }
}

impl File {
    /// Whether the peer may have registered again after it asked for a lease (L4).
    fn again(&self, peer: Sign, asked: Micros) -> bool {
        self.registered.get(&peer).is_some_and(|ends| ends.iter().any(|&end| end > asked))
    }
}
