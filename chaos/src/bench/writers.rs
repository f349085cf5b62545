//! Clients that announce in the background of other measurements: as fast as they are answered, or at a steady rate.
//!
//! Invariant: every answered request is counted with its latency and its moment, and every other one as an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::load::Connection;
use super::samples::Samples;

/// What the clients do.
#[derive(Debug, Clone)]
pub(super) struct WriterOptions {
    /// `host:port` that they write to.
    pub(super) host: String,
    /// Tells the clients and files of one measurement from those of others.
    pub(super) run: String,
    /// Clients at the same time, one connection each.
    pub(super) clients: usize,
    /// Time from one request of a client to its next; none waits for longer than the answer takes.
    pub(super) pace: Option<Duration>,
    /// Files of each client; always new ones if absent.
    pub(super) names: Option<u64>,
}

/// What they came to.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// When each request was sent, and how long its answer took; not kept for clients with a bounded
    /// set of names, which may go on for long.
    pub(super) answered: Vec<(Instant, Duration)>,
    pub(super) errors: u64,
}

impl Answers {
    /// Latencies of the requests that were sent from `from` until `until`.
    pub(super) fn between(&self, from: Instant, until: Instant) -> Samples {
        let mut samples = Samples::default();
        let sent = self.answered.iter().filter(|(sent, _)| (from..until).contains(sent));
        sent.for_each(|(_, took)| samples.add(*took));
        samples
    }
}

/// Clients at work.
#[derive(Debug)]
pub(super) struct Writers {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<Answers>,
}

impl Writers {
    /// Registers the clients, then lets them write.
    pub(super) async fn start(plan: &WriterOptions) -> anyhow::Result<Self> {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut connections = Vec::new();
        for client in 0..plan.clients {
            let mut connection = Connection::open(&plan.host).await.context("cannot connect")?;
            let peer = format!("{}-{client}", plan.run);
            register(&mut connection, &peer, false).await?;
            connections.push((connection, peer));
        }
        let mut tasks = JoinSet::new();
        for (number, (connection, peer)) in connections.into_iter().enumerate() {
            // Clients at a steady rate start one after the other, so that they do not write in step.
            let delay = plan.pace.map_or(Duration::ZERO, |pace| pace * number as u32 / plan.clients.max(1) as u32);
            let client =
                Writer { connection, peer, plan: plan.clone(), over: over.clone(), answered: answered.clone() };
            tasks.spawn(client.run(delay));
        }
        Ok(Self { over, answered, tasks })
    }

    /// Requests answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets them finish what is under way.
    pub(super) async fn stop(mut self) -> anyhow::Result<Answers> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Answers::default();
        while let Some(done) = self.tasks.join_next().await {
            let done = done?;
            all.answered.extend(done.answered);
            all.errors += done.errors;
        }
        Ok(all)
    }
}

/// Registers a peer without files.
pub(super) async fn register(connection: &mut Connection, peer: &str, serving: bool) -> anyhow::Result<()> {
    let body = format!(r#"{{"peerId":"{peer}","address":"http://127.0.0.1:9","files":[],"serving":{serving}}}"#);
    let status = connection.send("POST", "/register", "", &body).await?;
    if status != 200 {
        bail!("the registration of {peer} was answered with status {status}");
    }
    Ok(())
}

/// The body of an announcement of a file's first version, and a header with its idempotency key.
pub(super) fn announcement(peer: &str, number: u64, sequence: u64) -> (String, String) {
    let headers = format!("idempotency-key: {peer}:{sequence}\r\nidempotency-floor: {sequence}\r\n");
    let file = format!(r#"{{"name":"load/{peer}/{number}","size":1,"hash":"{number:064x}"}}"#);
    (headers, format!(r#"{{"peerId":"{peer}","file":{file}}}"#))
}

struct Writer {
    connection: Connection,
    peer: String,
    plan: WriterOptions,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, delay: Duration) -> Answers {
        let mut done = Answers::default();
        let mut ticks = self.plan.pace.map(|pace| {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + delay, pace);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            ticks
        });
        for sequence in 1_u64.. {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let number = self.plan.names.map_or(sequence, |names| sequence % names);
            let (headers, body) = announcement(&self.peer, number, sequence);
            let sent = Instant::now();
            match self.connection.send("POST", "/announce", &headers, &body).await {
                Ok(200) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if self.plan.names.is_none() {
                        done.answered.push((sent, sent.elapsed()));
                    }
                }
                Ok(_) => done.errors += 1,
                Err(_) => {
                    // The connection is broken, and this client cannot go on.
                    done.errors += 1;
                    break;
                }
            }
        }
        done
    }
}
