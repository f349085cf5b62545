//! How a write reaches the leader: pick a server, attempt, learn, and retry as the retry policy says.
//!
//! Invariant: every attempt of a keyed write carries the same key and the same bytes, so that the catalog applies it
//! once (X1). An attempt without an answer never counts as "not applied".

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::Key;
use super::retry::{self, Class, Next, Repeat, Situation};
use super::routes::Slot;
use super::transport::{Call, Failure, Reply};
use super::{BootTime, Error, IndexClient};
use crate::contract::{Endpoint, ErrorCode, Problem, Response};

/// How long the first attempt may take beyond the wait it asks for. A node without a majority says so within 5 s.
const ATTEMPT_MAX: Duration = Duration::from_secs(6);
/// Time for an answer to travel back: a server is told a deadline that is this much earlier than the client's own.
const RETURN_MARGIN: Duration = Duration::from_millis(250);
/// Silence after which the other servers are asked whether another node leads.
const SUSPICION: Duration = Duration::from_millis(500);

/// The state of a call so far.
pub(super) struct Effort {
    started: BootTime,
    deadline: Duration,
    attempts: u32,
    maybe_applied: bool,
    never_connected: bool,
    last: String,
    last_class: Class,
    problem: Option<Box<Problem>>,
}

impl Effort {
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            started: BootTime::now(),
            deadline,
            attempts: 0,
            maybe_applied: false,
            never_connected: true,
            last: String::new(),
            last_class: Class::NotSent,
            problem: None,
        }
    }

    /// Remaining time; never zero, so that a last attempt can fail by itself.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(self.started.elapsed()).max(Duration::from_millis(1))
    }

    /// Records a failure: `Ok` is the pause before the next attempt, `Err` how the call ends.
    pub(super) fn failed(&mut self, failure: Failure, repeat: Repeat) -> Result<Duration, Error> {
        let class = match &failure {
            Failure::NotSent(_) => Class::NotSent,
            Failure::Silent(_) | Failure::Broken(_) => Class::Unknown,
            Failure::Answered { problem, .. } => retry::classify(problem),
        };
        self.attempts = self.attempts.saturating_add(1);
        self.never_connected &= class == Class::NotSent;
        self.last = failure.to_string();
        self.last_class = class;
        if let Failure::Answered { problem, .. } = failure {
            self.problem = Some(problem);
        }
        let situation = Situation {
            attempts: self.attempts,
            elapsed: self.started.elapsed(),
            deadline: self.deadline,
            maybe_applied: self.maybe_applied,
            never_connected: self.never_connected,
            chance: rand::random(),
        };
        self.maybe_applied |= class == Class::Unknown;
        match retry::next(class, repeat, situation) {
            Next::Again(pause) => Ok(pause),
            Next::GiveUpUnknown => Err(self.unknown()),
            Next::GiveUp => Err(self.definite(class)),
        }
    }

    fn unknown(&self) -> Error {
        Error::Unknown { after: self.started.elapsed(), last: self.last.clone() }
    }

    /// How the call ends if there is no time for another attempt. An attempt that is cut short would make a definite
    /// outcome unknown.
    fn out_of_time(&mut self) -> Option<Error> {
        if self.attempts == 0 || self.remaining() >= retry::ATTEMPT_MIN {
            return None;
        }
        Some(if self.maybe_applied { self.unknown() } else { self.definite(self.last_class) })
    }

    /// How a call ends if nothing was applied, or if the catalog decided.
    fn definite(&mut self, class: Class) -> Error {
        let after = self.started.elapsed();
        let last = self.last.clone();
        match (class, self.problem.take()) {
            (Class::Decided | Class::Turned, Some(problem)) => Error::Refused(problem),
            (Class::Unknown, _) => Error::TimedOut { after, last },
            (_, Some(problem)) if problem.code == ErrorCode::TooStale => Error::TooStale(problem),
            (_, Some(problem)) => Error::Unavailable(problem),
            (_, None) => Error::Unreachable { servers: String::new(), last },
        }
    }
}

impl IndexClient {
    /// Posts a write under an idempotency key. `hang` is how long the server is asked to wait before it answers.
    pub(super) async fn write<E: Endpoint, T: DeserializeOwned>(
        &self,
        request: &E::Request,
        hang: Duration,
    ) -> Result<(T, BootTime), Error> {
        let own = self.key.is_none().then(|| self.shared.keys.begin());
        self.write_under::<E, T>(own.as_ref(), request, hang).await
    }

    /// Posts a write under a key of the client's session, or under the client's own key.
    pub(super) async fn write_under<E: Endpoint, T: DeserializeOwned>(
        &self,
        own: Option<&Key>,
        request: &E::Request,
        hang: Duration,
    ) -> Result<(T, BootTime), Error> {
        let key = self.key.as_deref().map(str::to_owned).or_else(|| own.map(Key::header));
        let floor = own.filter(|_| self.key.is_none()).map(Key::floor);
        let call = Call { key, floor, ..Call::post(E::PATH, encode(request)) };
        self.post(call, hang, Repeat::Keyed).await
    }

    /// Posts a request without a key.
    pub(super) async fn post_unkeyed<E: Endpoint>(
        &self,
        request: &E::Request,
        hang: Duration,
        repeat: Repeat,
    ) -> Result<(Response<E>, BootTime), Error>
    where
        Response<E>: DeserializeOwned,
    {
        self.post(Call::post(E::PATH, encode(request)), hang, repeat).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        mut call: Call,
        hang: Duration,
        repeat: Repeat,
    ) -> Result<(T, BootTime), Error> {
        let mut effort = Effort::new(self.deadline().saturating_add(hang));
        let mut patience = ATTEMPT_MAX;
        loop {
            self.prepare().await;
            let leader = self.find_leader().await;
            call.forward_never = leader.is_some();
            let slot = leader.unwrap_or_else(|| self.next_server());
            // Finding the leader may have used up the time.
            if let Some(error) = effort.out_of_time() {
                return Err(self.with_servers(error));
            }
            let limit = hang.saturating_add(patience).min(effort.remaining());
            call.deadline_ms = Some(server_deadline_ms(limit));
            let failure = match self.attempt_watched(slot, &call, hang, limit, repeat).await {
                Ok(reply) => {
                    self.note_index(&reply);
                    return decode(&reply, &effort, repeat);
                }
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Silent(_)) {
                patience = patience.saturating_mul(2);
            }
            match effort.failed(failure, repeat) {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(error) => return Err(self.with_servers(error)),
            }
        }
    }

    fn with_servers(&self, error: Error) -> Error {
        match error {
            Error::Unreachable { last, .. } => Error::Unreachable { servers: self.servers(), last },
            error => error,
        }
    }

    /// The next server in turn, for when no leader is known.
    pub(super) fn next_server(&self) -> Slot {
        self.shared.routes.lock().in_turn(std::time::Instant::now()).first().copied().unwrap_or(0)
    }

    /// Makes an attempt, and gives it up early if the server stays silent while the others name a newer leader. A
    /// paused or cut-off leader would otherwise hold the call for its whole time limit.
    async fn attempt_watched(
        &self,
        slot: Slot,
        call: &Call,
        hang: Duration,
        limit: Duration,
        repeat: Repeat,
    ) -> Result<Reply, Failure> {
        let attempt = self.attempt(slot, call, limit);
        if repeat == Repeat::Once || !self.shared.options.follow_hints {
            return attempt.await;
        }
        tokio::select! {
            result = attempt => result,
            waited = self.superseded(slot, hang.saturating_add(SUSPICION)) => {
                self.shared.routes.lock().failed(slot, std::time::Instant::now());
                Err(Failure::Silent(waited))
            }
        }
    }

    /// Returns once a node other than `slot` is known to lead; asks after `quiet`, and then again and again.
    async fn superseded(&self, slot: Slot, quiet: Duration) -> Duration {
        let mut waited = quiet;
        tokio::time::sleep(quiet).await;
        loop {
            self.ask_for_leader(Some(slot)).await;
            let leader = self.shared.routes.lock().leader(std::time::Instant::now());
            if leader.is_some_and(|leader| leader != slot) {
                return waited;
            }
            tokio::time::sleep(SUSPICION).await;
            waited = waited.saturating_add(SUSPICION);
        }
    }
}

impl Call {
    pub(super) fn get(target: String) -> Self {
        Self { target, body: None, key: None, floor: None, deadline_ms: None, forward_never: false }
    }

    fn post(path: &str, body: Bytes) -> Self {
        Self { body: Some(body), ..Self::get(path.to_owned()) }
    }
}

/// The deadline to tell a server whose answer is awaited for `limit`.
fn server_deadline_ms(limit: Duration) -> u64 {
    let limit = limit.saturating_sub(RETURN_MARGIN.min(limit / 4));
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn encode<B: Serialize>(body: &B) -> Bytes {
    // The contract's types contain only strings, numbers and lists of them, which always encode.
    Bytes::from(serde_json::to_vec(body).unwrap_or_default())
}

/// After a 2xx answer that cannot be read the outcome is unknown, except for requests that change nothing.
fn decode<T: DeserializeOwned>(reply: &Reply, effort: &Effort, repeat: Repeat) -> Result<(T, BootTime), Error> {
    reply.json().map(|value| (value, reply.sent)).map_err(|detail| {
        let last = format!("the server's answer is not the API's: {detail}");
        match repeat {
            Repeat::Harmless => Error::TimedOut { after: effort.started.elapsed(), last },
            Repeat::Keyed | Repeat::Once => Error::Unknown { after: effort.started.elapsed(), last },
        }
    })
}
