//! Proof that a cut cuts: a connection that poses as a node's, answered before the cut and not after it.
//!
//! Invariant: a probe asks for nothing but a sign of life, which the product gives to anybody.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use raft_store::types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::link::Direction;
use super::owner::Owners;

const REQUEST: &[u8] = b"HEAD /healthz HTTP/1.1\r\nHost: probe\r\n\r\n";
/// How long a healthy link may take.
const PASSES_WITHIN: Duration = Duration::from_secs(2);
/// How long a request that passes would take at most on a machine that is busy; a cut holds it for longer.
const HELD_FOR: Duration = Duration::from_millis(100);

/// A connection through a proxy.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    owners: Owners,
    port: u16,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.owners.unpose(self.port);
    }
}

impl Probe {
    /// Connects as the node that the direction comes from, and sees that a request is answered.
    pub async fn open(direction: Direction, fronts: &[(NodeId, SocketAddr)], owners: &Owners) -> anyhow::Result<Self> {
        let (from, to) = direction;
        let (_, front) = fronts.iter().find(|(id, _)| *id == to).context("no such proxy")?;
        let socket = TcpSocket::new_v4().context("no socket")?;
        socket.bind(([127, 0, 0, 1], 0).into()).context("no port")?;
        let port = socket.local_addr().context("no port")?.port();
        owners.pose(port, from);
        let connected = timeout(PASSES_WITHIN, socket.connect(*front)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            failed => {
                owners.unpose(port);
                failed.context("too slow")?.context("a proxy does not answer")?
            }
        };
        let mut probe = Self { stream, owners: owners.clone(), port };
        let answered = timeout(PASSES_WITHIN, probe.exchange()).await;
        ensure!(matches!(answered, Ok(Ok(()))), "node {to} did not answer node {from}'s link");
        Ok(probe)
    }

    /// Whether another request stays without an answer.
    pub async fn is_held(&mut self) -> bool {
        timeout(HELD_FOR, self.exchange()).await.is_err()
    }

    async fn exchange(&mut self) -> std::io::Result<()> {
        self.stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.stream.read_u8().await?);
        }
        Ok(())
    }
}
