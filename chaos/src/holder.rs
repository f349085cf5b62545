//! A lease holder in its own process, so that it can be stopped as a whole: takes the lease of one file through
//! the library, works under it for a while, and publishes, whatever the time.
//!
//! Invariants: every line of its history is written before the request it describes is sent; its clock is the
//! one of the process that started it, so that both histories are one.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use client::cluster::{IndexClient, Options};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::history::{Answer, Event, Micros, OpId, Record};
use crate::recorder::monotonic_us;
use crate::workload::library::{call, outcome_record};
use crate::workload::write::{Lease, Write};

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
    history: File,
    next: OpId,
    rng: StdRng,
}

/// Works until it is killed.
pub async fn run(arguments: HolderArgs) -> anyhow::Result<()> {
    let history = OpenOptions::new().create(true).append(true).open(&arguments.history);
    let mut holder = Holder {
        index: IndexClient::new(Options::new(arguments.servers.iter().cloned()))?,
        history: history.with_context(|| format!("cannot write {}", arguments.history.display()))?,
        next: arguments.first_op,
        rng: StdRng::seed_from_u64(arguments.seed),
        arguments,
    };
    let register = Write::register(&holder.arguments.name, false);
    while holder.call(&register).await?.is_none() {
        tokio::time::sleep(PAUSE).await;
    }
    loop {
        if !holder.work().await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Holder {
    /// One call of the library, and what it was answered.
    async fn call(&mut self, write: &Write) -> anyhow::Result<Option<(Answer, Value)>> {
        let id = self.next;
        self.next += 1;
        let (client, op) = (self.arguments.name.clone(), write.op.clone());
        self.write(Record::Invoke { id, client, op, key: None, to: None })?;
        let result = call(&self.index, write, Some(PATIENCE), || self.now()).await;
        self.write(outcome_record(id, result.as_ref().map(|(answer, _)| answer.clone())))?;
        Ok(result.ok())
    }

    /// One lease; true if it was granted.
    async fn work(&mut self) -> anyhow::Result<bool> {
        let HolderArgs { name, file, ttl_ms, .. } = &self.arguments;
        let acquire = Write::acquire(name, file, *ttl_ms, true);
        let Some((answer, value)) = self.call(&acquire).await? else { return Ok(false) };
        let Some(lease) = Lease::granted(&acquire, &answer, &value) else { return Ok(false) };
        // It may be stopped here, and it does not check the clock afterwards.
        tokio::time::sleep(WORKS).await;
        let publish = lease.publish(&mut self.rng, false);
        Ok(self.call(&publish).await?.is_some())
    }

    fn now(&self) -> Micros {
        monotonic_us().saturating_sub(self.arguments.began)
    }

    fn write(&mut self, record: Record) -> anyhow::Result<()> {
        let line = serde_json::to_string(&Event { at: self.now(), record })?;
        // One call, without a buffer: a line is whole or not there.
        self.history.write_all(format!("{line}\n").as_bytes()).context("cannot write the history")
    }
}
