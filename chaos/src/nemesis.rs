//! Carries out the schedule: faults, and waiting until the cluster takes writes again.
//!
//! Invariant: a fault is written down as installed only after its effect was confirmed; one that could not be tried is
//! skipped, with the reason, and a run whose faults were skipped is invalid.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use client::contract::LeaderInfo;
use raft_store::types::NodeId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, ClusterError, READY_WITHIN};
use crate::fault::{Arena, Effect, Families, Fault};
use crate::history::{FaultName, FaultOutcome, FaultRecord, Micros, Record};
use crate::recorder::Recorder;
use crate::scenario::{Step, Target};
use crate::schedule::Action;
use crate::workload::write::Write;
use crate::workload::{RawClient, RawOutcome};

/// How long to wait for somebody to lead before a fault on the leader is skipped.
const LEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for a client to send a lease update.
const UPDATE_WITHIN: Duration = Duration::from_secs(5);
/// How long writes may stay away before the wait is given up; the checkers demand less.
const WRITES_WITHIN: Duration = Duration::from_secs(20);
/// Limit of one probing write.
const PROBE_WITHIN: Duration = Duration::from_millis(250);
/// How long a node may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two probes of one node.
const PROBE_PAUSE: Duration = Duration::from_millis(3);

/// Breaks the cluster on purpose.
#[derive(Debug)]
pub struct Nemesis<'a> {
    cluster: &'a mut Cluster,
    families: &'a mut Families,
    recorder: Recorder,
    updates: watch::Receiver<u64>,
    raw: RawClient,
    round: u32,
    last_fault: Option<Instant>,
    /// Time from each fault to the next acknowledged write.
    recoveries: Vec<Micros>,
    story: Vec<String>,
}

impl<'a> Nemesis<'a> {
    /// Works on `cluster`; `updates` counts the lease updates that clients send.
    pub fn new(
        cluster: &'a mut Cluster,
        families: &'a mut Families,
        recorder: Recorder,
        updates: watch::Receiver<u64>,
    ) -> Result<Self, reqwest::Error> {
        let raw = RawClient::new(Arc::new(cluster.urls()))?;
        let (recoveries, story) = (Vec::new(), Vec::new());
        Ok(Self { cluster, families, recorder, updates, raw, round: 0, last_fault: None, recoveries, story })
    }

    /// Carries out one round and tells in one line what happened.
    pub async fn round(&mut self, round: u32, actions: &[Action]) -> anyhow::Result<String> {
        self.round = round;
        self.story.clear();
        for action in actions {
            self.act(*action).await?;
            self.note_exits();
        }
        Ok(self.story.join(" · "))
    }

    /// Time from each fault to the next acknowledged write, so far.
    pub fn recoveries(&self) -> &[Micros] {
        &self.recoveries
    }

    async fn act(&mut self, Action { step, lasts, seed }: Action) -> anyhow::Result<()> {
        match step {
            Step::Traffic(_) => tokio::time::sleep(lasts).await,
            Step::AfterUpdate(_) => self.after_update(lasts).await,
            Step::Kill(target) => self.strike(FaultName::Kill, target).await?,
            Step::Stop(target) => self.strike(FaultName::Stop, target).await?,
            Step::Terminate(target) => self.strike(FaultName::Terminate, target).await?,
            Step::Fault(fault) => self.inject(fault, seed).await?,
            Step::Heal => self.heal().await?,
            Step::Continue => {
                for node in self.cluster.resume_all()? {
                    self.record(FaultName::Continue, Some(node), None, FaultOutcome::Installed);
                }
            }
            Step::Restart => {
                for node in self.cluster.restart_dead()? {
                    self.record(FaultName::Restart, Some(node), None, FaultOutcome::Installed);
                }
            }
            Step::NoMajority(_) => self.no_majority(lasts).await,
            Step::AwaitReady => self.await_ready().await?,
            Step::AwaitWrites => {
                self.await_writes().await;
            }
            Step::AwaitWritesWithin(most_ms) => {
                let (after, most) = (self.await_writes().await, Duration::from_millis(most_ms));
                if after > most {
                    let what = format!("no write was acknowledged for {after:.2?} after a fault, {most:?} are allowed");
                    self.recorder.record(Record::Misbehaved { what });
                }
            }
            Step::OneOf(_) | Step::OneIn(..) => bail!("a schedule has no choices left"),
        }
        Ok(())
    }

    async fn await_ready(&mut self) -> anyhow::Result<()> {
        match self.cluster.wait_ready(READY_WITHIN).await {
            Ok(()) => {}
            Err(error @ ClusterError::NotReady { .. }) => {
                self.story.push(error.to_string());
                self.recorder.record(Record::NotHealed { reason: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Records the span in the history: the checkers examine what clients are told during it.
    async fn no_majority(&mut self, duration: Duration) {
        self.recorder.record(Record::Quorum { without: self.cluster.living(), majority: false });
        tokio::time::sleep(duration).await;
        self.recorder.record(Record::Quorum { without: Vec::new(), majority: true });
    }

    async fn after_update(&mut self, delay: Duration) {
        self.updates.mark_unchanged();
        match tokio::time::timeout(UPDATE_WITHIN, self.updates.changed()).await {
            Ok(Ok(())) => tokio::time::sleep(delay).await,
            Ok(Err(_)) | Err(_) => self.story.push("no lease update was sent".into()),
        }
    }

    /// Sends a signal to the nodes that a target means.
    async fn strike(&mut self, fault: FaultName, target: Target) -> anyhow::Result<()> {
        let Some((nodes, leader)) = self.aim(target, fault).await else { return Ok(()) };
        self.last_fault = Some(Instant::now());
        for node in nodes {
            let words = match fault {
                FaultName::Kill => self.cluster.kill(node).map(|()| "kill -9")?,
                FaultName::Stop => self.cluster.stop(node).map(|()| "SIGSTOP")?,
                _ => {
                    let status = self.cluster.terminate(node, ENDS_WITHIN).await?;
                    if !status.success() {
                        self.recorder.record(Record::Exit { node, status: format!("after SIGTERM: {status}") });
                        continue;
                    }
                    "SIGTERM"
                }
            };
            self.hit(fault, words, node, &leader);
        }
        Ok(())
    }

    async fn inject(&mut self, fault: Fault, seed: u64) -> anyhow::Result<()> {
        let leader = self.cluster.wait_leader(LEADER_WITHIN).await;
        self.last_fault = Some(Instant::now());
        let rng = StdRng::seed_from_u64(seed);
        let mut arena =
            Arena { cluster: self.cluster, leader: leader.clone(), rng, recorder: &self.recorder, round: self.round };
        let effects = self.families.inject(fault, &mut arena).await?;
        self.tell(effects, &leader);
        Ok(())
    }

    async fn heal(&mut self) -> anyhow::Result<()> {
        let rng = StdRng::seed_from_u64(u64::from(self.round));
        let mut arena = Arena { cluster: self.cluster, leader: None, rng, recorder: &self.recorder, round: self.round };
        let effects = self.families.heal(&mut arena).await?;
        // A wait for writes after healing asks how long the healed cluster takes, not how long the fault lasted.
        self.last_fault = Some(Instant::now());
        self.tell(effects, &None);
        Ok(())
    }

    fn tell(&mut self, effects: Vec<Effect>, leader: &Option<LeaderInfo>) {
        for Effect { fault, node, words, outcome } in effects {
            let led = leader.as_ref().filter(|leader| Some(leader.id) == node);
            self.record(fault, node, led.map(|leader| leader.term), outcome);
            self.story.push(words);
        }
    }

    /// Picks the nodes to hit. Finding the leader takes a moment, so it is done before the fault's clock starts.
    async fn aim(&mut self, target: Target, fault: FaultName) -> Option<(Vec<NodeId>, Option<LeaderInfo>)> {
        let leader = match target {
            // Quick path: nearly always somebody leads, and the moment after an update must not pass.
            _ if target.needs_leader() => self.cluster.wait_leader(LEADER_WITHIN).await,
            Target::All => None,
            _ => self.cluster.leader().await,
        };
        let leads = leader.as_ref().map(|leader| leader.id);
        let nodes = target.among(&self.cluster.ids(), &self.cluster.living(), leads, self.round);
        if nodes.is_empty() {
            self.record(fault, None, None, FaultOutcome::Skipped("nobody leads, or it is down already".into()));
            self.story.push(format!("{fault} skipped: nobody to hit"));
            return None;
        }
        Some((nodes, leader))
    }

    fn hit(&mut self, fault: FaultName, words: &str, node: NodeId, leader: &Option<LeaderInfo>) {
        let term = leader.as_ref().filter(|leader| leader.id == node).map(|leader| leader.term);
        self.record(fault, Some(node), term, FaultOutcome::Installed);
        self.story.push(match term {
            Some(term) => format!("{words} n{node} (leader, term {term})"),
            None => format!("{words} n{node}"),
        });
    }

    /// Returns how long it took since the last fault.
    async fn await_writes(&mut self) -> Duration {
        let since = self.last_fault.unwrap_or_else(Instant::now);
        let mut probes = JoinSet::new();
        for node in self.cluster.living() {
            let (raw, server) = (self.raw.clone(), self.cluster.server(node));
            probes.spawn(probe(raw, server));
        }
        let acknowledged = tokio::time::timeout(WRITES_WITHIN, probes.join_next()).await.is_ok();
        let after = since.elapsed();
        let after_us = Micros::try_from(after.as_micros()).unwrap_or(Micros::MAX);
        self.recoveries.push(after_us);
        self.recorder.record(Record::Recovered { round: self.round, after_us });
        self.story.push(if acknowledged {
            let leader = self.cluster.leader().await.map_or("?".to_owned(), |leader| format!("n{}", leader.id));
            format!("writes back in {:.2} s (leader {leader})", after.as_secs_f64())
        } else {
            format!("NO WRITE acknowledged for {:.0} s", after.as_secs_f64())
        });
        after
    }

    /// Writes down nodes that ended though nobody killed them.
    pub fn note_exits(&mut self) {
        for (node, status) in self.cluster.ended() {
            if self.cluster.exit_is_expected(node) {
                self.recorder.record(Record::ExpectedExit { node, status });
            } else {
                self.story.push(format!("n{node} ENDED BY ITSELF: {status}"));
                self.recorder.record(Record::Exit { node, status });
            }
        }
    }

    fn record(&self, fault: FaultName, node: Option<NodeId>, term: Option<u64>, outcome: FaultOutcome) {
        let (round, led) = (self.round, term.is_some());
        self.recorder.record(Record::Fault(FaultRecord { round, fault, node, led, term, outcome }));
    }
}

/// Writes through one node until a write is acknowledged.
async fn probe(raw: RawClient, server: usize) {
    let write = Write::register("probe", false);
    while !matches!(raw.write(server, &write, None, PROBE_WITHIN).await, RawOutcome::Ok(..)) {
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}
