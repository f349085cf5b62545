//! Raft with this crate's types, and what its metrics say.

use openraft::ServerState;
use raft_store::raft::TypeConfig;
use raft_store::storage::StateMachine;

/// The Raft instance with our types.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Whether this node is the only voter, and no majority but itself.
pub fn is_sole_voter(metrics: &openraft::RaftMetrics<TypeConfig>) -> bool {
    // Not by `voter_ids`, which collects a set: every request asks this.
    let configs = metrics.membership_config.get_joint_config();
    !configs.is_empty() && configs.iter().all(|voters| voters.iter().eq([&metrics.id]))
}

/// A role in the words of the contract.
pub fn role_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Learner => "learner",
        ServerState::Candidate | ServerState::Shutdown => "candidate",
    }
}
