//! Who a node is, how it is, and who the members are.

use std::collections::{BTreeMap, BTreeSet};

use raft_store::raft::{LogId, Member, StoredMembership};
use raft_store::storage::StartId;
use raft_store::types::NodeId;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::identities::Side;

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Node and store id.
    pub side: Side,
    /// Which start of its data directory it is.
    pub start: StartId,
    /// The process: a random number of its own.
    pub boot: u64,
    /// The cluster it belongs to.
    pub cluster: Option<u64>,
    /// Whether that cluster has begun: it has a log or a vote.
    pub initialized: bool,
    /// Whether its data directory is an older copy (C3).
    pub older_copy: bool,
    /// Software version.
    pub version: String,
}

/// How a member is, in its own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// leader, follower, learner or candidate.
    pub role: String,
    /// Its applied log index.
    pub applied: u64,
    /// How much of the name index is loaded, 0 to 1, until all is (R1).
    pub loading: Option<f64>,
    /// What it may do beyond its role.
    pub condition: Condition,
    /// Software version.
    pub version: String,
}

/// What a node answers when it is asked whether somebody is a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The cluster of the node that answers.
    pub cluster: Option<u64>,
    /// Whether the node and its directory are in its membership.
    pub member: bool,
    /// The log entry that set that membership.
    pub as_of: Option<LogId>,
    /// Whether the node leads, a majority has just confirmed it, and that membership is committed.
    pub confirmed: bool,
    /// Where the leader is, if this node knows one.
    pub leader: Option<String>,
    /// The members of that membership; only members are told.
    pub roster: Option<Roster>,
}

/// Who the members are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// All members.
    pub nodes: BTreeMap<NodeId, Member>,
    /// The sets of voters in force: one, or two while voters change.
    pub voters: Vec<BTreeSet<NodeId>>,
}

impl Roster {
    /// The members of a membership.
    pub fn of(membership: &StoredMembership) -> Self {
        Self {
            nodes: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
            voters: membership.get_joint_config().clone(),
        }
    }
}
