//! The writes of the contract, one method each, and the wait for a lease (L5).
//!
//! Invariant: all polls of one wait carry the same key and body, so that they are one operation whose grant is
//! remembered.

use std::time::Duration;

use raft_store::types::{PeerId, limits};
use serde::de::DeserializeOwned;

use super::retry::Repeat;
use super::{BootTime, Error, IndexClient};
use crate::contract::{
    Acquire, Announce, AnnounceManyResponse, AnnounceRequest, AnnounceResponse, Delete, DeleteRequest, DeniedResponse,
    Endpoint, FileEntry, GrantResponse, Heartbeat, HeartbeatRequest, HeartbeatResponse, LeaseRequest, LeaseResponse,
    Leave, LeaveRequest, Register, RegisterRequest, RegisterResponse, Release, ReleaseRequest, Renew, RenewRequest,
    Response,
};

/// How long one poll may wait at the server; shorter than the silence after which a waiter is dropped (L5).
const POLL_MAX: Duration = Duration::from_secs(5);
/// Shortest wait of a poll at the server, and pause after a poll that came back early.
const POLL_MIN: Duration = Duration::from_millis(100);

/// A granted lease, and when it was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The answer.
    pub response: GrantResponse,
    /// When the answered request was sent: the TTL counts from here (T4).
    pub sent: BootTime,
}

impl Grant {
    /// When the lease ends by the client's own clock; never later than at the cluster.
    pub fn ends(&self) -> BootTime {
        self.sent + Duration::from_millis(self.response.ttl_ms)
    }
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The caller has the lease.
    Granted(Grant),
    /// Another peer has the lease.
    Denied(DeniedResponse),
}

impl IndexClient {
    /// Calls any logged endpoint, under this client's own key or the next key of its session (X1).
    pub async fn call<E: Endpoint>(&self, request: &E::Request) -> Result<Response<E>, Error>
    where
        Response<E>: DeserializeOwned,
    {
        self.write::<E, _>(request, Duration::ZERO).await.map(|(answer, _)| answer)
    }

    /// Registers a peer with all its holdings, one page of them, or their digest (P1, P2).
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, Error> {
        self.write::<Register, _>(request, Duration::ZERO).await.map(|(answer, _)| answer)
    }

    /// Announces a holding, creates a file, or publishes a version under a lease (F3–F6). `request.file` must be set.
    pub async fn announce(&self, request: &AnnounceRequest) -> Result<AnnounceResponse, Error> {
        self.write::<Announce, _>(request, Duration::ZERO).await.map(|(answer, _)| answer)
    }

    /// Announces many holdings; each gets its own result, in order (X4).
    pub async fn announce_many(&self, peer: &PeerId, files: Vec<FileEntry>) -> Result<AnnounceManyResponse, Error> {
        let request = AnnounceRequest {
            peer_id: peer.clone(),
            file: None,
            files: Some(files),
            lease_token: None,
            keep_lease: None,
        };
        self.write::<Announce, _>(&request, Duration::ZERO).await.map(|(answer, _)| answer)
    }

    /// Asks for a lease once (L1–L6). With `wait` the peer stays in the wait queue; see
    /// [`IndexClient::acquire_waiting`].
    pub async fn acquire(&self, request: &LeaseRequest) -> Result<LeaseAnswer, Error> {
        let hang = Duration::from_millis(request.wait_ms.unwrap_or(0));
        let (answer, sent) = self.write::<Acquire, _>(request, hang).await?;
        Ok(match answer {
            LeaseResponse::Granted(response) => LeaseAnswer::Granted(Grant { response, sent }),
            LeaseResponse::Denied(denied) => LeaseAnswer::Denied(denied),
        })
    }

    /// Waits until the lease is granted, or for `patience` at most, and then leaves the wait queue.
    ///
    /// `on_denied` gets every answer that is not a grant, with the position in the queue. `request.wait` and
    /// `request.wait_ms` are set here.
    pub async fn acquire_waiting(
        &self,
        request: &LeaseRequest,
        patience: Option<Duration>,
        mut on_denied: impl FnMut(&DeniedResponse) + Send,
    ) -> Result<LeaseAnswer, Error> {
        let started = BootTime::now();
        let ttl = Duration::from_millis(request.ttl_ms.unwrap_or(limits::LEASE_TTL_MS_DEFAULT));
        // A grant counts from when its poll was sent (T4), so a poll must be short compared to the TTL.
        let poll = (ttl / 4).min(patience.unwrap_or(POLL_MAX)).clamp(POLL_MIN, POLL_MAX);
        let wait_ms = u64::try_from(poll.as_millis()).unwrap_or(u64::MAX);
        let request = LeaseRequest { wait: Some(true), wait_ms: Some(wait_ms), ..request.clone() };
        let own = self.shared.keys.begin();
        let keyed = if self.key.is_some() { self.clone() } else { self.with_key(own.header()) };
        let mut in_line = false;
        let unsettled = |error: Error, in_line: bool| match error {
            // This poll was not applied, but an earlier one was: the place in the queue may still lead to a grant (X3).
            Error::Unavailable(_) | Error::Unreachable { .. } if in_line => {
                Error::Unknown { after: started.elapsed(), last: error.to_string() }
            }
            other => other,
        };
        loop {
            let asked = BootTime::now();
            let denied = match keyed.acquire(&request).await.map_err(|error| unsettled(error, in_line))? {
                granted @ LeaseAnswer::Granted(_) => return Ok(granted),
                LeaseAnswer::Denied(denied) => denied,
            };
            in_line = true;
            on_denied(&denied);
            if patience.is_some_and(|patience| started.elapsed() >= patience) {
                let leave = LeaveRequest { peer_id: request.peer_id.clone(), file_name: request.file_name.clone() };
                self.without_key().leave(&leave).await.map_err(|error| unsettled(error, true))?;
                return Ok(LeaseAnswer::Denied(denied));
            }
            // A server that answers without waiting must not be asked in a tight loop.
            if asked.elapsed() < POLL_MIN {
                tokio::time::sleep(POLL_MIN).await;
            }
        }
    }

    /// Renews a lease; never shortens it (L1).
    pub async fn renew(&self, request: &RenewRequest) -> Result<Grant, Error> {
        let (response, sent) = self.write::<Renew, _>(request, Duration::ZERO).await?;
        Ok(Grant { response, sent })
    }

    /// Releases a lease.
    pub async fn release(&self, request: &ReleaseRequest) -> Result<(), Error> {
        self.write::<Release, _>(request, Duration::ZERO).await.map(|((), _)| ())
    }

    /// Leaves the wait queue; succeeds even if the peer is not in it (L5).
    pub async fn leave(&self, request: &LeaveRequest) -> Result<(), Error> {
        self.write::<Leave, _>(request, Duration::ZERO).await.map(|((), _)| ())
    }

    /// Drops one copy, or the name everywhere under a lease (F7).
    pub async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        self.write::<Delete, _>(request, Duration::ZERO).await.map(|((), _)| ())
    }

    /// Reports that a peer is alive, and fetches its tasks (P3). Not a logged write: it has no key and may be retried.
    pub async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatResponse, Error> {
        let hang = Duration::from_millis(request.wait_ms.unwrap_or(0));
        self.post_unkeyed::<Heartbeat>(request, hang, Repeat::Harmless).await.map(|(answer, _)| answer)
    }

    fn without_key(&self) -> Self {
        Self { key: None, ..self.clone() }
    }
}
