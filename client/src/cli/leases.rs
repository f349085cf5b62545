//! Takes the lease of a file, and keeps leases between commands in `.raftshare/leases.json`.
//!
//! Invariants: a kept token is deleted only when its lease has certainly ended. The file is replaced atomically and
//! under a lock, so two commands never lose each other's tokens.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use raft_store::types::{FencingToken, FileName, LeaseToken};
use serde::{Deserialize, Serialize};

use super::session::{Session, blocking};
use super::values::{Patience, lease_ttl, patience};
use crate::cluster::{Grant, LeaseAnswer, LeaseGuard};
use crate::contract::{DeniedResponse, ErrorCode, LeaseRequest, RenewRequest};
use crate::files;
use crate::peer::Folder;
use crate::terminal::figures::minutes;
use crate::terminal::{Exit, Failure, variables};

/// Options for waiting in line for a lease (L5).
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Wait in line if another peer has the lease; without a duration, wait for ever.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "forever",
          value_parser = patience)]
    pub wait: Option<Patience>,
    /// Duration of the lease, unless it is renewed.
    #[arg(long, value_name = "DURATION", value_parser = lease_ttl, env = variables::LEASE_TTL, default_value = "60s")]
    pub ttl: Duration,
}

/// A lease that the folder keeps.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its token, which is secret.
    pub token: LeaseToken,
    /// Its fencing token.
    pub fencing_token: FencingToken,
}

/// The kept leases by name.
pub type Leases = BTreeMap<FileName, Kept>;

/// Changes the kept leases, one process at a time. Blocking.
fn change(folder: &Folder, change: impl FnOnce(&mut Leases)) -> Result<(), Failure> {
    let path = folder.leases_path();
    let lock = File::options().create(true).truncate(false).write(true).open(path.with_extension("lock"))?;
    lock.lock()?;
    let mut leases = load(folder)?;
    change(&mut leases);
    let bytes = serde_json::to_vec_pretty(&leases).unwrap_or_default();
    files::write_atomic(&path, &bytes)?;
    Ok(())
}

fn load(folder: &Folder) -> Result<Leases, Failure> {
    let path = folder.leases_path();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Leases::new()),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(Exit::Disk, format!("{} is damaged: {error}", path.display()))
            .hint("remove it; the leases in it will expire by themselves")
    })
}

/// The lease that this folder keeps for a name.
pub async fn kept(folder: &Arc<Folder>, name: &FileName) -> Result<Option<Kept>, Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    blocking(move || load(&folder).map(|leases| leases.get(&name).copied())).await?
}

/// All leases that this folder keeps.
pub async fn all_kept(folder: &Arc<Folder>) -> Result<Leases, Failure> {
    let folder = Arc::clone(folder);
    blocking(move || load(&folder)).await?
}

/// Keeps a lease for later commands.
pub async fn keep(folder: &Arc<Folder>, name: &FileName, grant: &Grant) -> Result<(), Failure> {
    let kept = Kept { token: grant.response.lease_token, fencing_token: grant.response.fencing_token };
    let (folder, name) = (Arc::clone(folder), name.clone());
    blocking(move || change(&folder, |leases| _ = leases.insert(name, kept))).await?
}

/// Deletes a kept lease that has ended.
pub async fn forget(folder: &Arc<Folder>, name: &FileName) -> Result<(), Failure> {
    let (folder, name) = (Arc::clone(folder), name.clone());
    blocking(move || change(&folder, |leases| _ = leases.remove(&name))).await?
}

/// Takes the lease of a file, and waits in line for it if asked to.
pub async fn acquire(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    waiting: &Waiting,
) -> Result<Grant, Failure> {
    let request = LeaseRequest {
        peer_id: folder.peer_id(),
        file_name: name.clone(),
        ttl_ms: Some(u64::try_from(waiting.ttl.as_millis()).unwrap_or(u64::MAX)),
        wait: None,
        wait_ms: None,
    };
    let answer = match waiting.wait {
        None => session.as_peer(folder, async || session.client.acquire(&request).await).await?,
        Some(patience) => wait_in_line(session, folder, &request, patience).await?,
    };
    match answer {
        LeaseAnswer::Granted(grant) => Ok(grant),
        LeaseAnswer::Denied(denied) => Err(held(session, folder, name, &denied)),
    }
}

async fn wait_in_line(
    session: &Session,
    folder: &Arc<Folder>,
    request: &LeaseRequest,
    patience: Patience,
) -> Result<LeaseAnswer, Failure> {
    let limit: Option<Duration> = match patience {
        Patience::Forever => None,
        Patience::For(limit) => Some(limit),
    };
    let output = session.output;
    // The first request does not wait, so that the user learns at once who has the lease.
    let first = session.as_peer(folder, async || session.client.acquire(request).await).await?;
    let LeaseAnswer::Denied(denied) = first else { return Ok(first) };
    let left = minutes(denied.remaining_ms);
    output.remark(&format!("{} is being edited by {} (lease ends in {left})", request.file_name, denied.holder));
    let answer = session.as_peer(folder, async || {
        let mut last = None;
        let tell = |denied: &DeniedResponse| {
            if let Some(position) = denied.position.filter(|position| last.replace(*position) != Some(*position)) {
                output.remark(&format!("waiting in line: position {position}"));
            }
        };
        session.client.acquire_waiting(request, limit, tell).await
    });
    Ok(answer.await?)
}

fn held(session: &Session, folder: &Folder, name: &FileName, denied: &DeniedResponse) -> Failure {
    let left = minutes(denied.remaining_ms);
    let program = if session.interactive { "" } else { "raftshare " };
    if denied.holder == folder.peer_id() {
        let what = format!("another command of this folder has the lease of {name}; it ends in {left} if not renewed");
        return Failure::new(Exit::LeaseHeld, what)
            .hint(format!("wait for it:  --wait        or release it:  {program}lease release '{name}'"));
    }
    let what = format!("{name} is being edited by {}; the lease ends in {left} if it is not renewed", denied.holder);
    Failure::new(Exit::LeaseHeld, what)
        .hint(format!("wait in line:  --wait        see who waits:  {program}lease queue '{name}'"))
}

/// A lease under which a file is changed.
pub struct Held {
    /// Renews the lease.
    pub guard: LeaseGuard,
    /// Whether the user took the lease with `lease acquire`, and so keeps it.
    pub kept: bool,
}

/// Takes the lease, or uses the one that `lease acquire` took.
pub async fn hold(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    waiting: &Waiting,
) -> Result<Held, Failure> {
    if let Some(lease) = kept(folder, name).await? {
        match renew_kept(session, folder, name, lease, None).await {
            Ok(grant) => {
                let guard = LeaseGuard::start(&session.client, folder.peer_id(), name.clone(), &grant);
                return Ok(Held { guard, kept: true });
            }
            // It has ended and was deleted: take a new one.
            Err(failure) if failure.exit == Exit::Conflict => {}
            Err(failure) => return Err(failure),
        }
    }
    let grant = acquire(session, folder, name, waiting).await?;
    let guard = LeaseGuard::start(&session.client, folder.peer_id(), name.clone(), &grant);
    Ok(Held { guard, kept: false })
}

/// Releases a lease, unless the user keeps it.
pub async fn give_back(session: &Session, held: Held) {
    if held.kept {
        return held.guard.forget();
    }
    if let Err(error) = held.guard.release().await {
        session.output.remark(&format!("could not release the lease; it will expire by itself: {error}"));
    }
}

/// Renews a kept lease, or deletes it if it has ended.
pub async fn renew_kept(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    kept: Kept,
    ttl: Option<Duration>,
) -> Result<Grant, Failure> {
    let request = RenewRequest {
        peer_id: folder.peer_id(),
        file_name: name.clone(),
        lease_token: kept.token,
        ttl_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
    };
    match session.client.renew(&request).await {
        Ok(grant) => Ok(grant),
        Err(error) => {
            let over = error.code() == Some(ErrorCode::LeaseExpired);
            if over {
                forget(folder, name).await?;
            }
            let failure = Failure::from(error);
            Err(if over { failure.hint(format!("take it again:  raftshare lease acquire '{name}'")) } else { failure })
        }
    }
}
