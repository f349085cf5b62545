//! A client that uses the library: takes leases, some by waiting in line, renews, publishes, releases, and sometimes
//! lets a lease run out and publishes all the same.
//!
//! Invariant: it acts only through `client::cluster::IndexClient`, so that the library's
//! repeats and keys are what is tested.

use std::time::Duration;

use client::api::{AnnounceRequest, FileEntry, LeaseRequest, RegisterRequest, ReleaseRequest, RenewRequest};
use client::cluster::{Error, Grant, IndexClient, LeaseAnswer, Options};
use raft_store::types::{FileName, LeaseToken, PeerId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Context, WorkloadError, fresh_hash};
use crate::history::{Answer, Micros, Op, OpId};

/// Limit of one call of a patient client.
const PATIENT: Duration = Duration::from_secs(8);
/// Limit of one call of an impatient one: shorter than a failover, so that outcomes stay unknown.
const IMPATIENT: Duration = Duration::from_millis(250);
/// Shortest and longest wait in line.
const WAIT: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(1_500);

/// Names of patient clients begin with it.
pub(crate) const PATIENT_PREFIX: &str = "client-";

pub(super) struct LeaseClient {
    context: Context,
    index: IndexClient,
    name: String,
    peer: PeerId,
    private: FileName,
    rng: StdRng,
}

/// A lease this client believes to have.
struct Held {
    file: FileName,
    token: LeaseToken,
    fence: u64,
    ttl_ms: u64,
    version: u64,
}

impl LeaseClient {
    pub(super) fn new(context: Context, number: usize, seed: u64) -> Result<Self, WorkloadError> {
        let mut options = Options::new(context.servers.iter().cloned());
        let patient = number % 3 != 2;
        options.deadline = if patient { PATIENT } else { IMPATIENT };
        Ok(Self {
            index: IndexClient::new(options)?,
            name: if patient { format!("{PATIENT_PREFIX}{number}") } else { format!("hasty-{number}") },
            peer: PeerId::parse(format!("peer-{number}"))?,
            private: FileName::parse(format!("private/{number}.txt"))?,
            rng: StdRng::seed_from_u64(seed),
            context,
        })
    }

    pub(super) async fn run(mut self) {
        while !self.context.is_over() && !self.register().await {}
        // The first version of a name needs no lease (F3).
        let private = self.private.clone();
        self.announce(&private, None, Some(1), false).await;
        while !self.context.is_over() {
            let file = if self.rng.random_bool(0.85) {
                let Ok(file) = self.context.shared_file(&mut self.rng) else { return };
                file
            } else {
                self.private.clone()
            };
            if let Some(held) = self.acquire(file).await {
                self.use_lease(held).await;
            }
            let pause = self.rng.random_range(0..=self.context.workload.pause_ms);
            self.context.pause(Duration::from_millis(pause)).await;
        }
    }

    async fn register(&mut self) -> bool {
        let request = RegisterRequest {
            peer_id: self.peer.clone(),
            address: "http://127.0.0.1:9".into(),
            files: Some(Vec::new()),
            zone: None,
            capacity_bytes: None,
            listing: None,
            digest: None,
            count: None,
            serving: Some(false),
        };
        let id = self.context.invoke(&self.name, Op::Register { peer: self.peer.to_string() });
        match self.index.register(&request).await {
            Ok(_) => {
                self.context.ok(id, Answer::Done, None);
                true
            }
            Err(error) => {
                self.context.failed(id, &error);
                self.context.pause(Duration::from_millis(50)).await;
                false
            }
        }
    }

    async fn acquire(&mut self, file: FileName) -> Option<Held> {
        let ttl_ms = self.context.ttl_ms(&mut self.rng);
        let wait = self.rng.random_bool(0.3);
        let request = LeaseRequest {
            peer_id: self.peer.clone(),
            file_name: file.clone(),
            ttl_ms: Some(ttl_ms),
            wait: None,
            wait_ms: None,
        };
        let op = Op::Acquire { peer: self.peer.to_string(), file: file.to_string(), ttl_ms, wait };
        let id = self.context.invoke(&self.name, op);
        let result = if wait {
            let patience = self.rng.random_range(WAIT);
            self.index.acquire_waiting(&request, Some(patience), |_| {}).await
        } else {
            self.index.acquire(&request).await
        };
        match result {
            Ok(LeaseAnswer::Granted(grant)) => {
                self.context.ok(id, self.granted(&grant), None);
                let response = grant.response;
                let (token, fence, version) = (response.lease_token, response.fencing_token, response.version);
                Some(Held { file, token, fence, ttl_ms, version })
            }
            Ok(LeaseAnswer::Denied(denied)) => {
                let answer = Answer::Denied { holder: denied.holder.to_string(), position: denied.position };
                self.context.ok(id, answer, None);
                None
            }
            Err(error) => {
                self.context.failed(id, &error);
                None
            }
        }
    }

    fn granted(&self, grant: &Grant) -> Answer {
        // Now first, then the age: the difference is never later than the moment of sending.
        let now = self.context.recorder.now();
        let age = Micros::try_from(grant.sent.elapsed().as_micros()).unwrap_or(Micros::MAX);
        Answer::Granted {
            fence: grant.response.fencing_token,
            ttl_ms: grant.response.ttl_ms,
            version: grant.response.version,
            sent: Some(now.saturating_sub(age)),
        }
    }

    async fn use_lease(&mut self, held: Held) {
        for _ in 0..self.rng.random_range(0..3) {
            let lives = if self.rng.random_bool(0.5) {
                self.renew(&held).await
            } else {
                // No version: the index takes the next one, so a repeat that is applied twice would show (F5).
                self.announce(&held.file, Some((held.token, held.fence)), None, true).await
            };
            if !lives {
                return;
            }
        }
        match self.rng.random_range(0..10) {
            0..6 => {
                let version = self.rng.random_bool(0.1).then_some(held.version + 1);
                self.announce(&held.file, Some((held.token, held.fence)), version, false).await;
            }
            6..8 => self.release(&held).await,
            8 => {}
            _ => {
                self.context.pause(Duration::from_millis(held.ttl_ms + 100)).await;
                self.announce(&held.file, Some((held.token, held.fence)), None, false).await;
            }
        }
    }

    async fn renew(&mut self, held: &Held) -> bool {
        let request = RenewRequest {
            peer_id: self.peer.clone(),
            file_name: held.file.clone(),
            lease_token: held.token,
            ttl_ms: Some(held.ttl_ms),
        };
        let (peer, file) = (self.peer.to_string(), held.file.to_string());
        let op = Op::Renew { peer, file, fence: held.fence, ttl_ms: held.ttl_ms };
        let id = self.context.invoke(&self.name, op);
        match self.index.renew(&request).await {
            Ok(grant) => {
                self.context.ok(id, self.granted(&grant), None);
                true
            }
            Err(error) => self.goes_on(id, &error),
        }
    }

    async fn release(&mut self, held: &Held) {
        let request =
            ReleaseRequest { peer_id: self.peer.clone(), file_name: held.file.clone(), lease_token: held.token };
        let (peer, file) = (self.peer.to_string(), held.file.to_string());
        let id = self.context.invoke(&self.name, Op::Release { peer, file, fence: held.fence });
        match self.index.release(&request).await {
            Ok(()) => self.context.ok(id, Answer::Done, None),
            Err(error) => self.context.failed(id, &error),
        }
    }

    async fn announce(
        &mut self,
        file: &FileName,
        lease: Option<(LeaseToken, u64)>,
        version: Option<u64>,
        keep: bool,
    ) -> bool {
        let hash = fresh_hash(&mut self.rng);
        let entry = FileEntry { name: file.clone(), version, size: Some(1), hash };
        let request = AnnounceRequest {
            peer_id: self.peer.clone(),
            file: Some(entry),
            files: None,
            lease_token: lease.map(|(token, _)| token),
            keep_lease: keep.then_some(true),
        };
        let op = Op::Publish {
            peer: self.peer.to_string(),
            file: file.to_string(),
            fence: lease.map(|(_, fence)| fence),
            version,
            hash: hash.to_string(),
            keep,
        };
        let id = self.context.invoke(&self.name, op);
        match self.index.announce(&request).await {
            Ok(answer) => {
                self.context.ok(id, Answer::Published { version: answer.version }, None);
                true
            }
            Err(error) => self.goes_on(id, &error),
        }
    }

    /// Writes the failure down; false if the lease is of no use any more.
    fn goes_on(&self, id: OpId, error: &Error) -> bool {
        self.context.failed(id, error);
        error.is_temporary() || !error.is_definite()
    }
}
