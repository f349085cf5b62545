//! A lease holder in a process of its own, so that it can be stopped as a whole: takes the lease of one file through
//! the library, works under it for a while, and publishes, whatever the time.
//!
//! Invariants: every line of its history is in the file before the request that it tells of is sent; its clock is the
//! one of the process that started it, so that both histories are one.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use client::api::{AnnounceRequest, FileEntry, LeaseRequest, RegisterRequest};
use client::cluster::{Error, IndexClient, LeaseAnswer, Options};
use raft_store::types::{FileName, PeerId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::history::{Answer, Event, Micros, Op, OpId, Record};
use crate::recorder::monotonic_us;
use crate::workload::{code_text, fresh_hash};

/// How long it works under a lease before it publishes.
pub const WORKS: Duration = Duration::from_millis(300);
/// How long it waits in line.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// What the process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct HolderArgs {
    /// Base URLs of the nodes
    #[arg(long, value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Its name, as a client and as a peer
    #[arg(long)]
    pub name: String,
    /// The file it works on
    #[arg(long)]
    pub file: String,
    /// Lease duration in milliseconds
    #[arg(long)]
    pub ttl_ms: u64,
    /// Where its part of the history goes
    #[arg(long)]
    pub history: PathBuf,
    /// When the run began, in microseconds of the monotonic clock
    #[arg(long)]
    pub began: u64,
    /// Number of its first operation
    #[arg(long)]
    pub first_op: OpId,
    /// Seed of what it draws
    #[arg(long)]
    pub seed: u64,
}

struct Holder {
    arguments: HolderArgs,
    index: IndexClient,
    peer: PeerId,
    file: FileName,
    history: File,
    next: OpId,
    rng: StdRng,
}

/// Works until it is killed.
pub async fn run(arguments: HolderArgs) -> anyhow::Result<()> {
    let history = OpenOptions::new().create(true).append(true).open(&arguments.history);
    let mut holder = Holder {
        index: IndexClient::new(Options::new(arguments.servers.iter().cloned()))?,
        peer: PeerId::parse(arguments.name.clone())?,
        file: FileName::parse(arguments.file.clone())?,
        history: history.with_context(|| format!("cannot write {}", arguments.history.display()))?,
        next: arguments.first_op,
        rng: StdRng::seed_from_u64(arguments.seed),
        arguments,
    };
    while !holder.register().await? {
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        if !holder.work().await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Holder {
    async fn register(&mut self) -> anyhow::Result<bool> {
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
        let id = self.invoke(Op::Register { peer: self.peer.to_string() })?;
        let outcome = self.index.register(&request).await;
        self.write(outcome_record(id, outcome.map(|_| Answer::Done)))
    }

    /// One lease; true if it was granted.
    async fn work(&mut self) -> anyhow::Result<bool> {
        let ttl_ms = self.arguments.ttl_ms;
        let (peer_id, file_name) = (self.peer.clone(), self.file.clone());
        let request = LeaseRequest { peer_id, file_name, ttl_ms: Some(ttl_ms), wait: None, wait_ms: None };
        let (peer, file) = (self.peer.to_string(), self.file.to_string());
        let id = self.invoke(Op::Acquire { peer: peer.clone(), file: file.clone(), ttl_ms, wait: true })?;
        let grant = match self.index.acquire_waiting(&request, Some(PATIENCE), |_| {}).await {
            Ok(LeaseAnswer::Granted(grant)) => grant,
            Ok(LeaseAnswer::Denied(denied)) => {
                let answer = Answer::Denied { holder: denied.holder.to_string(), position: denied.position };
                self.write(Record::Ok { id, answer, seen: None })?;
                return Ok(false);
            }
            Err(error) => return self.write(outcome_record(id, Err(error))).map(|_| false),
        };
        let age = Micros::try_from(grant.sent.elapsed().as_micros()).unwrap_or(Micros::MAX);
        let answer = Answer::Granted {
            fence: grant.response.fencing_token,
            ttl_ms: grant.response.ttl_ms,
            version: grant.response.version,
            sent: Some(self.now().saturating_sub(age)),
        };
        self.write(Record::Ok { id, answer, seen: None })?;
        // In here it may be stopped, and it does not look at the clock afterwards.
        tokio::time::sleep(WORKS).await;
        let hash = fresh_hash(&mut self.rng);
        let fence = Some(grant.response.fencing_token);
        let hashed = hash.to_string();
        let id = self.invoke(Op::Publish { peer, file, fence, version: None, hash: hashed, keep: false })?;
        let entry = FileEntry { name: self.file.clone(), version: None, size: Some(1), hash };
        let request = AnnounceRequest {
            peer_id: self.peer.clone(),
            file: Some(entry),
            files: None,
            lease_token: Some(grant.response.lease_token),
            keep_lease: None,
        };
        let outcome = self.index.announce(&request).await;
        self.write(outcome_record(id, outcome.map(|answer| Answer::Published { version: answer.version })))
    }

    fn now(&self) -> Micros {
        monotonic_us().saturating_sub(self.arguments.began)
    }

    fn invoke(&mut self, op: Op) -> anyhow::Result<OpId> {
        let id = self.next;
        self.next += 1;
        self.write(Record::Invoke { id, client: self.arguments.name.clone(), op, key: None, to: None })?;
        Ok(id)
    }

    /// Writes a line; true if it tells of a success.
    fn write(&mut self, record: Record) -> anyhow::Result<bool> {
        let done = matches!(record, Record::Ok { .. });
        let line = serde_json::to_string(&Event { at: self.now(), record })?;
        // One call, without a buffer: a line is whole or not there.
        self.history.write_all(format!("{line}\n").as_bytes()).context("cannot write the history")?;
        Ok(done)
    }
}

fn outcome_record(id: OpId, outcome: Result<Answer, Error>) -> Record {
    match outcome {
        Ok(answer) => Record::Ok { id, answer, seen: None },
        Err(Error::Refused(problem) | Error::Unavailable(problem) | Error::TooStale(problem)) => {
            Record::Refused { id, code: code_text(problem.code), detail: problem.detail }
        }
        Err(error) => Record::Unknown { id, reason: error.to_string() },
    }
}
