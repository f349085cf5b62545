//! Opening a connection: connect, say who calls and whom it wants, and hear whether that is right (C1).

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{Hello, MAGIC, PROTOCOL_VERSION, Request, Response, Welcome, frame};
use crate::net::{Connection, Net};

/// Connects and exchanges hellos.
pub(super) async fn open(net: &dyn Net, address: &str, hello: &Hello) -> Result<Connection, String> {
    let mut stream = net.connect(address.to_owned()).await.map_err(|error| error.to_string())?;
    stream.write_all(&MAGIC).await.map_err(|error| error.to_string())?;
    let mut buffer = Vec::new();
    frame::write(&mut stream, &mut buffer, hello).await.map_err(|error| error.to_string())?;
    match frame::read(&mut stream, &mut buffer).await.map_err(|error| error.to_string())? {
        Welcome::Accepted => Ok(stream),
        Welcome::Refused(reason) => Err(format!("refused: {reason}")),
    }
}

/// Asks a node that is in no membership yet.
pub async fn birth_call(
    net: &dyn Net,
    address: &str,
    request: &Request,
    deadline: Duration,
) -> Result<Response, String> {
    let exchange = async {
        let mut stream = open(net, address, &Hello::Birth { protocol: PROTOCOL_VERSION }).await?;
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
