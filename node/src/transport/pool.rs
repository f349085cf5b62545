//! Idle links for calls outside Raft's own traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use raft_store::raft::Member;
use raft_store::types::NodeId;

use super::error::CallError;
use super::link::Link;
use super::{Request, Response};
use crate::identities::Identities;
use crate::sys::net::Net;

/// Idle links kept per member.
const IDLE_LINKS_MAX: usize = 8;

/// A few idle links per member for calls outside Raft's own traffic.
pub struct LinkPool {
    net: Arc<dyn Net>,
    identities: Arc<Identities>,
    idle: Mutex<HashMap<NodeId, Vec<Link>>>,
}

impl LinkPool {
    /// An empty pool.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>) -> Self {
        Self { net, identities, idle: Mutex::new(HashMap::new()) }
    }

    /// Calls a member over an idle link, or a new one.
    pub async fn call(
        &self,
        target: NodeId,
        member: &Member,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        let fresh = || Link::new(self.net.clone(), self.identities.clone(), target, member.clone());
        let kept = self.idle.lock().get_mut(&target).and_then(Vec::pop).filter(|link| link.member == *member);
        let was_kept = kept.is_some();
        let mut link = kept.unwrap_or_else(fresh);
        let mut outcome = link.call(request, deadline).await;
        if was_kept && matches!(outcome, Err(CallError::Broken { .. })) {
            // The other side was restarted since. All calls over the pool may be repeated.
            link = fresh();
            outcome = link.call(request, deadline).await;
        }
        // A link that still owes an answer would delay the next call.
        if link.is_open() && !matches!(outcome, Err(CallError::TimedOut { .. })) {
            let mut idle = self.idle.lock();
            let links = idle.entry(target).or_default();
            if links.len() < IDLE_LINKS_MAX {
                links.push(link);
            }
        }
        outcome
    }
}
