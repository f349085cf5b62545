//! Writers inside the leader's process, without HTTP: what the write path itself takes.
//!
//! Invariant: the node is the product's, assembled as the program assembles it, on the data of the member whose place
//! it takes; the other two are processes of their own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use node::config::{Bootstrap, Config};
use node::node::Node;
use node::start::{Environment, open_options, run_on};
use node::sys::clock::Monotonic;
use node::sys::net::SystemNet;
use raft_store::catalog::{Announce, Command, Holding, KeyTag, Listing, Op, Register};
use raft_store::storage::Storage;
use raft_store::types::{ContentHash, FileName, PeerId};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::samples::Samples;
use super::{Bench, Figure};
use crate::cluster::READY_WITHIN;

/// How long leadership may take to come to the node.
const LEADS_WITHIN: Duration = Duration::from_secs(20);
/// Goes before each count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Room for a name or a key.
const TEXT_BYTES: usize = 48;
/// Numbers of writers, and what they ought to reach together.
const WRITERS: [(usize, &str); 3] = [(1, ""), (100, ""), (500, "≥ 80,000")];

pub(super) async fn measure(bench: &mut Bench) -> anyhow::Result<Vec<Figure>> {
    let hosted = Hosted::start(bench).await?;
    let figures = counts(&hosted, bench).await;
    // After a failure as well: the next measurement must not share this process with the node.
    let stopped = hosted.stop().await;
    let figures = figures?;
    stopped?;
    Ok(figures)
}

async fn counts(hosted: &Hosted, bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let duration = Duration::from_secs(if bench.quick { 2 } else { 8 });
    let mut figures = Vec::new();
    for (writers, target) in WRITERS {
        hosted.take_leadership(bench).await?;
        figures.push(count(&hosted.node, writers, duration).await?.with_target(target));
    }
    Ok(figures)
}

/// A node in this process.
struct Hosted {
    node: Arc<Node>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Hosted {
    /// Takes the place of a follower.
    async fn start(bench: &mut Bench) -> anyhow::Result<Self> {
        let leader = bench.cluster.wait_leader(READY_WITHIN).await.context("nobody leads")?;
        let id = bench.cluster.ids().into_iter().find(|id| *id != leader.id).context("there is no follower")?;
        let plan = bench.cluster.plan(id).context("it has no plan")?.clone();
        bench.cluster.kill(id)?;
        let config = Config {
            id,
            listen: plan.listen.parse()?,
            advertise: plan.advertise.clone(),
            data: plan.data.clone(),
            bootstrap: Bootstrap::Wait,
            replicas: 2,
            lease_ttl: Duration::from_secs(60),
            peer_ttl: Duration::from_secs(45),
            grace: Duration::ZERO,
            heartbeat: Duration::from_millis(40),
            election: (Duration::from_millis(120), Duration::from_millis(240)),
            snapshot_every: None,
            reject_writes_on_followers: false,
            v0: true,
            insecure: false,
        };
        let listener = TcpListener::bind(config.listen).await.context("cannot listen in the follower's place")?;
        let (data, options) = (config.data.clone(), open_options(&config));
        let storage = tokio::task::spawn_blocking(move || Storage::open(&data, &options)).await??;
        let (bound, net) = (listener.local_addr()?, Arc::new(SystemNet::new()?));
        let environment = Environment { listener, bound, net, storage, clock: Monotonic::default() };
        let (started, node) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let tell = |node: &Arc<Node>| drop(started.send(node.clone()));
            run_on(environment, config, tell, async { drop(stopped.await) }).await.map(|_ended| ())
        });
        let node = node.await.context("the node did not start")?;
        Ok(Self { node, stop, running })
    }

    /// Asks the leader to hand over until this node leads.
    async fn take_leadership(&self, bench: &Bench) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let until = Instant::now() + LEADS_WITHIN;
        while !self.node.leads() {
            if Instant::now() > until {
                bail!("the node did not come to lead within {} s", LEADS_WITHIN.as_secs());
            }
            if let Some(leader) = bench.cluster.leader().await.filter(|leader| leader.id != self.node.config.id) {
                let url = format!("http://{}/cluster/transfer", leader.address);
                // A refusal means that this node has to catch up first; it is asked again.
                let _ = http.post(url).json(&json!({"id": self.node.config.id})).send().await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        let Self { node, stop, running } = self;
        drop(node);
        let _ = stop.send(());
        running.await?
    }
}

/// Writes of `writers` tasks for `duration`.
async fn count(node: &Arc<Node>, writers: usize, duration: Duration) -> anyhow::Result<Figure> {
    let began = Instant::now();
    let (from, until) = (began + WARM_UP, began + WARM_UP + duration);
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (node, peer) = (node.clone(), PeerId::parse(format!("in-{writers}-{writer}"))?);
        tasks.spawn(write(node, peer, from, until));
    }
    let (mut samples, mut errors) = (Samples::default(), 0);
    while let Some(done) = tasks.join_next().await {
        let (latencies, failed) = done??;
        latencies.into_iter().for_each(|latency| samples.add(latency));
        errors += failed;
    }
    let what = format!("announces/s, {writers} writers in the leader's process");
    let per_second = samples.count() as f64 / duration.as_secs_f64();
    Ok(Figure::of("in-process", what, per_second, "writes/s").with_samples(&samples).with_errors(errors))
}

async fn write(node: Arc<Node>, peer: PeerId, from: Instant, until: Instant) -> anyhow::Result<(Vec<Duration>, u64)> {
    let register = Register {
        peer: peer.clone(),
        address: "http://127.0.0.1:9".into(),
        zone: None,
        capacity_bytes: None,
        serving: false,
        listing: Listing::Whole(Vec::new()),
    };
    node.proposer.propose_op(Op::Register(register)).await?;
    let (mut latencies, mut errors) = (Vec::new(), 0);
    // One reading of the clock for each write: where the last one ended, the next begins.
    let mut sent = Instant::now();
    for sequence in 1_u64.. {
        if sent >= until {
            break;
        }
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&sequence.to_le_bytes());
        let hash = ContentHash(hash);
        let name = FileName::parse(text(format_args!("load/{peer}/{sequence}")))?;
        let holding = Holding { name, version: None, size: Some(1), hash };
        let op = Op::Announce(Announce { peer: peer.clone(), holding, token: None, keep_lease: false });
        let key = KeyTag { key: text(format_args!("{peer}:{sequence}")), chunk: 0, floor: Some(sequence), body: hash };
        let written = node.proposer.propose(Command { key: Some(key), op }).await;
        let done = Instant::now();
        match written {
            Ok(committed) if committed.outcome.result.is_ok() => {
                if done >= from && done < until {
                    latencies.push(done - sent);
                }
            }
            Ok(_) | Err(_) => errors += 1,
        }
        sent = done;
    }
    Ok((latencies, errors))
}

/// A short text, in memory that is asked for once: the generator shares the processors with what it measures.
fn text(parts: fmt::Arguments<'_>) -> String {
    let mut text = String::with_capacity(TEXT_BYTES);
    // A string takes in everything.
    let _ = fmt::Write::write_fmt(&mut text, parts);
    text
}
