//! How a read is answered: by the leader if it answers at once, otherwise by a follower with a mark (R1, R2, R4).
//!
//! Invariant: an answer that was requested with `consistency=stale` is always marked [`Freshness::stale`]. No decision
//! about a lease is based on a read (R1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::de::DeserializeOwned;

use super::retry::{self, Class, Repeat};
use super::routes::Slot;
use super::transport::{Call, Failure, LEADER, Reply};
use super::write_engine::Effort;
use super::{Error, IndexClient};
use crate::contract::{self, Endpoint, ErrorCode, ReadParams, headers};
use raft_store::types::NodeId;

use contract::Consistency as Level;

/// How long one server may take for a read before it counts as silent. A strong read without a majority fails within
/// 5 s.
const READ_ATTEMPT_MAX: Duration = Duration::from_secs(6);

/// How consistent a read has to be (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// The leader's answer or, if the leader does not answer at once, a follower's that is marked as stale.
    #[default]
    Auto,
    /// Only the leader's answer, under its leader lease.
    Leader,
    /// An answer confirmed by a majority (read index).
    Linearizable,
    /// What the asked node has applied.
    Stale,
}

/// What a read accepts.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The consistency level.
    pub consistency: Consistency,
    /// The maximum staleness (R2).
    pub max_staleness: Option<Duration>,
    /// The log index that the answer has to include (R3). The client's own writes are included by default, except in
    /// answers marked as stale.
    pub min_index: Option<u64>,
}

/// An answer and its freshness.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// Which node's state it describes, and how old that state is.
    pub freshness: Freshness,
    /// `Raftshare-Total`: number of hits before the limit of a search.
    pub total: Option<u64>,
    /// `Raftshare-Cursor`: where the next page of a search begins, if there is more.
    pub cursor: Option<String>,
}

/// Which node's state an answer describes, and how old that state is (R2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The node's id.
    pub node: Option<NodeId>,
    /// The node's role: leader, follower, learner or candidate; empty if the node did not say.
    pub role: String,
    /// The node's term.
    pub term: u64,
    /// The node's applied log index.
    pub applied: u64,
    /// Age of the state in milliseconds.
    pub staleness_ms: u64,
    /// Whether the answer may miss acknowledged writes.
    pub stale: bool,
    /// Whether the answer certainly misses writes of this client.
    pub misses_own_writes: bool,
}

impl<T> Read<T> {
    /// The same answer with its value converted.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Read<U> {
        Read { value: convert(self.value), freshness: self.freshness, total: self.total, cursor: self.cursor }
    }
}

/// One way to get the answer.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    slot: Slot,
    stale: bool,
}

impl IndexClient {
    /// Asks an endpoint at the consistency level of the client's [`ReadOptions`].
    pub(super) async fn read<E: Endpoint, T: DeserializeOwned>(&self, query: &E::Query) -> Result<Read<T>, Error> {
        // Queries contain only strings and numbers, which always encode.
        let query = serde_html_form::to_string(query).unwrap_or_default();
        let mut effort = Effort::new(self.deadline());
        loop {
            self.prepare().await;
            let candidates = self.candidates().await;
            let failure = match self.race(candidates, E::PATH, &query, effort.remaining()).await {
                Ok((reply, stale)) => {
                    let value = reply.json().map_err(|detail| Error::Protocol { server: self.servers(), detail })?;
                    return Ok(Read {
                        value,
                        freshness: self.freshness(&reply, stale),
                        total: reply.number(headers::TOTAL),
                        cursor: reply.text(headers::CURSOR).map(str::to_owned),
                    });
                }
                Err(failure) => failure,
            };
            match effort.failed(failure, Repeat::Harmless) {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(Error::Unreachable { last, .. }) => {
                    return Err(Error::Unreachable { servers: self.servers(), last });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The servers to ask, best first.
    async fn candidates(&self) -> VecDeque<Candidate> {
        let leader = match self.reading.consistency {
            Consistency::Stale | Consistency::Linearizable => None,
            Consistency::Auto | Consistency::Leader => self.find_leader().await,
        };
        let turn = self.shared.routes.lock().in_turn(Instant::now());
        let strong = |slot| Candidate { slot, stale: false };
        let stale = |slot| Candidate { slot, stale: true };
        match self.reading.consistency {
            Consistency::Stale => turn.into_iter().map(stale).collect(),
            Consistency::Linearizable => turn.into_iter().map(strong).collect(),
            // Without a known leader any server may forward. More than one such request at a time does not help.
            Consistency::Leader => leader.or(turn.first().copied()).map(strong).into_iter().collect(),
            Consistency::Auto => {
                let others = turn.iter().copied().filter(|&slot| Some(slot) != leader).map(stale);
                // A leader that is cut off from its majority may be the last server that answers.
                leader.map(strong).into_iter().chain(others).chain(leader.map(stale)).collect()
            }
        }
    }

    /// Asks the candidates one after the other. A failed candidate is followed by the next at once, a silent one after
    /// the hedging delay. The first answer wins, unless it is only second best.
    async fn race(
        &self,
        mut candidates: VecDeque<Candidate>,
        path: &str,
        query: &str,
        limit: Duration,
    ) -> Result<(Reply, bool), Failure> {
        let limit = limit.min(READ_ATTEMPT_MAX);
        let ask = |candidate: Candidate| async move {
            let call = Call::get(self.target(path, query, candidate.stale));
            (candidate, self.attempt(candidate.slot, &call, limit).await)
        };
        let mut running = FuturesUnordered::new();
        let mut quiet = Quiet { client: self, asked: Vec::new(), silent: Vec::new() };
        let mut last = Failure::NotSent("no server is known".into());
        let mut second_best = None;
        loop {
            if let Some(candidate) = candidates.pop_front() {
                quiet.asked.push(candidate.slot);
                running.push(ask(candidate));
            } else if running.is_empty() {
                return second_best.unwrap_or(Err(last));
            }
            let somebody_else = !candidates.is_empty();
            tokio::select! {
                Some((candidate, result)) = running.next() => match quiet.ended(candidate.slot, result) {
                    result if self.is_second_best(&result) => {
                        second_best.get_or_insert(result.map(|reply| (reply, candidate.stale)));
                    }
                    Ok(reply) => return Ok((reply, candidate.stale)),
                    Err(failure) if is_final(&failure) => return Err(failure),
                    // A server's own error says more than a refused connection.
                    Err(failure @ Failure::NotSent(_)) => {
                        if matches!(last, Failure::NotSent(_)) {
                            last = failure;
                        }
                    }
                    Err(failure) => last = failure,
                },
                () = tokio::time::sleep(self.shared.options.hedge_after), if somebody_else || second_best.is_some() => {
                    quiet.silent.clone_from(&quiet.asked);
                    if !somebody_else && let Some(answer) = second_best.take() {
                        return answer;
                    }
                }
            }
        }
    }

    /// Whether the answer is only second best: it is a follower's that misses this client's writes or did not find the
    /// object. The follower may just have started, and another server may know better. A caller that asked for a stale
    /// read takes any answer.
    fn is_second_best(&self, answer: &Result<Reply, Failure>) -> bool {
        self.reading.consistency == Consistency::Auto
            && match answer {
                Ok(reply) => self.freshness(reply, false).misses_own_writes,
                Err(Failure::Answered { problem, by_leader }) => !by_leader && problem.code == ErrorCode::NotFound,
                Err(_) => false,
            }
    }

    fn target(&self, path: &str, query: &str, stale: bool) -> String {
        let consistency = match (stale, self.reading.consistency) {
            (true, _) => Some(Level::Stale),
            // The node's own default: the leader's answer if it comes at once, otherwise its own stale one. So a server
            // that led a moment ago answers in place of a dead successor, without waiting for the next election.
            (false, Consistency::Auto) => None,
            (false, Consistency::Linearizable) => Some(Level::Linearizable),
            (false, Consistency::Leader | Consistency::Stale) => Some(Level::Leader),
        };
        let staleness = self.reading.max_staleness;
        let max_staleness_ms = staleness.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        // A leader has every acknowledged write. An answer that may come from a follower says if it misses some.
        let own = if stale || self.reading.consistency == Consistency::Auto { 0 } else { self.last_index() };
        let min_index = self.reading.min_index.unwrap_or(0).max(own);
        let params = ReadParams { consistency, max_staleness_ms, min_index: (min_index > 0).then_some(min_index) };
        let params = serde_html_form::to_string(params).unwrap_or_default();
        let pairs: Vec<_> = [query, &params].into_iter().filter(|pairs| !pairs.is_empty()).collect();
        format!("{path}?{}", pairs.join("&"))
    }

    fn freshness(&self, reply: &Reply, stale: bool) -> Freshness {
        let applied = reply.number(headers::APPLIED).unwrap_or(0);
        let by_leader = reply.text(headers::ROLE) == Some(LEADER);
        let stale = stale || (self.reading.consistency == Consistency::Auto && !by_leader);
        Freshness {
            node: reply.number(headers::NODE),
            role: reply.text(headers::ROLE).unwrap_or_default().to_owned(),
            term: reply.number(headers::TERM).unwrap_or(0),
            applied,
            staleness_ms: reply.number(headers::STALENESS_MS).unwrap_or(0),
            stale,
            misses_own_writes: stale && applied < self.last_index(),
        }
    }
}

/// The servers of a race that have not answered. Those that were silent for the hedging delay when another one answered
/// are probed, and asked last until they answer, so that only one read waits for them.
struct Quiet<'a> {
    client: &'a IndexClient,
    /// Asked, and not answered yet.
    asked: Vec<Slot>,
    /// Of these, silent at the end of the last hedging delay.
    silent: Vec<Slot>,
}

impl Quiet<'_> {
    fn ended<T>(&mut self, slot: Slot, result: Result<T, Failure>) -> Result<T, Failure> {
        self.asked.retain(|asked| *asked != slot);
        self.silent.retain(|silent| *silent != slot);
        if !self.silent.is_empty() && matches!(result, Ok(_) | Err(Failure::Answered { .. })) {
            let mut routes = self.client.shared.routes.lock();
            self.silent.drain(..).for_each(|slot| routes.silent(slot));
            drop(routes);
            self.client.probe_due();
        }
        result
    }
}

/// Whether every other server would answer the same.
fn is_final(failure: &Failure) -> bool {
    let Failure::Answered { problem, .. } = failure else { return false };
    matches!(retry::classify(problem), Class::Decided | Class::Turned)
}
