//! `raftshare lease`: takes, renews and releases leases, and shows who has one.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use raft_store::types::FileName;

use crate::contract::{ErrorCode, ReleaseRequest};
use crate::cli::leases::{Kept, Waiting, acquire, forget, keep, kept, renew_kept};
use crate::cli::session::Session;
use crate::cli::values::{file_name, lease_ttl};
use crate::cluster::Grant;
use crate::peer::Folder;
use crate::terminal::figures::{count, remaining};
use crate::terminal::{Exit, Failure};

/// Take, renew, release or show leases.
#[derive(Debug, Clone, Args)]
pub struct Lease {
    /// What to do.
    #[command(subcommand)]
    pub command: LeaseCommand,
}

/// The commands about leases.
#[derive(Debug, Clone, Subcommand)]
pub enum LeaseCommand {
    /// Take the lease of a file; the folder keeps its token.
    Acquire {
        /// The file, which need not exist yet.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// Options for the lease.
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Renew the lease that this folder has.
    Renew {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// New duration from now [default: the granted duration].
        #[arg(long, value_name = "DURATION", value_parser = lease_ttl)]
        ttl: Option<Duration>,
    },
    /// Release the lease that this folder has.
    Release {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
    /// Show who has the lease.
    Status {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
    /// Show who has the lease and who is waiting for it.
    Queue {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
    },
}

impl Lease {
    /// Runs the command.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        match &self.command {
            LeaseCommand::Acquire { name, waiting } => {
                let folder = session.folder().await?;
                let grant = acquire(session, &folder, name, waiting).await?;
                keep(&folder, name, &grant).await?;
                report(session, name, &grant, "granted");
                Ok(())
            }
            LeaseCommand::Renew { name, ttl } => renew(session, name, *ttl).await,
            LeaseCommand::Release { name } => release(session, name).await,
            LeaseCommand::Status { name } => status(session, name, false).await,
            LeaseCommand::Queue { name } => status(session, name, true).await,
        }
    }
}

fn report(session: &Session, name: &FileName, grant: &Grant, what: &str) {
    let left = humantime::format_duration(Duration::from_millis(grant.response.ttl_ms));
    let fence = count(grant.response.fencing_token);
    session.output.sentence(&grant.response, &format!("{name}: lease {what} for {left}, fencing token {fence}"));
}

async fn own(folder: &Arc<Folder>, name: &FileName) -> Result<Kept, Failure> {
    kept(folder, name).await?.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("this folder has no lease of {name}"))
            .hint(format!("take it:  raftshare lease acquire '{name}'"))
    })
}

async fn renew(session: &Session, name: &FileName, ttl: Option<Duration>) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let kept = own(&folder, name).await?;
    let grant = renew_kept(session, &folder, name, kept, ttl).await?;
    report(session, name, &grant, "renewed");
    Ok(())
}

async fn release(session: &Session, name: &FileName) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let kept = own(&folder, name).await?;
    let request = ReleaseRequest { peer_id: folder.peer_id(), file_name: name.clone(), lease_token: kept.token };
    let result = session.client.release(&request).await;
    let over = result.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::LeaseExpired));
    if result.is_ok() || over {
        forget(&folder, name).await?;
    }
    result?;
    session.output.sentence(&serde_json::json!({"released": name}), &format!("{name}: lease released"));
    Ok(())
}

async fn status(session: &Session, name: &FileName, queue: bool) -> Result<(), Failure> {
    let Some(answer) = session.client.lease_status(name).await? else {
        return Err(Failure::new(Exit::NotFound, format!("no peer has the lease of {name}"))
            .hint(format!("take it:  raftshare lease acquire '{name}'")));
    };
    session.output.freshness(&answer.freshness);
    let lease = &answer.value;
    let holder = vec![
        "-".to_owned(),
        lease.holder.to_string(),
        format!(
            "holder, ends in {}, fencing token {}",
            remaining(lease.remaining_ms),
            count(lease.fencing_token)
        ),
    ];
    let waiting = lease
        .line
        .iter()
        .map(|place| vec![place.position.to_string(), place.peer_id.to_string(), "waiting".to_owned()]);
    let shown = if queue { usize::MAX } else { 0 };
    let rows: Vec<_> = std::iter::once(holder).chain(waiting.take(shown)).collect();
    session.output.result(lease, &["POS", "PEER", "STATE"], &rows);
    Ok(())
}
