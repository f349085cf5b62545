//! Members that come and go, and followers that were away for so long that only a snapshot helps them.
//!
//! Invariants: changes go through the product's own commands; a healed cluster has as many voters as it began with, and
//! no learners.

mod mistakes;
mod outage;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use raft_store::types::NodeId;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::{Arena, Effect, Environment, Family};
use crate::cluster::READY_WITHIN;
use crate::history::{FaultName, FaultOutcome, Record};
use crate::scenario::{Setup, Target};
use crate::workload::{RawClient, RawOutcome};

/// How long one change may take.
const CHANGED_WITHIN: Duration = Duration::from_secs(20);
/// How long a node that was removed goes on running: it must not disturb anybody.
const LINGERS: Duration = Duration::from_millis(400);
/// Limit of one poll at the members.
const POLL_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest delay between the start of a change and the kill of the leader, in milliseconds.
const KILL_DELAY_MS: u64 = 150;

/// A fault of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberFault {
    /// One change of members, drawn: a node joins, is promoted, demoted, removed, replaced, or gets the leadership.
    Change,
    /// The same, and the leader is killed while the change is under way.
    ChangeUnderKill,
    /// Commands that would take the quorum away, or ask for what cannot be.
    Mistakes,
    /// The node is killed, and more is written than the others keep in their logs.
    Outage(Target),
    /// The node that was away is started: killed while it writes the snapshot, killed when it has it, then left alone.
    Return,
}

/// The family's state in a run.
#[derive(Debug)]
pub struct Members {
    voters: usize,
    away: Option<NodeId>,
}

/// What the cluster says about its members.
struct View {
    leader: NodeId,
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Family for Members {
    type Fault = MemberFault;

    async fn prepare(setup: &Setup, environment: &Environment) -> anyhow::Result<Option<Self>> {
        Ok((setup.spares > 0).then_some(Self { voters: environment.nodes as usize, away: None }))
    }

    async fn inject(&mut self, fault: MemberFault, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        match fault {
            MemberFault::Change => self.change(arena, false).await,
            MemberFault::ChangeUnderKill => self.change(arena, true).await,
            MemberFault::Mistakes => self.mistakes(arena).await,
            MemberFault::Outage(target) => {
                let (away, effects) = outage::begin(target, arena).await?;
                self.away = away;
                Ok(effects)
            }
            MemberFault::Return => match self.away.take() {
                Some(id) => outage::end(id, arena).await,
                None => Ok(vec![Effect::skipped(FaultName::SnapshotInstall, "nobody is away")]),
            },
        }
    }

    /// Brings the number of members back to what it was.
    async fn heal(&mut self, arena: &mut Arena<'_>) -> anyhow::Result<Vec<Effect>> {
        self.away = None;
        arena.cluster.resume_all()?;
        arena.cluster.restart_dead()?;
        let until = Instant::now() + READY_WITHIN;
        let mut last = String::from("no node tells the members");
        while Instant::now() < until {
            if let Some(view) = view(arena).await {
                let Some((word, id)) = self.next_repair(&view, arena)? else {
                    self.bury(arena).await?;
                    return Ok(Vec::new());
                };
                if let Err(why) = arena.cluster.command(&[word.to_owned(), id.to_string()]).await? {
                    last = why;
                }
                self.bury(arena).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let what = format!("the members could not be brought back to {} voters: {last}", self.voters);
        arena.recorder.record(Record::Misbehaved { what });
        Ok(Vec::new())
    }
}

impl Members {
    async fn change(&mut self, arena: &mut Arena<'_>, kill: bool) -> anyhow::Result<Vec<Effect>> {
        let Some(view) = view(arena).await else {
            return Ok(vec![Effect::skipped(FaultName::Change, "no node tells the members")]);
        };
        let Some((word, id)) = self.draw(&view, arena).await? else {
            return Ok(vec![Effect::skipped(FaultName::Change, "there is no change to make")]);
        };
        if word == "replace" {
            let mut effects = vec![Effect::installed(FaultName::Loss, Some(id), format!("n{id} lost for ever"))];
            effects.push(super::files::rejoin(id, arena).await?);
            effects.push(Effect::installed(FaultName::Change, Some(id), "replaced"));
            return Ok(effects);
        }
        let mut effects = Vec::new();
        if word == "promote" && !view.learners.contains(&id) {
            effects.push(Effect::installed(FaultName::Join, Some(id), format!("n{id} joined")));
        }
        let arguments = [word.to_owned(), id.to_string()];
        let running = arena.cluster.start_command(&arguments);
        if kill {
            let delay = arena.rng.random_range(0..=KILL_DELAY_MS);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let words = format!("kill -9 n{} (leader) {delay} ms after it began", view.leader);
            if arena.cluster.living().contains(&view.leader) {
                arena.cluster.kill(view.leader)?;
                arena.cluster.restart(view.leader)?;
                effects.push(Effect::installed(FaultName::Kill, Some(view.leader), words));
            }
        }
        let result = tokio::time::timeout(CHANGED_WITHIN, running).await;
        let (outcome, words) = match result {
            Ok(Ok(Ok(said))) => (FaultOutcome::Installed, said),
            Ok(Ok(Err(why))) => (FaultOutcome::Indeterminate(why.clone()), format!("{word} {id}: {why}")),
            Ok(Err(panicked)) => return Err(panicked.into()),
            Err(_) => (FaultOutcome::Indeterminate("no answer".into()), format!("{word} {id}: NO ANSWER")),
        };
        // A change with an unknown outcome still counts as a change; the next poll shows the result.
        effects.push(Effect { fault: FaultName::Change, node: Some(id), words, outcome });
        self.bury(arena).await?;
        Ok(effects)
    }

    /// A node that was just started becomes a learner by itself.
    async fn wait_member(&self, id: NodeId, arena: &Arena<'_>) {
        let until = Instant::now() + CHANGED_WITHIN;
        while Instant::now() < until && !view(arena).await.is_some_and(|view| view.learners.contains(&id)) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What to change, and whom.
    async fn draw(&self, view: &View, arena: &mut Arena<'_>) -> anyhow::Result<Option<(&'static str, NodeId)>> {
        let mut choices: Vec<(&'static str, NodeId)> = Vec::new();
        choices.extend(view.learners.iter().flat_map(|id| [("promote", *id), ("remove", *id)]));
        choices.extend(view.voters.iter().filter(|id| **id != view.leader).map(|id| ("transfer-leader", *id)));
        // The workload goes on with one node killed, so there are never fewer voters than at the beginning.
        if view.voters.len() > self.voters {
            choices.extend(view.voters.iter().flat_map(|id| [("demote", *id), ("remove", *id)]));
        }
        let all_live = arena.cluster.living().len() == arena.cluster.ids().len();
        if all_live && view.voters.len() >= 3 {
            choices.extend(view.voters.iter().map(|id| ("replace", *id)));
        }
        // Half of the time somebody new comes, as long as there is room.
        if (arena.cluster.ids().len() < self.voters + 1 || arena.rng.random_bool(0.3))
            && let Some(id) = arena.cluster.join()?
        {
            self.wait_member(id, arena).await;
            return Ok(Some(("promote", id)));
        }
        Ok(choices.choose(&mut arena.rng).copied())
    }

    /// Nodes that are no members any more go on for a moment and are gone for good then.
    async fn bury(&self, arena: &mut Arena<'_>) -> anyhow::Result<()> {
        let Some(view) = view(arena).await else { return Ok(()) };
        let member = |id: &NodeId| view.voters.contains(id) || view.learners.contains(id);
        let gone: Vec<NodeId> = arena.cluster.ids().into_iter().filter(|id| !member(id)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LINGERS).await;
        // Only who is still none: a join may have been on its way.
        let Some(view) = self::view(arena).await else { return Ok(()) };
        for id in gone.into_iter().filter(|id| !view.voters.contains(id) && !view.learners.contains(id)) {
            arena.cluster.forget(id)?;
        }
        Ok(())
    }

    fn next_repair(&self, view: &View, arena: &mut Arena<'_>) -> anyhow::Result<Option<(&'static str, NodeId)>> {
        let spare = view.voters.iter().rev().find(|id| **id != view.leader);
        Ok(match (view.voters.len(), view.learners.first()) {
            (voters, Some(id)) if voters < self.voters => Some(("promote", *id)),
            // The next look finds it as a learner.
            (voters, None) if voters < self.voters => arena.cluster.join()?.map(|id| ("promote", id)),
            (voters, _) if voters > self.voters => spare.map(|id| ("remove", *id)),
            (_, Some(id)) => Some(("remove", *id)),
            (_, None) => None,
        })
    }
}

/// The members as the leader sees them.
async fn view(arena: &Arena<'_>) -> Option<View> {
    let leader = arena.cluster.wait_leader(Duration::from_secs(5)).await?.id;
    let raw = RawClient::new(std::sync::Arc::new(arena.cluster.urls())).ok()?;
    let server = arena.cluster.ids().contains(&leader).then(|| arena.cluster.server(leader))?;
    let RawOutcome::Ok(answer, _) = raw.get(server, "/cluster", &[], POLL_WITHIN).await else { return None };
    let nodes = answer.get("nodes")?.as_array()?;
    let of = |learner: bool| {
        let role = |node: &&Value| (node.get("role").and_then(Value::as_str) == Some("learner")) == learner;
        nodes.iter().filter(role).filter_map(|node| node.get("id")?.as_u64()).collect::<Vec<NodeId>>()
    };
    Some(View { leader, voters: of(false), learners: of(true) })
}

/// A number in a node's metrics.
pub(super) async fn metric(arena: &Arena<'_>, id: NodeId, name: &str) -> anyhow::Result<u64> {
    let url = arena.cluster.url(id).context("no such node")?;
    let text = reqwest::Client::builder().no_proxy().timeout(POLL_WITHIN).build()?;
    let text = text.get(format!("{url}/metrics")).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    value.map(|value| value as u64).with_context(|| format!("node {id} tells no {name}"))
}
