//! `raftshare lease`: takes, renews and releases leases, and shows who has one.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use raft_store::types::FileName;

use crate::contract::{ErrorCode, LeaseStatus, LinePlace, ReleaseRequest};
use crate::cli::leases::{Kept, Waiting, acquire, forget, keep, kept, renew_kept};
use crate::cli::reading::Reading;
use crate::cli::session::Session;
use crate::cli::values::{file_name, lease_ttl};
use crate::cluster::Grant;
use crate::peer::Folder;
use crate::terminal::figures::{count, remaining};
use crate::terminal::{Exit, Failure};

/// How long a failure may take to find out who has a lease.
const HOLDER_LOOKUP_MAX: Duration = Duration::from_millis(500);

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
        /// How fresh the answer has to be.
        #[command(flatten)]
        reading: Reading,
    },
    /// Show who has the lease, and who is waiting for it at which position; exits with 3 if nobody has it.
    Queue {
        /// The file.
        #[arg(value_parser = file_name)]
        name: FileName,
        /// How fresh the answer has to be.
        #[command(flatten)]
        reading: Reading,
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
            LeaseCommand::Status { name, reading } => status(session, name, reading, false).await,
            LeaseCommand::Queue { name, reading } => status(session, name, reading, true).await,
        }
    }
}

fn report(session: &Session, name: &FileName, grant: &Grant, what: &str) {
    let left = humantime::format_duration(Duration::from_millis(grant.response.ttl_ms));
    let fence = count(grant.response.fencing_token);
    session.output.sentence(&grant.response, &format!("{name}: lease {what} for {left}, fencing token {fence}"));
}

/// The lease that this folder has. Without one, the failure says who has it, if the index answers soon.
async fn own(session: &Session, folder: &Arc<Folder>, name: &FileName) -> Result<Kept, Failure> {
    if let Some(kept) = kept(folder, name).await? {
        return Ok(kept);
    }
    let client = session.client.with_deadline(HOLDER_LOOKUP_MAX.min(session.timeout));
    let holder = match client.lease_status(name).await {
        Ok(Some(answer)) => format!("; {} has it", answer.value.holder),
        Ok(None) => "; nobody has it".to_owned(),
        Err(_) => String::new(),
    };
    Err(Failure::new(Exit::NotFound, format!("this folder does not hold the lease of {name}{holder}"))
        .hint(format!("take it:  raftshare lease acquire '{name}'")))
}

async fn renew(session: &Session, name: &FileName, ttl: Option<Duration>) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let kept = own(session, &folder, name).await?;
    let grant = renew_kept(session, &folder, name, kept, ttl).await?;
    report(session, name, &grant, "renewed");
    Ok(())
}

async fn release(session: &Session, name: &FileName) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let kept = own(session, &folder, name).await?;
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

async fn status(session: &Session, name: &FileName, reading: &Reading, queue: bool) -> Result<(), Failure> {
    let Some(answer) = reading.client(session).lease_status(name).await? else {
        return Err(Failure::new(Exit::NotFound, format!("nobody has the lease of {name}, and nobody waits for it"))
            .hint(format!("take it:  raftshare lease acquire '{name}'")));
    };
    session.output.freshness(&answer.freshness);
    let lease = &answer.value;
    let shown = if queue { lease.line.len() } else { 0 };
    let rows: Vec<_> = std::iter::once(holder(lease)).chain(lease.line.iter().take(shown).map(waiter)).collect();
    session.output.result(lease, &["POS", "PEER", "STATE"], &rows);
    if queue && lease.line.is_empty() {
        session.output.remark("nobody waits");
    }
    Ok(())
}

fn holder(lease: &LeaseStatus) -> Vec<String> {
    let left = remaining(lease.remaining_ms);
    let state = match lease.fencing_token {
        // The head of the queue, whose next poll claims the grant (L5).
        0 => format!("its turn; has {left} to claim the lease"),
        fence => format!("holder, ends in {left}, fencing token {}", count(fence)),
    };
    vec!["-".to_owned(), lease.holder.to_string(), state]
}

fn waiter(place: &LinePlace) -> Vec<String> {
    vec![place.position.to_string(), place.peer_id.to_string(), "waiting".to_owned()]
}
