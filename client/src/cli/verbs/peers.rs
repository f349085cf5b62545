//! `raftshare peers`: lists the live peers, or the holders of one file.

use clap::Args;
use raft_store::types::FileName;

use crate::contract::{FilePeer, PeerEntry};
use crate::cli::Session;
use crate::cli::reading::Reading;
use crate::cli::values::file_name;
use crate::cluster::IndexClient;
use crate::terminal::Failure;
use crate::terminal::figures::ago;

/// List the peers, or those that have one file.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: Option<FileName>,
    /// How fresh the answer has to be.
    #[command(flatten)]
    pub reading: Reading,
}

impl Peers {
    /// Prints every live peer, or the holders of the file.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let client = self.reading.client(session);
        match &self.name {
            Some(name) => holders(session, &client, name).await,
            None => everybody(session, &client).await,
        }
    }
}

async fn everybody(session: &Session, client: &IndexClient) -> Result<(), Failure> {
    let answer = client.peers().await?;
    let row = |peer: &PeerEntry| {
        let zone = peer.zone.clone().unwrap_or_else(|| "-".into());
        vec![peer.id.to_string(), peer.address.clone(), zone, peer.files.to_string(), seen(peer.last_seen)]
    };
    let rows: Vec<_> = answer.value.iter().map(row).collect();
    session.output.result(&answer.value, &["PEER", "ADDRESS", "ZONE", "FILES", "SEEN"], &rows);
    if rows.is_empty() {
        session.output.remark("there are no live peers; share a folder:  raftshare serve --dir DIR");
    }
    session.output.freshness(&answer.freshness);
    Ok(())
}

async fn holders(session: &Session, client: &IndexClient, name: &FileName) -> Result<(), Failure> {
    let answer = client.file_peers(name).await?;
    let row = |peer: &FilePeer| {
        let state = if peer.current { "current" } else { "stale" };
        let version = format!("v{}", peer.version);
        vec![peer.id.to_string(), peer.address.clone(), version, state.into(), seen(peer.last_seen)]
    };
    let rows: Vec<_> = answer.value.iter().map(row).collect();
    session.output.result(&answer.value, &["PEER", "ADDRESS", "VER", "STATE", "SEEN"], &rows);
    session.output.freshness(&answer.freshness);
    Ok(())
}

/// Time since the last heartbeat of a peer, which only the leader knows (R5).
fn seen(unix_seconds: Option<u64>) -> String {
    unix_seconds.map_or_else(|| "-".into(), ago)
}
