//! Faults of the disks below the nodes' data: power cuts, no space left, errors.
//!
//! Invariants: every node has its own disk; after cleaning up nothing is mounted, and if the program ends earlier, the
//! system unmounts everything, because the mounts are in the program's own namespace.

mod image;
pub mod namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use raft_store::types::NodeId;

pub use image::unmount_below;
use image::{Image, cut};

use super::{Arena, Effect, Environment, Family, NodePlan, Unavailable};
use crate::history::{FaultName, Record};
use crate::scenario::{Setup, Target};

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// The power of these nodes goes off at one moment: what was not synced is gone, and so are the processes.
    PowerCut(Target),
    /// All free space of these nodes' disks is taken.
    Fill(Target),
    /// Whatever these nodes read or write from now on fails with EIO.
    Fail(Target),
    /// Wait until every node whose disk was filled or made to fail ended by itself, and hold it to rule W4.
    AwaitExit,
}

/// What the nodes' data directories are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// An ext4 file system of its own for each, on a loop device.
    Loop,
}

/// How long a node may go on with a disk that fails: five seconds from when it notices (W4), and a machine under load.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The family's state in a run.
#[derive(Debug)]
pub struct Disks {
    environment: Environment,
    images: BTreeMap<NodeId, Image>,
    without_power: BTreeSet<NodeId>,
    full: BTreeSet<NodeId>,
    /// Nodes that have to end by themselves, and how long their logs were before.
    failing: BTreeMap<NodeId, u64>,
}

impl Family for Disks {
    type Fault = DiskFault;

    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        let Some(DiskKind::Loop) = setup.disks else { return Ok(None) };
        let disks = Self {
            environment: environment.clone(),
            images: BTreeMap::new(),
            without_power: BTreeSet::new(),
            full: BTreeSet::new(),
            failing: BTreeMap::new(),
        };
        // Not the nodes' disks, which are made as each node is shaped: a try, to say early what is missing.
        match Image::create(&disks.environment.data.join("disks"), "try") {
            Ok(_) => Ok(Some(disks)),
            Err(why) => Err(Unavailable(format!("root, loop devices and mkfs.ext4 are needed ({why:#})")).into()),
        }
    }

    /// Puts the node's data on its own disk.
    async fn shape(&mut self, plan: &mut NodePlan) -> anyhow::Result<()> {
        let image = Image::create(&self.environment.data.join("disks"), &format!("n{}", plan.id))?;
        plan.data = image.mount_point().join("data");
        std::fs::create_dir_all(&plan.data)?;
        self.images.insert(plan.id, image);
        Ok(())
    }

    async fn inject(&mut self, fault: DiskFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {
            DiskFault::PowerCut(target) => self.power_cut(target, arena),
            DiskFault::Fill(target) => {
                self.break_disks((FaultName::DiskFull, "no space left on the disk of"), target, arena)
            }
            DiskFault::Fail(target) => {
                self.break_disks((FaultName::DiskError, "I/O errors on the disk of"), target, arena)
            }
            DiskFault::AwaitExit => self.await_exit(arena).await,
        }
    }

    /// Gives power back; a later step starts the nodes.
    async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for id in std::mem::take(&mut self.full) {
            self.image(id)?.free()?;
            effects.push(Effect::installed(
                FaultName::DiskFreed,
                Some(id),
                format!("space on the disk of n{id} again"),
            ));
        }
        for id in std::mem::take(&mut self.without_power) {
            // It may have been started since by a step that knows nothing of disks.
            arena.cluster.kill(id)?;
            self.image(id)?.power_on()?;
            effects.push(Effect::installed(FaultName::PowerOn, Some(id), format!("power of n{id} back")));
        }
        Ok(effects)
    }

    /// Unmounts and removes.
    async fn clean_up(&mut self) {
        self.images.clear();
    }
}

impl Disks {
    fn power_cut(&mut self, target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let nodes = arena.aim(target);
        if nodes.is_empty() {
            return Ok(vec![Effect::skipped(FaultName::PowerCut, "nobody to hit")]);
        }
        let mut handles = Vec::new();
        for id in &nodes {
            handles.push(self.image(*id)?.handle()?);
        }
        // The disks first, all within microseconds: then nothing that a process still does can be kept.
        for handle in &handles {
            cut(handle).context("the power of a disk could not be cut")?;
        }
        drop(handles);
        for id in &nodes {
            arena.cluster.kill(*id)?;
        }
        let mut effects = Vec::new();
        for id in nodes {
            ensure!(self.image(id)?.is_dead(), "the disk of node {id} still takes writes after its power was cut");
            self.without_power.insert(id);
            effects.push(Effect::installed(FaultName::PowerCut, Some(id), format!("power of {} cut", arena.words(id))));
        }
        Ok(effects)
    }

    /// A disk that accepts no writes: its node has to say so and end on its own (W4).
    fn break_disks(
        &mut self,
        (fault, words): (FaultName, &str),
        target: Target,
        arena: &mut Arena<'_>,
    ) -> anyhow::Result<Vec<Effect>> {
        let nodes = arena.aim(target);
        if nodes.is_empty() {
            return Ok(vec![Effect::skipped(fault, "nobody to hit")]);
        }
        let mut effects = Vec::new();
        for id in nodes {
            let said_before = arena.cluster.said(id);
            arena.cluster.expect_exit(id)?;
            if fault == FaultName::DiskFull {
                self.image(id)?.fill()?;
                self.full.insert(id);
            } else {
                cut(&self.image(id)?.handle()?).context("the disk could not be made to fail")?;
                ensure!(self.image(id)?.is_dead(), "the disk of node {id} still takes writes");
                self.without_power.insert(id);
            }
            effects.push(Effect::installed(fault, Some(id), format!("{words} {}", arena.words(id))));
            self.failing.insert(id, said_before);
        }
        Ok(effects)
    }

    async fn await_exit(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let mut effects = Vec::new();
        for (id, said_before) in std::mem::take(&mut self.failing) {
            let words = watch_end(id, said_before, arena).await?;
            effects.push(Effect::installed(FaultName::StorageExit, Some(id), words));
        }
        Ok(effects)
    }

    fn image(&mut self, id: NodeId) -> anyhow::Result<&mut Image> {
        self.images.get_mut(&id).with_context(|| format!("node {id} has no disk of its own"))
    }
}

/// Holds a node with a failed disk to rule W4: it ends on its own and not with success, and says what failed and where.
async fn watch_end(id: NodeId, said_before: u64, arena: &mut Arena<'_>) -> anyhow::Result<String> {
    let since = Instant::now();
    let misbehaved = |what: String| arena.recorder.record(Record::Misbehaved { what });
    let Some(status) = arena.cluster.wait_ended(id, ENDS_WITHIN).await? else {
        misbehaved(format!("node {id} still runs {} s after its disk failed", ENDS_WITHIN.as_secs()));
        return Ok(format!("n{id} GOES ON"));
    };
    let said = arena.cluster.said_since(id, said_before);
    if status.success() {
        misbehaved(format!("node {id} ended with success though its disk failed"));
    }
    // It may have been hit while it was starting.
    if !said.contains("the storage in ") && !said.contains("cannot use the data directory") {
        misbehaved(format!("node {id} ended ({status}) without saying that its storage failed"));
    }
    Ok(format!("n{id} ended after {:.2} s ({status})", since.elapsed().as_secs_f64()))
}
