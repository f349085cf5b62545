//! Opens a connection: connects, says who calls and who is wanted, and reads whether the other side agrees (C1).

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::link::CONNECT_DEADLINE;
use super::{Hello, Identity, MAGIC, PROTOCOL_VERSION, Request, Response, Welcome, frame};
use crate::identities::{Identities, Side, Told, is_superseded};
use crate::sys::net::{Connection, Net};
use raft_store::storage::StartId;

/// How long a node may take to say who it is.
const WHO_DEADLINE: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    /// The other side was not reached, or did not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It refused the connection.
    #[error("refused: {0}")]
    Refused(String),
    /// It says that this node is no member (C6).
    #[error("refused: this node is not a member as of log index {0}")]
    NotMember(u64),
    /// It knows a later start of this node's data directory (C3, C5).
    #[error("refused: the data directory of this node is an older copy: {0}")]
    OlderCopy(String),
}

/// A connection whose other side accepted the hello.
pub(super) struct Opened {
    stream: Connection,
    /// The start of its directory.
    start: StartId,
    /// Its process.
    boot: u64,
}

/// Connects and exchanges hellos.
pub(super) async fn open(net: &dyn Net, address: &str, hello: &Hello) -> Result<Opened, NotOpened> {
    fn unreachable(error: impl std::fmt::Display) -> NotOpened {
        NotOpened::Unreachable(error.to_string())
    }
    let mut stream = net.connect(address.to_owned()).await.map_err(unreachable)?;
    stream.write_all(&MAGIC).await.map_err(unreachable)?;
    let mut buffer = Vec::new();
    frame::write(&mut stream, &mut buffer, hello).await.map_err(unreachable)?;
    match frame::read(&mut stream, &mut buffer).await.map_err(unreachable)? {
        Welcome::Accepted { start, boot } => Ok(Opened { stream, start, boot }),
        Welcome::Refused(reason) => Err(NotOpened::Refused(reason)),
        Welcome::NotMember { as_of } => Err(NotOpened::NotMember(as_of)),
        Welcome::OlderCopy(reason) => Err(NotOpened::OlderCopy(reason)),
    }
}

/// Opens a connection, and says which process is at its other end.
///
/// Tries a member's addresses in turn until one answers with the wanted directory (C4). An older copy of the directory
/// counts only if nothing else answers. What others say about this node on the way is recorded.
pub(super) async fn open_any(
    net: &dyn Net,
    identities: &Identities,
    addresses: &[String],
    hello: &Hello,
    to: Side,
) -> Result<(Connection, u64), String> {
    let mut reasons = Vec::new();
    let mut older_copy = None;
    for address in addresses {
        let refusal = match timeout(CONNECT_DEADLINE, open(net, address, hello)).await {
            Err(_) => NotOpened::Unreachable("no answer to the connection attempt".to_owned()),
            Ok(Ok(Opened { stream, start, boot })) => {
                if identities.starts.read(|known| is_superseded(known.store(to.store), start)).is_some() {
                    older_copy.get_or_insert((stream, boot));
                    continue;
                }
                identities.note_reached(to.store, address);
                return Ok((stream, boot));
            }
            Ok(Err(refusal)) => refusal,
        };
        match &refusal {
            NotOpened::OlderCopy(reason) => identities.tell(Told::OlderCopy(reason.clone())),
            NotOpened::NotMember(_) => identities.tell(Told::NotMember),
            NotOpened::Unreachable(_) | NotOpened::Refused(_) => {}
        }
        reasons.push(match addresses.len() {
            1 => refusal.to_string(),
            _ => format!("{address}: {refusal}"),
        });
    }
    older_copy.ok_or_else(|| reasons.join("; "))
}

/// Makes one call as an outsider: to a node, or from one, that is in no membership yet.
pub async fn outsider_call(
    net: &dyn Net,
    address: &str,
    request: &Request,
    deadline: Duration,
) -> Result<Response, String> {
    let exchange = async {
        let hello = Hello::Outsider { protocol: PROTOCOL_VERSION };
        let Opened { mut stream, .. } = open(net, address, &hello).await.map_err(|error| error.to_string())?;
        let mut buffer = Vec::new();
        frame::write(&mut stream, &mut buffer, request).await.map_err(|error| error.to_string())?;
        frame::read(&mut stream, &mut buffer).await.map_err(|error| error.to_string())
    };
    match timeout(deadline, exchange).await {
        Err(_) => Err(format!("no answer within {deadline:?}")),
        Ok(Ok(Response::Failed(reason))) => Err(reason),
        Ok(outcome) => outcome,
    }
}

/// Asks whoever listens at an address who it is.
pub async fn who(net: &dyn Net, address: &str) -> Result<Identity, String> {
    who_within(net, address, WHO_DEADLINE).await
}

/// The same, with the caller's deadline.
pub async fn who_within(net: &dyn Net, address: &str, deadline: Duration) -> Result<Identity, String> {
    match outsider_call(net, address, &Request::Who, deadline).await? {
        Response::Who(identity) => Ok(identity),
        other => Err(format!("unexpected answer {other:?}")),
    }
}
