//! Damage to the files of a node that is down, copies of its directory, and what becomes of a node that lost its disk.
//!
//! Invariants: only files of one node at a time are damaged; a node that refuses its files, or has none any more, comes
//! back as a new member under a new id, and its old id is gone for good (C3).

mod copies;
mod damage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use raft_store::types::NodeId;
use rand::Rng;

use super::{Arena, Effect, Environment, Family};
use crate::history::{FaultName, Record};
use crate::scenario::{Setup, Target};

/// How long a started node may take to serve, or to say why it does not.
const DECIDES_WITHIN: Duration = Duration::from_secs(15);
/// How long putting a new node in the place of an old one may take.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);
/// How long a node without its data is watched under its old id.
const WATCHED: Duration = Duration::from_millis(1_500);
/// Pause between two polls or tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// Bits of one file are flipped while the node is down; then it is started.
    BitFlip(Target),
    /// The end of one file is cut off or filled with zeros while the node is down; then it is started.
    TornTail(Target),
    /// Everything is removed while the node is down; then it is started.
    Wipe(Target),
    /// An older copy is put in the place of the directory.
    OlderCopy(Target),
    /// A copy is started while its original runs.
    CloneBeside(Target),
    /// A copy is started at another address while its original is down, and then the original.
    CloneInstead(Target),
}

/// The family. It keeps no state: every fault ends with a whole node, so nothing is left to remove.
#[derive(Debug, Default)]
pub struct Files {}

/// What a started node came to.
enum Start {
    Serves,
    Refuses(String),
    Neither,
}

impl Family for Files {
    type Fault = FileFault;

    async fn prepare(_setup: &Setup, _environment: &Environment) -> anyhow::Result<Option<Self>> {
        Ok(Some(Self::default()))
    }

    async fn inject(&mut self, fault: FileFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {
            FileFault::BitFlip(target) => damaged(FaultName::BitFlip, target, arena, damage::flip).await,
            FileFault::TornTail(target) => damaged(FaultName::TornTail, target, arena, damage::tear).await,
            FileFault::Wipe(target) => wiped(target, arena).await,
            FileFault::OlderCopy(target) => copies::older(target, arena).await,
            FileFault::CloneBeside(target) => copies::beside(target, arena).await,
            FileFault::CloneInstead(target) => copies::instead(target, arena).await,
        }
    }
}

async fn damaged(
    fault: FaultName,
    target: Target,
    arena: &mut Arena<'_>,
    harm: fn(&std::path::Path, &mut rand::rngs::StdRng) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<Vec<Effect>> {
    let Some(id) = arena.aim(target).first().copied() else {
        return Ok(vec![Effect::skipped(fault, "nobody to hit")]);
    };
    let data = arena.cluster.plan(id).context("a node that lives has a plan")?.data.clone();
    arena.cluster.kill(id)?;
    let Some(harm) = harm(&data, &mut arena.rng)? else {
        arena.cluster.restart(id)?;
        return Ok(vec![Effect::skipped(fault, "there is nothing to damage")]);
    };
    let mut effects = vec![Effect::installed(fault, Some(id), format!("{} of {}", harm, arena.words(id)))];
    let said_before = arena.cluster.said(id);
    arena.cluster.restart(id)?;
    arena.cluster.expect_exit(id)?;
    match starts(id, said_before, arena).await? {
        Start::Serves => effects.push(Effect::installed(FaultName::Healthy, Some(id), format!("n{id} serves"))),
        Start::Refuses(why) => {
            effects.push(Effect::installed(FaultName::RefusedStart, Some(id), format!("n{id} refuses: {why}")));
            effects.push(rejoin(id, arena).await?);
        }
        Start::Neither => {
            let within = DECIDES_WITHIN.as_secs();
            let what = format!("node {id} neither serves nor refuses within {within} s: {harm}");
            arena.recorder.record(Record::Misbehaved { what });
            effects.push(rejoin(id, arena).await?);
        }
    }
    Ok(effects)
}

/// Waits until a node serves or ended; an end has to name the directory.
async fn starts(id: NodeId, said_before: u64, arena: &mut Arena<'_>) -> anyhow::Result<Start> {
    let deadline = Instant::now() + DECIDES_WITHIN;
    while Instant::now() < deadline {
        if arena.cluster.is_ready(id).await {
            return Ok(Start::Serves);
        }
        if let Some(status) = arena.cluster.wait_ended(id, Duration::ZERO).await? {
            let said = arena.cluster.said_since(id, said_before);
            let line =
                said.lines().rev().find(|line| line.contains("data directory") || line.contains("the storage in "));
            if status.success() || line.is_none() {
                let what = format!("node {id} ended ({status}) over damaged files without saying what is wrong");
                arena.recorder.record(Record::Misbehaved { what });
            }
            // What is wrong, without what to do about it.
            let reason = line.unwrap_or_default().split("; ").next().unwrap_or_default();
            return Ok(Start::Refuses(reason.to_owned()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Start::Neither)
}

async fn wiped(target: Target, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
    let Some(id) = arena.aim(target).first().copied() else {
        return Ok(vec![Effect::skipped(FaultName::Wipe, "nobody to hit")]);
    };
    let data = arena.cluster.plan(id).context("a node that lives has a plan")?.data.clone();
    arena.cluster.kill(id)?;
    std::fs::remove_dir_all(&data)?;
    let mut effects =
        vec![Effect::installed(FaultName::Wipe, Some(id), format!("data of {} removed", arena.words(id)))];
    if arena.rng.random_bool(0.5) {
        // Somebody starts it again as if nothing had happened: it must not pass for the member that it was.
        arena.cluster.restart(id)?;
        arena.cluster.expect_exit(id)?;
        let until = Instant::now() + WATCHED;
        while Instant::now() < until {
            if arena.cluster.is_ready(id).await {
                let what = format!("node {id} lost its data and serves under its old id");
                arena.recorder.record(Record::Misbehaved { what });
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        effects.push(Effect::installed(
            FaultName::EmptyStart,
            Some(id),
            format!("n{id} started empty, and not let in"),
        ));
    }
    effects.push(rejoin(id, arena).await?);
    Ok(effects)
}

/// Puts a new node under a new id in the place of one that is gone for good.
pub(super) async fn rejoin(old: NodeId, arena: &mut Arena<'_>) -> anyhow::Result<Effect> {
    let since = Instant::now();
    arena.cluster.forget(old)?;
    let new = arena.cluster.join()?.context("no port is left for a new node")?;
    let address = arena.cluster.plan(new).context("it was just started")?.listen.clone();
    let arguments = ["replace", &old.to_string(), &new.to_string(), "--addr", &address].map(String::from);
    loop {
        match arena.cluster.command(&arguments).await? {
            Ok(_) => break,
            Err(why) if since.elapsed() > REPLACED_WITHIN => {
                arena.recorder.record(Record::Misbehaved { what: format!("node {old} could not be replaced: {why}") });
                break;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    arena.cluster.wait_node_ready(new, REPLACED_WITHIN).await.map_err(|error| anyhow!(error))?;
    let seconds = since.elapsed().as_secs_f64();
    Ok(Effect::installed(FaultName::Replace, Some(new), format!("n{new} in the place of n{old} after {seconds:.2} s")))
}
