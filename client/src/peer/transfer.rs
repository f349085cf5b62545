//! Gets one version into the folder and announces it, for tasks and one-shot commands alike.
//!
//! Invariants: a copy is announced only after its verified bytes are in place and flushed. A version that this peer has
//! since replaced is not announced, and a response about a newer version is not taken for this one (F4).

use std::sync::Arc;

use raft_store::types::{FileName, Version};

use super::error::FolderError;
use super::folder::Folder;
use super::install::Placed;
use super::rules::{Order, Verdict};
use super::table::Copy;
use crate::cluster::{Consistency, Error, IndexClient, ReadOptions};
use crate::contract::{AnnounceRequest, AnnounceResponse, ErrorCode, FileEntry};
use crate::download::holders::Lookup;
use crate::download::{DownloadError, Downloader, FetchRequest};

/// Why a version could not be put into the folder.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// An error of the folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// An error of the download.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

impl ObtainError {
    /// A short code for task reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder(error) => error.code(),
            Self::Download(error) => error.code(),
        }
    }
}

/// Runs work on the folder on a blocking thread.
pub async fn blocking<T: Send + 'static>(
    folder: &Arc<Folder>,
    work: impl FnOnce(&Folder) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, FolderError> {
    let shared = Arc::clone(folder);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(result) => result,
        Err(error) => Err(FolderError::io("work in", folder.root(), std::io::Error::other(error))),
    }
}

/// Fetches a version unless its bytes are already here, and puts it in place under the rules F8 and L8.
///
/// Returns what was placed and the number of bytes fetched. Announce it next, with [`announce_copy`].
pub async fn obtain(
    folder: &Arc<Folder>,
    downloader: &Downloader,
    request: &FetchRequest,
    order: Order,
    lookup: Option<Lookup>,
) -> Result<(Placed, u64), ObtainError> {
    let name = request.name.clone();
    let verdict = blocking(folder, move |folder| folder.decide(&name, order)).await?;
    let name = request.name.clone();
    match verdict {
        Verdict::Refuse(refusal) => return Ok((Placed::Refused(refusal), 0)),
        Verdict::Adopt => {
            let adopted = blocking(folder, move |folder| folder.adopt(&name, order)).await?;
            return Ok((adopted, 0));
        }
        Verdict::Fetch | Verdict::Trash | Verdict::SetAside | Verdict::NothingThere => {}
    }
    let fetched = downloader.fetch_finding(request, &folder.tmp_dir(), None, lookup).await?;
    for suspect in &fetched.suspects {
        tracing::warn!(file = %request.name, %suspect, "a holder sent or may have sent wrong bytes");
    }
    let size = fetched.staged.size;
    let placed = blocking(folder, move |folder| folder.install(fetched.staged, &name, order)).await?;
    Ok((placed, size))
}

/// The copy that this peer holds after an accepted announcement. `None` if the response is about a newer version that
/// this peer announced before (F4): then it does not hold these bytes, and nothing has changed.
pub(super) async fn as_accepted(
    client: &IndexClient,
    folder: &Folder,
    name: &FileName,
    copy: Copy,
    answered: Version,
) -> Option<Copy> {
    let accepted = Copy { version: answered, ..copy };
    let known = folder.table.get(name).map_or(0, |record| record.version);
    if copy.version == answered || (copy.version == 0 && known == 0) {
        return Some(accepted);
    }
    // A newer version may have the same bytes. The hash of the current version decides.
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    let current = match client.with_reading(reading).file(name).await {
        Ok(answer) => answer.value.current(),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => None,
        Err(_) => return None, // the next scan announces it again
    };
    match current {
        Some(current) if current.version > answered => Some(accepted),
        Some(current) => (current.hash == copy.hash).then_some(accepted),
        // Deleted: a copy of any version is stale, and a task will remove it.
        None => {
            let version = if copy.version > 0 { copy.version.min(answered) } else { answered };
            Some(Copy { version, ..copy })
        }
    }
}

/// Announces a copy and records that the index accepted it. A copy that a newer one has replaced is not announced.
///
/// # Errors
/// The index refused or could not be reached; the copy then stays recorded as pending.
pub async fn announce_copy(
    client: &IndexClient,
    folder: &Arc<Folder>,
    name: &FileName,
    copy: Copy,
) -> Result<Result<AnnounceResponse, Error>, FolderError> {
    let looked_up = name.clone();
    let record = blocking(folder, move |folder| folder.record(&looked_up)).await?;
    if record.is_overtaken(copy.version) {
        return Ok(Ok(AnnounceResponse { ok: true, version: record.version, fencing_token: None, tasks: Vec::new() }));
    }
    let entry =
        FileEntry { name: name.clone(), version: Some(copy.version), size: Some(copy.stamp.size), hash: copy.hash };
    let request = AnnounceRequest {
        peer_id: folder.peer_id(),
        file: Some(entry),
        files: None,
        lease_token: None,
        keep_lease: None,
    };
    let answer = match client.announce(&request).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(copy) = as_accepted(client, folder, name, copy, answer.version).await {
        let name = name.clone();
        blocking(folder, move |folder| folder.accept(&name, copy)).await?;
    }
    Ok(Ok(answer))
}
