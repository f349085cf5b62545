//! Faults by family. A family prepares what its faults need before the first node starts (proxies, mounts, preloaded
//! libraries), shapes how each node is started, injects its faults, and removes them again.
//!
//! Invariants:
//! - the product's binaries run unmodified: a family works from outside, through addresses, mounts, signals, the
//!   environment, files of a process that is down, or the product's own commands;
//! - an effect is reported as installed only after it was confirmed;
//! - [`Families::heal`] leaves nothing of any fault behind, whatever was injected before.
//!
//! A new fault of an existing family touches two files: the family's own, and `history/fault.rs` for its name. A new
//! family touches three: its own file, the names, and this one for its line in the list of families. A scenario that
//! uses either is one more value in `scenario/`.

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

use anyhow::bail;
use client::contract::LeaderInfo;
use raft_store::types::NodeId;
use rand::rngs::StdRng;

use crate::cluster::Cluster;
use crate::history::{FaultName, FaultOutcome};
use crate::recorder::Recorder;
use crate::scenario::{Setup, Target};
use crate::verify::Published;

/// Where a run takes place: directories, binaries and processes.
#[derive(Debug, Clone)]
pub struct Environment {
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
    /// `host:port` that other nodes and clients use, if it differs.
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
    /// The living nodes that a target selects.
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

/// A family of faults.
///
/// The methods are called in the order in which they stand here. What a family does not need, it leaves out.
#[allow(async_fn_in_trait, reason = "families are named in one list and never used as trait objects")]
pub trait Family: Sized {
    /// What it can inject.
    type Fault: Copy;

    /// Before the first node starts: prepares what the faults need. Absent if the scenario does not ask for it.
    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>>;

    /// Changes how a node is started.
    async fn shape(&mut self, _plan: &mut NodePlan) -> anyhow::Result<()> {
        Ok(())
    }

    /// Called once, when the cluster serves.
    async fn started(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Injects a fault.
    async fn inject(&mut self, fault: Self::Fault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>>;

    /// Removes everything that was injected, before killed nodes are started and stopped ones continued.
    async fn heal(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        Ok(Vec::new())
    }

    /// After the workload: ends clients that run in their own processes and merges their history into the run's.
    /// Returns the contents that they published or tried to publish.
    fn end_clients(&mut self, _recorder: &Recorder) -> anyhow::Result<Published> {
        Ok(Published::new())
    }

    /// After healing, with the workload ended: what a family itself has to see and write down (copies of files, say).
    async fn verify(&mut self, _arena: &mut Arena<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// After the last node was killed: unmounts, removes.
    async fn clean_up(&mut self) {}
}

/// Declares the families: a variant of [`Fault`] and a field of [`Families`] for each.
macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident => $field:ident: $family:ty;)*) => {
        /// One thing a family does to the cluster. The details (which node, how long, how much) are drawn from the
        /// arena's generator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $variant(<$family as Family>::Fault),)*
        }

        /// The families that a scenario uses.
        #[derive(Debug, Default)]
        pub struct Families {
            $($field: Option<$family>,)*
        }

        impl Families {
            /// Prepares what the scenario's faults need.
            pub async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Self> {
                Ok(Self { $($field: <$family>::prepare(setup, environment).await?,)* })
            }

            /// Lets every family change how a node is started.
            pub async fn shape(&mut self, plan: &mut NodePlan) -> anyhow::Result<()> {
                $(if let Some(family) = &mut self.$field {
                    family.shape(plan).await?;
                })*
                Ok(())
            }

            /// Called once, when the cluster serves.
            pub async fn started(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
                $(if let Some(family) = &mut self.$field {
                    family.started(arena).await?;
                })*
                Ok(())
            }

            /// Injects a fault.
            pub async fn inject(&mut self, fault: Fault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
                match fault {
                    $(Fault::$variant(fault) => match &mut self.$field {
                        Some(family) => family.inject(fault, arena).await,
                        None => bail!("the scenario injects {fault:?}, which its setup does not prepare"),
                    },)*
                }
            }

            /// Removes every fault.
            pub async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
                let mut effects = Vec::new();
                $(if let Some(family) = &mut self.$field {
                    effects.extend(family.heal(arena).await?);
                })*
                Ok(effects)
            }

            /// Ends clients that run in their own processes; returns the contents that they published or tried to
            /// publish.
            pub fn end_clients(&mut self, recorder: &Recorder) -> anyhow::Result<Published> {
                let mut published = Published::new();
                $(if let Some(family) = &mut self.$field {
                    published.extend(family.end_clients(recorder)?);
                })*
                Ok(published)
            }

            /// Lets every family write down what it sees of the healed cluster.
            pub async fn verify(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
                $(if let Some(family) = &mut self.$field {
                    family.verify(arena).await?;
                })*
                Ok(())
            }

            /// After the last node was killed: unmounts, removes.
            pub async fn clean_up(&mut self) {
                $(if let Some(family) = &mut self.$field {
                    family.clean_up().await;
                })*
            }
        }
    };
}

// Faults are removed in this order.
families! {
    /// Links between nodes.
    Network => network: network::Network;
    /// What a node's disk does.
    Disk => disk: disk::Disks;
    /// What a node's clocks say.
    Clock => clock: clock::Clocks;
    /// How much processor a node gets.
    Cpu => cpu: cpu::Cpu;
    /// Strangers on the nodes' ports.
    Flood => flood: flood::Flood;
    /// What is in a node's files.
    Files => files: files::Files;
    /// Who belongs to the cluster.
    Members => members: members::Members;
    /// Peers that share folders.
    Peers => peers: peers::Peers;
    /// A lease holder in its own process.
    Holders => holders: holders::Holders;
}
