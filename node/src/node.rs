//! The handle of a running node: its parts, and the questions that they answer together.
//!
//! The floor between the parts, which do not know the node, and the duties, which use it. No logic of the catalog or
//! the planner lives here, and nothing here waits for a disk.

mod failover;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::errors::RaftError;
use openraft::raft::ReadPolicy;
use parking_lot::Mutex;
use raft_store::raft::Member;
use raft_store::storage::{
    Executor, FatalSignal, IdentityHandle, Repair, SharedState, SnapshotReceiver, StateView, StatsHandle,
};
use raft_store::types::{NodeId, PeerId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

pub use self::failover::FailoverAttempts;
use crate::comparison::Divergence;
use crate::condition::{Condition, ConditionCell};
use crate::config::Config;
use crate::events::EventLog;
use crate::freshness::Freshness;
use crate::identities::Identities;
use crate::leader::{Leadership, PlanStats};
use crate::metrics::Metrics;
use crate::propose::LogClock;
use crate::propose::Proposer;
use crate::raft::{Raft, is_sole_voter, role_name};
use crate::search::names::Names;
use crate::sys::clock;
use crate::sys::net::Net;
use crate::sys::pulse::Pulse;
use crate::transport::{Admissions, CallError, Identity, LinkPool, NodeStatus, Request, Response};

/// A running node.
pub struct Node {
    /// Its settings.
    pub config: Config,
    /// `host:port` that others are told.
    pub address: String,
    /// Random per process (`Raftshare-Boot`).
    pub boot: u64,
    /// Who it is.
    pub identities: Arc<Identities>,
    /// Consensus.
    pub raft: Raft,
    /// The catalog and how far it has come.
    pub state: SharedState,
    /// What the data directory records.
    pub identity_store: IdentityHandle,
    /// Raised by the first storage error (W4).
    pub fatal: FatalSignal,
    /// Takes in snapshots that other nodes send.
    pub snapshot_receiver: SnapshotReceiver,
    /// Figures about the log and the snapshots.
    pub stats: StatsHandle,
    /// Where long computations run.
    pub executor: Executor,
    /// Whether it may act as a member and answer clients.
    pub condition: ConditionCell,
    /// How its state compares with the other members'.
    pub divergence: Divergence,
    /// Digests, copies and replaces the applied state.
    pub repair: Repair,
    /// The log clock.
    pub clock: Arc<LogClock>,
    /// Notices when this process was paused.
    pub pulse: Arc<Pulse>,
    /// The write path.
    pub proposer: Proposer,
    /// The age of its state.
    pub freshness: Freshness,
    /// The soft state of the leadership term, on a leader.
    pub leadership: Leadership,
    /// The attempts to replace a leader whose process is gone.
    pub failover: FailoverAttempts,
    /// Names for searching.
    pub names: Arc<Names>,
    /// Recent events.
    pub events: EventLog,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Whether this process is about to end. Raft is asked nothing any more then: it would report that as an error.
    pub stopping: AtomicBool,
    /// Notified when the data directory is to be set aside (C3).
    pub set_aside: Notify,
    /// Why this node refused to join the founding of a cluster: the founding node was given another list of members.
    pub founding_refused: Mutex<Option<String>>,
    /// Senders that this node did not know.
    pub admissions: Admissions,
    /// Its one permit is the right to change members: each change is checked against the result of the one before it.
    pub changes: Semaphore,
    /// Links to other members.
    pub pool: LinkPool,
    /// The network, for links and for forwarding requests to the leader.
    pub net: Arc<dyn Net>,
}

/// The leader as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLeader {
    /// Its id.
    pub id: NodeId,
    /// Its entry in the membership.
    pub member: Member,
    /// The term.
    pub term: u64,
}

impl Node {
    /// The catalog, locked for reading. Copy out what is needed, and release the lock.
    pub fn catalog(&self) -> StateView<'_> {
        self.state.read()
    }

    /// All members of the effective membership, each where it was reached last (C4).
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let mut members = self.recorded_members();
        for member in members.values_mut() {
            member.address = self.identities.address_of(member);
        }
        members
    }

    /// All members of the effective membership, as the log has them.
    pub fn recorded_members(&self) -> BTreeMap<NodeId, Member> {
        let metrics = self.raft.metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        membership.nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// This node's term.
    pub fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// The highest applied log index; 0 before the first.
    pub fn applied(&self) -> u64 {
        self.state.applied_index().unwrap_or(0)
    }

    /// This node's role in Raft, in the words of the contract.
    pub fn role(&self) -> &'static str {
        role_name(self.raft.metrics().borrow_watched().state)
    }

    /// The role that it tells others. A leader that no majority confirms any more leads nobody, and calls itself a
    /// candidate (R5).
    pub fn told_role(&self) -> &'static str {
        self.told_role_as(self.leader_confirmation().as_ref())
    }

    /// The same, given what [`Node::leader_confirmation`] said.
    pub fn told_role_as(&self, confirmation: Option<&(u64, u64, Duration)>) -> &'static str {
        match confirmation {
            Some((_, _, age)) if *age <= self.config.leader_word_max() => "leader",
            Some(_) => "candidate",
            None => match self.role() {
                // Elected, and nobody has acknowledged anything yet.
                "leader" => "candidate",
                role => role,
            },
        }
    }

    /// The leader, if this node knows one.
    pub fn leader(&self) -> Option<KnownLeader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader?;
        let mut member = metrics.membership_config.membership().get_node(&id)?.clone();
        member.address = self.identities.address_of(&member);
        Some(KnownLeader { id, member, term: metrics.current_term })
    }

    /// Whether this node is the only voter, and no majority but itself.
    pub fn is_sole_voter(&self) -> bool {
        is_sole_voter(&self.raft.metrics().borrow_watched())
    }

    /// Whether this node votes, acknowledges and answers members about itself: not before its start was recorded, nor
    /// with an older copy of its directory, nor once it was removed (C3, C6).
    pub fn takes_part(&self) -> bool {
        matches!(self.condition.get(), Condition::Serving | Condition::Diverged { .. })
    }

    /// The leader, if this node knows that it leads now: a majority elected or confirmed it a moment ago (R5). A leader
    /// that fell silent, or that no majority confirms any more, does not count.
    pub fn confirmed_leader(&self) -> Option<KnownLeader> {
        let leader = self.leader()?;
        let age = match leader.id == self.config.id {
            true => self.leader_confirmation()?.2,
            false => {
                self.freshness.note_leader(leader.id, leader.term);
                self.freshness.word_age(leader.id, leader.term)?
            }
        };
        (age <= self.config.leader_word_max()).then_some(leader)
    }

    /// Whether this node is a leader that a majority confirms. Only such a leader knows what peers and planner do (R5).
    pub fn leads_confirmed(&self) -> bool {
        self.leads() && self.leader_confirmation().is_some_and(|(_, _, age)| age <= self.config.leader_word_max())
    }

    /// Unix seconds at which a peer was last heard from; `None` anywhere but at a confirmed leader (R5).
    pub fn last_seen_unix(&self, peer: &PeerId) -> Option<u64> {
        if self.leads_confirmed() { self.leadership.last_seen_unix(peer) } else { None }
    }

    /// What the planner knows; `None` anywhere but at a confirmed leader (R5).
    pub fn planned(&self) -> Option<PlanStats> {
        if self.leads_confirmed() { self.leadership.stats() } else { None }
    }

    /// Whether this node leads and has anchored the log clock, so that it may propose (T2).
    pub fn leads(&self) -> bool {
        self.clock.anchor().is_some_and(|anchor| self.is_leader_in(anchor.term))
    }

    fn is_leader_in(&self, term: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.state == ServerState::Leader && metrics.current_term == term
    }

    /// On a leader: term, commit index, and the time since a majority confirmed it.
    pub fn leader_confirmation(&self) -> Option<(u64, u64, Duration)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let committed = metrics.cluster_committed.as_ref().map_or(0, |log_id| log_id.index);
        // A sole voter is its own majority; openraft dates its confirmation from its last write.
        let age = match is_sole_voter(&metrics) {
            true => Duration::ZERO,
            false => metrics.last_quorum_acked?.elapsed(),
        };
        Some((metrics.current_term, committed, age))
    }

    /// Whether a majority confirmed this leader within its lease (P3).
    pub fn majority_confirmed(&self) -> bool {
        self.leader_confirmation().is_some_and(|(_, _, age)| age < self.config.election.1)
    }

    /// Age of this node's state in milliseconds (R2).
    pub fn staleness_ms(&self) -> u64 {
        self.staleness_ms_as(self.leader_confirmation().as_ref())
    }

    /// The same, given what [`Node::leader_confirmation`] said.
    pub fn staleness_ms_as(&self, confirmation: Option<&(u64, u64, Duration)>) -> u64 {
        if let Some((_, committed, age)) = confirmation
            && let Some(moment) = clock::now().checked_sub(*age)
        {
            self.freshness.note(*committed, moment);
        }
        self.freshness.staleness_ms(self.applied())
    }

    /// The moment as of which the name index answers, if it has followed the log to `followed` (R2): the newest one at
    /// which a majority confirmed a leader whose commit index was not beyond that position.
    pub fn names_as_of(&self, followed: u64) -> Option<Instant> {
        if let Some((_, committed, age)) = self.leader_confirmation()
            && let Some(moment) = clock::now().checked_sub(age)
        {
            self.names.freshness().note(committed, moment);
        }
        self.names.freshness().as_of(followed)
    }

    /// Waits until this node has applied up to `log_index`; false if it takes longer than `within`.
    pub async fn wait_applied(&self, log_index: u64, within: Duration) -> bool {
        if self.applied() >= log_index {
            return true;
        }
        tokio::time::timeout(within, self.state.wait_applied(log_index)).await.is_ok()
    }

    /// On a leader: confirms leadership with a majority and names the read index (R1).
    pub async fn local_read_index(&self) -> Result<u64, String> {
        self.read_index(ReadPolicy::ReadIndex).await
    }

    /// On a leader: the read index under its lease, without a round trip (R1).
    pub async fn lease_read_index(&self) -> Result<u64, String> {
        let sole = is_sole_voter(&self.raft.metrics().borrow_watched());
        self.read_index(if sole { ReadPolicy::ReadIndex } else { ReadPolicy::LeaseRead }).await
    }

    async fn read_index(&self, policy: ReadPolicy) -> Result<u64, String> {
        match self.raft.get_read_linearizer(policy).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(error)) => Err(error.to_string()),
            Err(RaftError::Fatal(fatal)) => Err(fatal.to_string()),
        }
    }

    /// Asks another member.
    pub async fn ask(&self, target: &KnownLeader, request: &Request, within: Duration) -> Result<Response, CallError> {
        self.pool.call(target.id, &target.member, request, within).await
    }

    /// Who this node is, for a founder or a leader that wants to add it.
    pub async fn identity(&self) -> Result<Identity, String> {
        Ok(Identity {
            side: self.identities.side(),
            start: self.identities.start(),
            boot: self.boot,
            cluster: self.identities.cluster(),
            initialized: self.is_initialized().await?,
            older_copy: matches!(self.condition.get(), Condition::OlderCopy { .. }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// How this node is, for another member's `/cluster`.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            role: self.told_role().to_owned(),
            applied: self.applied(),
            loading: self.names.loading(),
            condition: self.condition.get(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Whether this node's cluster has begun: there is a log or a vote.
    ///
    /// Asked on a task of its own. The caller may give up, for example because the member that asked was killed, and
    /// openraft reports an answer that nobody waits for as an error.
    pub async fn is_initialized(&self) -> Result<bool, String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("this node is stopping".into());
        }
        let raft = self.raft.clone();
        let asked = tokio::spawn(async move { raft.is_initialized().await });
        asked.await.map_err(|ended| ended.to_string())?.map_err(|fatal| fatal.to_string())
    }

    /// Belongs to a cluster from now on, unless it already belongs to another one that has begun (C1).
    pub async fn adopt(&self, cluster: u64) -> Result<(), String> {
        if self.identities.cluster() == Some(cluster) {
            return Ok(());
        }
        if self.is_initialized().await? {
            return Err("this node already belongs to a cluster".into());
        }
        self.identity_store.adopt_cluster(cluster).await.map_err(|error| error.to_string())?;
        self.identities.set_cluster(cluster);
        Ok(())
    }
}
