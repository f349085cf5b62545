//! Ending, pausing and restarting nodes.
//!
//! Invariant: a node that ended by itself is told apart from one that was killed.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use raft_store::types::NodeId;

use super::{Cluster, ClusterError, POLL};

impl Cluster {
    /// SIGKILL.
    pub fn kill(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.kill();
        member.stopped = false;
        Ok(())
    }

    /// SIGTERM, and waits until the node ended.
    pub async fn terminate(&mut self, id: NodeId, within: Duration) -> Result<ExitStatus, ClusterError> {
        let deadline = Instant::now() + within;
        self.member(id)?.process.terminate()?;
        loop {
            if let Some(status) = self.member(id)?.process.ended() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.not_ready(format!("node {id} did not end after SIGTERM"), within));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGSTOP.
    pub fn stop(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.stop()?;
        member.stopped = true;
        Ok(())
    }

    /// SIGCONT for every stopped node; returns them.
    pub fn resume_all(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut resumed = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| member.stopped) {
            member.process.resume()?;
            member.stopped = false;
            resumed.push(*id);
        }
        Ok(resumed)
    }

    /// Starts a killed node again.
    pub fn restart(&mut self, id: NodeId) -> Result<(), ClusterError> {
        let member = self.member(id)?;
        member.process.restart()?;
        (member.stopped, member.exit_expected, member.ended) = (false, false, None);
        let pid = member.process.id().unwrap_or_default();
        self.pids.set(id, pid);
        Ok(())
    }

    /// Starts every node that does not run; returns them.
    pub fn restart_dead(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut restarted = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, member)| !member.process.is_started()) {
            member.process.restart()?;
            (member.exit_expected, member.ended) = (false, None);
            self.pids.set(*id, member.process.id().unwrap_or_default());
            restarted.push(*id);
        }
        Ok(restarted)
    }

    /// From now on until it is started again, a node may end by itself: a fault makes it.
    pub fn expect_exit(&mut self, id: NodeId) -> Result<(), ClusterError> {
        self.member(id)?.exit_expected = true;
        Ok(())
    }

    /// Whether a fault makes this node end by itself.
    pub fn exit_is_expected(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.exit_expected)
    }

    /// Waits until a node ended by itself; absent if it still runs after `within`.
    pub async fn wait_ended(&mut self, id: NodeId, within: Duration) -> Result<Option<ExitStatus>, ClusterError> {
        let deadline = Instant::now() + within;
        loop {
            self.notice_ends();
            if let Some(status) = self.member(id)?.ended {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Nodes that ended by themselves since the last call, and how.
    pub fn ended(&mut self) -> Vec<(NodeId, String)> {
        self.notice_ends();
        let mut ended = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(status) = member.ended.filter(|_| !member.end_told) {
                member.end_told = true;
                ended.push((*id, status.to_string()));
            }
        }
        ended
    }

    fn notice_ends(&mut self) {
        for member in self.members.values_mut() {
            if let Some(status) = member.process.ended() {
                (member.ended, member.end_told) = (Some(status), false);
            }
        }
    }
}
