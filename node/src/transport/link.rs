//! A connection to one member that is opened when it is needed.
//!
//! Invariant: a cancelled call affects neither the connection nor the attempt to open one. So a slow network is slow,
//! but not unusable.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use raft_store::raft::Member;
use raft_store::types::NodeId;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use super::channel::{Channel, SendError};
use super::check::Asked;
use super::dial::open_any;
use super::error::CallError;
use super::frame::{self, FrameError};
use super::{Hello, PROTOCOL_VERSION, Request, Response, SnapshotHead};
use crate::identities::{Identities, Side};
use crate::sys::clock;
use crate::sys::net::{Connection, Net};

/// How long connecting to one address and the hello may take.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// How long sending and installing the smallest snapshot may take. A receiver that loses power in between says nothing
/// more, and until the deadline nothing else is replicated to it.
const SNAPSHOT_DEADLINE_MIN: Duration = Duration::from_secs(10);
/// A larger one may take longer, at this many bytes per second for sending, writing and loading it.
const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 2 * 1_024 * 1_024;

/// One connection to one member; dials when needed, and again after the connection has ended.
pub struct Link {
    net: Arc<dyn Net>,
    pub(super) identities: Arc<Identities>,
    pub(super) target: NodeId,
    pub(super) member: Member,
    channel: Option<Channel>,
    dialling: Option<JoinHandle<Result<(Connection, u64), String>>>,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(net: Arc<dyn Net>, identities: Arc<Identities>, target: NodeId, member: Member) -> Self {
        Self { net, identities, target, member, channel: None, dialling: None }
    }

    /// Whether it is connected.
    pub fn is_open(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::is_open)
    }

    /// Sends a request and waits for its response, `deadline` in all.
    pub async fn call(&mut self, request: &Request, deadline: Duration) -> Result<Response, CallError> {
        let (node, until) = (self.target, clock::now() + deadline);
        let channel = self.open(deadline).await?;
        let reply = channel.send(request).map_err(|error| broken(node, error))?;
        match timeout_at(until, reply).await {
            Err(_) => Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(_)) => Err(broken(node, SendError::Ended)),
            Ok(Ok(Response::Failed(reason))) => Err(CallError::Failed { node, reason }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// The connection; a new one if there is none. The attempt to open one goes on if this is cancelled or takes too
    /// long.
    pub(super) async fn open(&mut self, within: Duration) -> Result<&Channel, CallError> {
        if !self.is_open() {
            self.channel = None;
            if self.dialling.is_none() {
                self.dialling = Some(tokio::spawn(self.dial()?));
            }
            let dialled = match &mut self.dialling {
                // It stays where it is until it is done, so that a cancelled call does not lose it.
                Some(dialling) => timeout(within, dialling).await,
                None => return Err(self.unreachable("not connected")),
            };
            let Ok(dialled) = dialled else { return Err(self.unreachable("no answer to the connection attempt")) };
            self.dialling = None;
            let dialled = dialled.unwrap_or_else(|error| Err(error.to_string()));
            let (connection, boot) = dialled.map_err(|reason| self.unreachable(&reason))?;
            self.channel = Some(Channel::run(connection, boot));
        }
        self.channel.as_ref().ok_or_else(|| self.unreachable("not connected"))
    }

    fn dial(&self) -> Result<impl Future<Output = Result<(Connection, u64), String>> + use<>, CallError> {
        if self.identities.is_silent() {
            return Err(self.unreachable("this node takes no part in its cluster"));
        }
        let (from, cluster) = (self.identities.side(), self.identities.cluster());
        let to = Side { node: self.target, store: self.member.store_id };
        let Some(cluster) = cluster else { return Err(self.unreachable("this node belongs to no cluster yet")) };
        let start = self.identities.start();
        let at = self.identities.address().to_owned();
        let hello = Hello::Member { protocol: PROTOCOL_VERSION, cluster, from, start, to, at };
        let (net, identities) = (self.net.clone(), self.identities.clone());
        let addresses = self.identities.addresses_of(self.target, &self.member);
        Ok(async move { open_any(&*net, &identities, &addresses, &hello, to).await })
    }

    pub(super) async fn send_snapshot(&mut self, head: SnapshotHead, bytes: &[u8]) -> Result<Response, CallError> {
        let node = self.target;
        let (mut stream, _) = self.dial()?.await.map_err(|reason| self.unreachable(&reason))?;
        let mut buffer = Vec::new();
        let request = Request::Snapshot(head);
        let exchange = async {
            frame::write(&mut stream, &mut buffer, &request).await?;
            stream.write_all(bytes).await.map_err(FrameError::Io)?;
            let response = frame::read::<_, Response>(&mut stream, &mut buffer).await?;
            Asked::by(&request).check(&response)?;
            Ok::<_, FrameError>(response)
        };
        let deadline = snapshot_deadline(bytes.len());
        match timeout(deadline, exchange).await {
            Err(_) => Err(CallError::TimedOut { node, after: deadline }),
            Ok(Err(error)) => Err(broken(node, error.into())),
            Ok(Ok(Response::Failed(reason))) => Err(CallError::Failed { node, reason }),
            Ok(Ok(response)) => Ok(response),
        }
    }

    fn unreachable(&self, reason: &str) -> CallError {
        CallError::Unreachable { node: self.target, address: self.member.address.clone(), reason: reason.to_owned() }
    }
}

pub(super) fn broken(node: NodeId, error: SendError) -> CallError {
    CallError::Broken { node, reason: error.to_string() }
}

pub(super) fn snapshot_deadline(bytes: usize) -> Duration {
    SNAPSHOT_DEADLINE_MIN + Duration::from_secs(bytes as u64 / SNAPSHOT_BYTES_PER_SECOND_MIN)
}

#[cfg(test)]
mod tests {
    use raft_store::storage::{OpenOptions, SimDisk, StartId, Storage};

    use super::*;
    use crate::sys::net::SystemNet;

    /// C3, C6: every call would be refused, ten times a second.
    #[tokio::test]
    async fn a_node_that_takes_no_part_calls_nobody() {
        let options = OpenOptions { node_id: 1, new_store_id: 7 };
        let storage = Storage::open_simulated(&SimDisk::default(), &options).expect("opens");
        let side = Side { node: 1, store: 7 };
        let identities = Arc::new(Identities::new(
            side,
            StartId::default(),
            "own:1".into(),
            Some(5),
            storage.starts.clone(),
            Vec::new(),
        ));
        let net = Arc::new(SystemNet::new().expect("a network"));
        // Port 0 reaches nobody.
        let member = Member { address: "127.0.0.1:0".into(), store_id: 9 };
        let mut link = Link::new(net, identities.clone(), 2, member);
        let mut refusal =
            async || link.call(&Request::Status, CONNECT_DEADLINE).await.map(drop).expect_err("no answer").to_string();
        assert!(!refusal().await.contains("takes no part"));
        identities.be_silent(true);
        assert!(refusal().await.contains("takes no part"));
        identities.be_silent(false);
        assert!(!refusal().await.contains("takes no part"));
    }
}
