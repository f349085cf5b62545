//! Faults by family. A family prepares what its faults need before the first node starts (proxies, mounts, preloaded
//! libraries), shapes how each node is started, injects its faults, and removes them again.
//!
//! Invariants:
//! - the product's binaries run unmodified: a family works from outside, through addresses, mounts, signals, the
//!   environment, files of a process that is down, or the product's own commands;
//! - an effect is reported as installed only after it was confirmed;
//! - [`Families::heal`] leaves nothing of any fault behind, whatever was injected before.

pub mod clock;
pub mod cpu;
pub mod disk;
pub mod files;
pub mod flood;
pub mod holders;
pub mod members;
pub mod network;
pub mod peers;

use std::path::PathBuf;

use client::api::LeaderInfo;
use raft_store::types::NodeId;
use rand::rngs::StdRng;

use crate::cluster::Cluster;
use crate::history::{FaultName, FaultOutcome};
use crate::recorder::Recorder;
use crate::scenario::{Setup, Target};

/// One thing a family does to the cluster. What exactly (whom, how long, how much) it draws from the arena's generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Links between nodes.
    Network(network::Fault),
    /// What a node's disk does.
    Disk(disk::Fault),
    /// What is in a node's files.
    Files(files::Fault),
    /// What a node's clocks say.
    Clock(clock::Fault),
    /// How much processor a node gets.
    Cpu(cpu::Fault),
    /// Who belongs to the cluster.
    Members(members::Fault),
    /// Peers that share folders.
    Peers(peers::Fault),
    /// A lease holder in a process of its own.
    Holders(holders::Fault),
    /// Strangers on the nodes' ports.
    Flood,
}

/// Where a family may put things.
#[derive(Debug, Clone)]
pub struct Place {
    /// A directory of the run, for data.
    pub data: PathBuf,
    /// A directory of the run, for logs.
    pub logs: PathBuf,
    /// Where the product's binaries are; beside this program if absent.
    pub bin_dir: Option<PathBuf>,
    /// Number of nodes.
    pub nodes: u64,
    /// The nodes' processes, as the cluster starts them.
    pub pids: network::Pids,
}

/// How one node is going to be started; a family may change any of it.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// The node.
    pub id: NodeId,
    /// `host:port` it listens on.
    pub listen: String,
    /// `host:port` that other nodes and clients are told, if it is another.
    pub advertise: Option<String>,
    /// Its data directory; exists when the node is started.
    pub data: PathBuf,
    /// More arguments.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
}

impl NodePlan {
    /// The address others reach it at.
    pub fn address(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.listen)
    }
}

/// What a fault is injected into.
pub struct Arena<'a> {
    /// The nodes.
    pub cluster: &'a mut Cluster,
    /// Who led a moment ago.
    pub leader: Option<LeaderInfo>,
    /// Drawn from the seed of the run and the number of the step.
    pub rng: StdRng,
    /// For what a family has to write down besides its effects.
    pub recorder: &'a Recorder,
    /// Number of the round.
    pub round: u32,
}

impl Arena<'_> {
    /// The living nodes that a target means.
    pub fn aim(&self, target: Target) -> Vec<NodeId> {
        let leads = self.leader.as_ref().map(|leader| leader.id);
        target.among(&self.cluster.ids(), &self.cluster.living(), leads, self.round)
    }

    /// A node in words, for a round's story.
    pub fn words(&self, id: NodeId) -> String {
        match &self.leader {
            Some(leader) if leader.id == id => format!("n{id} (leader, term {})", leader.term),
            _ => format!("n{id}"),
        }
    }
}

/// This machine lacks what the scenario needs: it was skipped, and showed nothing.
#[derive(Debug, thiserror::Error)]
#[error("skipped: {0}")]
pub struct Unavailable(pub String);

/// What a fault came to.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Its name in the history, such as `cut`.
    pub fault: FaultName,
    /// On which node, if on one.
    pub node: Option<NodeId>,
    /// For the line that tells the round's story.
    pub words: String,
    /// What became of it.
    pub outcome: FaultOutcome,
}

impl Effect {
    /// An effect that was confirmed.
    pub fn installed(fault: FaultName, node: Option<NodeId>, words: impl Into<String>) -> Self {
        Self { fault, node, words: words.into(), outcome: FaultOutcome::Installed }
    }

    /// A fault that could not be tried.
    pub fn skipped(fault: FaultName, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { fault, node: None, words: format!("{fault} skipped: {why}"), outcome: FaultOutcome::Skipped(why) }
    }
}

/// The families that a scenario uses.
#[derive(Debug, Default)]
pub struct Families {
    network: Option<network::Network>,
    disk: Option<disk::Disks>,
    files: files::Files,
    clock: Option<clock::Clocks>,
    cpu: cpu::Cpu,
    flood: flood::Flood,
    members: Option<members::Members>,
    peers: Option<peers::Peers>,
    holders: Option<holders::Holders>,
}

impl Families {
    /// Prepares what the scenario's faults need.
    pub async fn prepare(setup: &Setup, place: &Place) -> anyhow::Result<Self> {
        Ok(Self {
            network: if setup.links { Some(network::Network::prepare(place).await?) } else { None },
            disk: match setup.disks {
                Some(kind) => Some(disk::Disks::prepare(kind, place).await?),
                None => None,
            },
            files: files::Files::default(),
            clock: match setup.clocks {
                Some(kind) => Some(clock::Clocks::prepare(kind, place).await?),
                None => None,
            },
            cpu: cpu::Cpu::default(),
            flood: flood::Flood::default(),
            members: if setup.spares > 0 { Some(members::Members::prepare(place).await?) } else { None },
            holders: if setup.holder { Some(holders::Holders::prepare(place).await?) } else { None },
            peers: if setup.peers > 0 { Some(peers::Peers::prepare(setup.peers, place).await?) } else { None },
        })
    }

    /// Lets every family change how a node is started.
    pub async fn shape(&mut self, plan: &mut NodePlan) -> anyhow::Result<()> {
        if let Some(network) = &mut self.network {
            network.shape(plan).await?;
        }
        if let Some(disk) = &mut self.disk {
            disk.shape(plan).await?;
        }
        if let Some(clock) = &mut self.clock {
            clock.shape(plan).await?;
        }
        Ok(())
    }

    /// Called once, when the cluster serves.
    pub async fn started(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        if let Some(peers) = &mut self.peers {
            peers.started(arena).await?;
        }
        if let Some(holders) = &mut self.holders {
            holders.started(arena).await?;
        }
        Ok(())
    }

    /// Injects a fault.
    pub async fn inject(&mut self, fault: Fault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {
            Fault::Network(fault) => match &mut self.network {
                Some(network) => network.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::Cut, "the scenario has no proxies")]),
            },
            Fault::Disk(fault) => match &mut self.disk {
                Some(disk) => disk.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::PowerCut, "the scenario has no disks of its own")]),
            },
            Fault::Flood => self.flood.inject(arena).await,
            Fault::Files(fault) => self.files.inject(fault, arena).await,
            Fault::Clock(fault) => match &mut self.clock {
                Some(clock) => clock.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::ClockJump, "the scenario has no clocks of its own")]),
            },
            Fault::Cpu(fault) => self.cpu.inject(fault, arena).await,
            Fault::Members(fault) => match &mut self.members {
                Some(members) => members.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::Change, "the scenario has no spare nodes")]),
            },
            Fault::Peers(fault) => match &mut self.peers {
                Some(peers) => peers.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::Peer, "the scenario has no peers")]),
            },
            Fault::Holders(fault) => match &mut self.holders {
                Some(holders) => holders.inject(fault, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::HolderPause, "the scenario has no holder")]),
            },
        }
    }

    /// Removes everything that was injected, before killed nodes are started and stopped ones continued.
    pub async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        if let Some(network) = &mut self.network {
            effects.extend(network.heal(arena).await?);
        }
        if let Some(disk) = &mut self.disk {
            effects.extend(disk.heal(arena).await?);
        }
        if let Some(clock) = &mut self.clock {
            effects.extend(clock.heal(arena).await?);
        }
        effects.extend(self.cpu.heal(arena).await?);
        effects.extend(self.flood.heal());
        effects.extend(self.files.heal(arena).await?);
        if let Some(members) = &mut self.members {
            effects.extend(members.heal(arena).await?);
        }
        if let Some(peers) = &mut self.peers {
            effects.extend(peers.heal(arena).await?);
        }
        Ok(effects)
    }

    /// With the workload ended: ends clients that are processes of their own, and joins their history to the run's.
    /// Returns the contents that they published, or tried to.
    pub fn end_clients(&mut self, recorder: &Recorder) -> anyhow::Result<crate::verify::Published> {
        self.holders.as_mut().map_or_else(|| Ok(Default::default()), |holders| holders.finish(recorder))
    }

    /// After healing, with the workload ended: what a family itself has to see and write down (copies of files, say).
    pub async fn verify(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        if let Some(peers) = &mut self.peers {
            peers.verify(arena).await?;
        }
        Ok(())
    }

    /// After the last node was killed: unmounts, removes.
    pub async fn clean_up(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.clean_up().await;
        }
    }
}
