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
use crate::net::Net;
use crate::node::Identities;

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
        let kept = self.idle.lock().get_mut(&target).and_then(Vec::pop).filter(|link| link.member == *member);
        let mut link =
            kept.unwrap_or_else(|| Link::new(self.net.clone(), self.identities.clone(), target, member.clone()));
        let outcome = link.call(request, deadline).await;
        if link.is_open() {
            let mut idle = self.idle.lock();
            let links = idle.entry(target).or_default();
            if links.len() < IDLE_LINKS_MAX {
                links.push(link);
            }
        }
        outcome
    }
}
