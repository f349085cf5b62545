//! Commands that would take the cluster's quorum away, or ask for what cannot be: an operator's mistakes.
//!
//! Invariant: every mistake is made while the cluster has a quorum, and after each one a write has to be acknowledged:
//! what a single command broke cannot be hidden by the next one (C6). Each is answered within its deadline (W6).

use std::time::{Duration, Instant};

use raft_store::types::NodeId;

use super::{Members, view};
use crate::cluster::READY_WITHIN;
use crate::fault::{Arena, Effect};
use crate::history::{FaultName, Record};
use crate::workload::write::Write;
use crate::workload::{RawClient, RawOutcome};

/// The deadline of a command and the second that W6 leaves for telling.
const ANSWERED_WITHIN: Duration = Duration::from_secs(6);
/// A command that takes longer than this is not waited for.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);
/// How long a write may take after a mistake.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Limit of one write.
const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// An id that no node has.
const NOBODY: NodeId = 999_999;

impl Members {
    /// Makes the mistakes, one after the other.
    pub(super) async fn mistakes(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        let Some(before) = view(arena).await else {
            return Ok(vec![Effect::skipped(FaultName::Mistake, "no node tells the members")]);
        };
        let followers: Vec<NodeId> = before.voters.iter().copied().filter(|id| *id != before.leader).collect();
        let (Some(learner), [down, other, ..]) = (arena.cluster.join()?, followers.as_slice()) else {
            return Ok(vec![Effect::skipped(FaultName::Mistake, "it takes a free port and two followers")]);
        };
        let (down, other, leader) = (*down, *other, before.leader);
        self.wait_member(learner, arena).await;
        arena.cluster.wait_node_ready(learner, READY_WITHIN).await?;
        let mut effects = Vec::new();
        for word in ["promote", "demote", "remove", "transfer-leader"] {
            effects.push(refused(word, NOBODY, "an unknown node", arena).await?);
        }
        effects.push(refused("transfer-leader", learner, "a learner", arena).await?);
        arena.cluster.kill(learner)?;
        effects.push(refused("promote", learner, "a learner that died", arena).await?);
        arena.cluster.kill(down)?;
        effects.push(refused("transfer-leader", down, "a follower that died", arena).await?);
        effects.push(refused("promote", learner, "a dead learner beside a dead voter", arena).await?);
        if before.voters.len() == 3 {
            for (id, whom) in [(other, "one of two live voters"), (leader, "the leader of two live voters")] {
                for word in ["remove", "demote"] {
                    effects.push(refused(word, id, whom, arena).await?);
                }
            }
        }
        // What is no mistake goes on working: a dead learner is removed.
        if let Err(why) = arena.cluster.command(&["remove".to_owned(), learner.to_string()]).await? {
            arena.recorder.record(Record::Misbehaved { what: format!("a dead learner could not be removed: {why}") });
        }
        arena.cluster.forget(learner)?;
        arena.cluster.restart(down)?;
        arena.cluster.wait_node_ready(down, READY_WITHIN).await?;
        Ok(effects)
    }
}

/// Runs a command that has to be refused in time, and shows that writes go on.
async fn refused(word: &str, id: NodeId, whom: &str, arena: &Arena<'_>) -> anyhow::Result<Effect> {
    let since = Instant::now();
    let running = arena.cluster.start_command(&[word.to_owned(), id.to_string()]);
    let answer = match tokio::time::timeout(GIVEN_UP_AFTER, running).await {
        Ok(answer) => Some(answer?),
        Err(_) => None,
    };
    let took = since.elapsed();
    let misbehaved = |what: String| arena.recorder.record(Record::Misbehaved { what });
    match answer {
        Some(Ok(said)) => misbehaved(format!("`{word}` of {whom} was carried out: {said}")),
        Some(Err(_)) if took <= ANSWERED_WITHIN => {}
        Some(Err(_)) | None => misbehaved(format!("`{word}` of {whom} took {took:.1?}")),
    }
    if !written(arena).await? {
        misbehaved(format!("no write was acknowledged within {WRITTEN_WITHIN:?} after `{word}` of {whom}"));
    }
    Ok(Effect::installed(FaultName::Mistake, None, format!("{word} {whom}: {:.2} s", took.as_secs_f64())))
}

async fn written(arena: &Arena<'_>) -> anyhow::Result<bool> {
    let raw = RawClient::new(std::sync::Arc::new(arena.cluster.urls()))?;
    let write = Write::register("operator", false);
    let until = Instant::now() + WRITTEN_WITHIN;
    while Instant::now() < until {
        for id in arena.cluster.living() {
            let server = arena.cluster.server(id);
            if matches!(raw.write(server, &write, None, WRITE_WITHIN).await, RawOutcome::Ok(..)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
