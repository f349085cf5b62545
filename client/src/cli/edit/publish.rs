//! The last step of a change: publishes the new content under the lease, or keeps it as a conflict copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_store::types::{ContentHash, FencingToken, FileName, Version};
use serde::Serialize;

use super::source::Workbench;
use super::{Base, current};
use crate::cli::leases::{Held, give_back};
use crate::cli::session::{Session, blocking};
use crate::cluster::Error;
use crate::contract::{AnnounceRequest, AnnounceResponse, FileEntry};
use crate::peer::{Folder, Publishing, conflict};
use crate::terminal::figures::count;
use crate::terminal::{Exit, Failure};

/// Pause before a publication that certainly was not applied is retried under the same lease.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What `update` and `append` print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    pub(super) file: FileName,
    pub(super) version: Version,
    /// False if the content is unchanged, and so nothing was published.
    pub(super) changed: bool,
    pub(super) hash: ContentHash,
    pub(super) fencing_token: FencingToken,
    /// Log index of the publication; 0 if nothing was published.
    pub(super) index: u64,
}

pub(super) async fn publish(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    held: Held,
    bench: &Workbench,
    base: &Base,
) -> Result<(), Failure> {
    if !held.guard.is_safe() {
        return Err(lost(folder, name, &bench.copy, "the lease was lost during the edit").await);
    }
    let publishing = begin(folder, name, &bench.copy, base.version + 1, held.guard.fencing_token()).await?;
    if let Some(kept) = &publishing.kept {
        session.output.warn(&format!("{name} had unpublished content, which is kept as {}", kept.display()));
    }
    let answer = match announce(session, folder, &held, &publishing).await {
        Err(error @ Error::Unknown { .. }) if is_published(session, &publishing).await => {
            tracing::debug!(%error, "the publication turned out to be applied");
            AnnounceResponse { ok: true, version: publishing.copy.version, fencing_token: None, tasks: Vec::new() }
        }
        Err(error @ Error::Unknown { .. }) => {
            held.guard.forget();
            return Err(Failure::from(error)
                .hint(format!("check whether v{} exists:  raftshare search '{name}'", base.version + 1)));
        }
        Err(error) => {
            let why = error.to_string();
            let exit = Failure::from(error).exit;
            give_back(session, held).await;
            return Err(refused(folder, name, publishing, exit, &why).await);
        }
        Ok(answer) => answer,
    };
    let (hash, index) = (publishing.copy.hash, session.client.last_index());
    let fence = held.guard.fencing_token();
    let (done, version) = (Arc::clone(folder), answer.version);
    blocking(move || done.complete_publish(publishing, version, answer.fencing_token)).await??;
    let kept = held.kept;
    held.guard.forget(); // the publication ended the lease, or the user keeps it
    let report = Published { file: name.clone(), version, changed: true, hash, fencing_token: fence, index };
    let lease = if kept { "lease kept" } else { "lease released" };
    session.output.sentence(&report, &format!("{name} v{version} published (index {}), {lease}", count(index)));
    Ok(())
}

async fn begin(
    folder: &Arc<Folder>,
    name: &FileName,
    copy: &Path,
    version: Version,
    fence: FencingToken,
) -> Result<Publishing, Failure> {
    let (folder, name, copy) = (Arc::clone(folder), name.clone(), copy.to_owned());
    let begun = move || folder.begin_publish(folder.stage_file(&copy)?, &name, version, fence);
    Ok(blocking(begun).await??)
}

/// Publishes under the lease. While the lease lives, retries a publication that certainly was not applied.
async fn announce(
    session: &Session,
    folder: &Arc<Folder>,
    held: &Held,
    publishing: &Publishing,
) -> Result<AnnounceResponse, Error> {
    let copy = publishing.copy;
    let entry = FileEntry {
        name: publishing.name.clone(),
        version: Some(copy.version),
        size: Some(copy.stamp.size),
        hash: copy.hash,
    };
    let request = AnnounceRequest {
        peer_id: folder.peer_id(),
        file: Some(entry),
        files: None,
        lease_token: Some(held.guard.token()),
        keep_lease: held.kept.then_some(true),
    };
    loop {
        match session.client.announce(&request).await {
            Err(error) if error.is_temporary() && held.guard.is_safe() => {
                session.output.remark(&format!("not published yet, retrying: {error}"));
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Whether this publication is the current version at the leader.
async fn is_published(session: &Session, publishing: &Publishing) -> bool {
    let file = current(session, &publishing.name).await.ok().flatten();
    file.is_some_and(|file| (file.version, file.hash) == (Some(publishing.copy.version), Some(publishing.copy.hash)))
}

async fn refused(folder: &Arc<Folder>, name: &FileName, publishing: Publishing, exit: Exit, why: &str) -> Failure {
    let back = Arc::clone(folder);
    let kept = match blocking(move || back.roll_back(publishing)).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => return Failure::from(error),
        Err(failure) => return failure,
    };
    let place = kept.map_or_else(|| "the folder, as it is".to_owned(), |path| path.display().to_string());
    Failure::new(exit, format!("{name} was not published: {why}"))
        .hint(format!("your edit is kept in {place}; fetch the current version:  raftshare get '{name}'"))
}

async fn lost(folder: &Arc<Folder>, name: &FileName, copy: &Path, why: &str) -> Failure {
    match keep_copy(folder, name, copy).await {
        Ok(path) => Failure::new(Exit::Conflict, format!("{name} was not published: {why}"))
            .hint(format!("your edit is kept as {}", path.display())),
        Err(failure) => failure,
    }
}

/// Keeps an edit as a conflict copy next to the file.
pub(super) async fn keep_copy(folder: &Arc<Folder>, name: &FileName, copy: &Path) -> Result<PathBuf, Failure> {
    let (folder, name, copy) = (Arc::clone(folder), name.clone(), copy.to_owned());
    let keep = move || {
        let path = folder.path_of(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let free = || std::io::Error::other(format!("no free name for a conflict copy of {name}"));
        let kept = conflict::free_path(&path, &folder.peer_id()).ok_or_else(free)?;
        std::fs::copy(&copy, &kept).map(|_| kept)
    };
    Ok(blocking(keep).await??)
}
