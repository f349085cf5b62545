//! openraft's type configuration, the aliases for its generic types, and its settings.
//!
//! Invariant: no other module spells openraft's generics or chooses its settings.

use serde::{Deserialize, Serialize};

use crate::catalog::Outcome;
use crate::proposal::Proposal;
use crate::types::NodeId;

/// A member as the replicated membership records it (C1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where API and node-to-node traffic reach it: `host:port`.
    pub address: String,
    /// The random id of its data directory. A node with another directory is not this member (C1, C3).
    pub store_id: u64,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{:016x}", self.address, self.store_id)
    }
}

/// The answers to one entry: one outcome per command; none for blank and membership entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes(pub Vec<Outcome>);

impl std::fmt::Display for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} outcomes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// openraft's type configuration for raftshare.
    pub TypeConfig:
        D = Proposal,
        R = Outcomes,
        NodeId = NodeId,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
);

/// What a committed log id says about the leader that proposed the entry: its term.
pub type CommittedLeader =
    <openraft::impls::leader_id_std::LeaderId<u64, NodeId> as openraft::vote::RaftLeaderId>::Committed;
/// A position in the log.
pub type LogId = openraft::LogId<CommittedLeader>;
/// A log entry.
pub type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
/// What a node voted for.
pub type Vote = <TypeConfig as openraft::RaftTypeConfig>::Vote;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::StoredMembership<CommittedLeader, NodeId, Member>;
/// openraft's description of a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeader, NodeId, Member>;
/// A snapshot, with its description and its bytes.
pub type Snapshot = openraft::Snapshot<CommittedLeader, NodeId, Member, crate::storage::SnapshotData>;

/// openraft's settings for this store (`cluster` only appears in logs).
///
/// `enable_leader_restore` has to stay off: this store groups flushes, and openraft replicates an entry before the
/// leader's own flush. A leader that crashed in between and resumed its old term would write another entry under the
/// same log id, and replicas would diverge. With the setting off, a restarted leader stands for election in a new term.
pub fn raft_config(cluster: &str) -> openraft::Config {
    let config = openraft::Config {
        cluster_name: cluster.to_owned(),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        // A snapshot costs as much as the catalog is large, however little was written since the last one. So the node
        // triggers one when the log has grown by as much.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 1_000,
        // Entries have up to 56 KiB; reads of the log are also limited in bytes (`storage::READ_BYTES_MAX`).
        max_payload_entries: 256,
        ..openraft::Config::default()
    };
    with_timeouts(config, 40, (120, 240))
}

/// The settings with other timeouts, in milliseconds, and with everything that depends on them.
///
/// A leader that has lost its quorum falls silent for `quorum_loss_probe_interval` before it sends heartbeats again.
/// Without that pause, a follower that it still reaches would never vote for another candidate. If that follower is the
/// only link between the other nodes, no leader could be elected (C7). The pause lets the follower's lease run out and
/// then leaves time for one election. openraft's lease is as long as the longest election timeout, so the pause is
/// twice as long.
pub fn with_timeouts(config: openraft::Config, heartbeat: u64, election: (u64, u64)) -> openraft::Config {
    openraft::Config {
        heartbeat_interval: heartbeat,
        election_timeout_min: election.0,
        election_timeout_max: election.1,
        quorum_loss_probe_interval: Some(election.1.saturating_mul(2)),
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_leader_stands_for_election() {
        let config = raft_config("test").validate().expect("the settings are consistent");
        assert_eq!(config.enable_leader_restore, Some(false), "replicas diverge with it, see raft_config");
        assert_eq!(config.enable_pre_vote, Some(true));
    }

    #[test]
    fn a_leader_without_a_quorum_is_silent_until_others_could_elect_one() {
        let timeouts = [(40, (120, 240)), (1, (2, 3)), (100, (1_000, 1_001)), (2_000, (5_000, 60_000))];
        for (heartbeat, election) in timeouts {
            let config = with_timeouts(raft_config("test"), heartbeat, election);
            let config = config.validate().expect("the settings are consistent");
            let lease = election.1;
            let silence =
                config.quorum_loss_probe_interval.expect("C7: a bridge would keep the old leader's lease alive");
            assert!(silence >= lease + election.1, "{silence} ms are too short for {election:?}");
        }
        assert_eq!(raft_config("test").quorum_loss_probe_interval, Some(480));
    }
}
