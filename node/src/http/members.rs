//! Founding the cluster and changing its members (C1, C2, C6).
//!
//! Invariant: a change that was started is completed, whatever happens to its caller.

use std::sync::Arc;
use std::time::Duration;

use client::contract::{
    AddLearner, Demote, Done, Init, InitResponse, MemberId, NodeAddress, Promote, Remove, Transfer,
};
use raft_store::types::NodeId;

use super::error::ApiError;
use super::handle::{Call, Handle, Sent};
use super::leases::check_wait;
use super::reply::Reply;
use super::route::Parts;
use crate::config::{MemberSpec, check_address};
use crate::deadline::left;
use crate::duties::bootstrap;
use crate::duties::membership::{self, ChangeError};
use crate::node::Node;

impl Handle for Init {
    /// The founding members; empty if only the asked node founds the cluster.
    type Checked = Vec<MemberSpec>;

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        let nodes = sent.request.nodes.unwrap_or_default().into_iter();
        let members: Vec<_> = nodes.map(|node| MemberSpec { id: node.id, address: node.address }).collect();
        for member in &members {
            check_address(&member.address).map_err(ApiError::BadRequest)?;
        }
        check_distinct(&members)?;
        Ok(members)
    }

    async fn answer(call: &Call, mut members: Self::Checked) -> Result<Reply<InitResponse>, ApiError> {
        let node = &call.node;
        if members.is_empty() {
            members.push(MemberSpec { id: node.config.id, address: node.address.clone() });
        }
        bootstrap::found(node, &members, call.parts.deadline.until(Duration::ZERO)).await?;
        let cluster_id = node.identities.cluster().map(|id| format!("{id:016x}"));
        Ok(Reply::Answer(InitResponse { ok: true, cluster_id }))
    }
}

/// Checks the list: a member that is named twice would found a different cluster than intended.
fn check_distinct(members: &[MemberSpec]) -> Result<(), ApiError> {
    for (at, member) in members.iter().enumerate() {
        let earlier = &members[..at];
        if member.id == 0 {
            return Err(ApiError::BadRequest("node ids start at 1".into()));
        }
        if earlier.iter().any(|other| other.id == member.id || other.address == member.address) {
            return Err(ApiError::BadRequest(format!(
                "node {} at {} shares its id or its address with another node of the list",
                member.id, member.address
            )));
        }
    }
    Ok(())
}

/// Makes a change on its own task, so that a caller that disconnects does not leave it halfway, in a joint
/// configuration.
async fn carried_through<F>(call: &Call, change: impl FnOnce(Arc<Node>) -> F) -> Result<Reply<Done>, ApiError>
where
    F: Future<Output = Result<(), ChangeError>> + Send + 'static,
{
    let done = tokio::spawn(change(call.node.clone()));
    done.await.map_err(|error| ApiError::Unknown(format!("the change was interrupted: {error}")))??;
    Ok(Reply::Answer(Done { ok: true }))
}

impl Handle for AddLearner {
    type Checked = NodeAddress;

    fn check(sent: Sent<'_, Self>) -> Result<NodeAddress, ApiError> {
        check_address(&sent.request.address).map_err(ApiError::BadRequest)?;
        Ok(sent.request)
    }

    fn within(_checked: &NodeAddress, parts: &Parts) -> Duration {
        left(parts.deadline.until(Duration::ZERO))
    }

    async fn answer(call: &Call, learner: NodeAddress) -> Result<Reply<Done>, ApiError> {
        let until = call.parts.deadline.until(Duration::ZERO);
        let add =
            |node: Arc<Node>| async move { membership::add_learner(&node, learner.id, &learner.address, until).await };
        carried_through(call, add).await
    }
}

impl Handle for Promote {
    /// The member, and how long to wait for it.
    type Checked = (NodeId, Duration);

    fn check(sent: Sent<'_, Self>) -> Result<Self::Checked, ApiError> {
        Ok((sent.request.id, check_wait(sent.request.wait_ms)?))
    }

    fn within((_, wait): &Self::Checked, parts: &Parts) -> Duration {
        left(parts.deadline.until(*wait))
    }

    async fn answer(call: &Call, (id, wait): Self::Checked) -> Result<Reply<Done>, ApiError> {
        let until = call.parts.deadline.until(wait);
        carried_through(call, |node| async move { membership::promote(&node, id, wait, until).await }).await
    }
}

/// Changes of one member, named by its id.
macro_rules! member_change {
    ($($endpoint:ident => $change:path),+) => { $(
        impl Handle for $endpoint {
            type Checked = MemberId;

            fn check(sent: Sent<'_, Self>) -> Result<MemberId, ApiError> {
                Ok(sent.request)
            }

            fn within(_checked: &MemberId, parts: &Parts) -> Duration {
                left(parts.deadline.until(Duration::ZERO))
            }

            async fn answer(call: &Call, member: MemberId) -> Result<Reply<Done>, ApiError> {
                let until = call.parts.deadline.until(Duration::ZERO);
                carried_through(call, |node| async move { $change(&node, member.id, until).await }).await
            }
        }
    )+ };
}
member_change!(Demote => membership::demote, Remove => membership::remove, Transfer => membership::transfer);
