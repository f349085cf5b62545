//! Changing a file (`update`, `append`): take the lease, make the new content from the newest one, publish it as the
//! next version.
//!
//! ```text
//! lease ─► newest content ─► edit a copy ─► in place ─► publish under the token ─┬► done, lease over (F5)
//!            (renewed in the background all the while, L7)                        ├► refused: conflict copy, exit 5
//!                                                                                 └► unknown: said so, exit 8
//! ```
//! Invariant: an edit is never lost. Whatever cannot be published is kept as
//! `NAME.conflict-PEER-TIME` next to the file.

mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_store::types::{ContentHash, FencingToken, FileName, Version};
use serde::Serialize;

use super::fetch::fetch;
use super::leases::{self, Waiting};
use super::session::{Session, blocking};
use crate::api::{AnnounceRequest, AnnounceResponse, ErrorCode, FileEntry, FileResponse};
use crate::cluster::{Consistency, Error, LeaseGuard, ReadOptions};
use crate::files;
use crate::peer::{Disk, Folder, Publishing, conflict};
use crate::terminal::figures::count;
use crate::terminal::{Exit, Failure};

pub use source::Source;
use source::Workbench;

/// Pause before a publication is tried again that certainly was not applied, while the lease lives.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What `update` and `append` print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Published {
    file: FileName,
    version: Version,
    /// False if the content is what it was, and nothing was published.
    changed: bool,
    hash: ContentHash,
    fencing_token: FencingToken,
    /// Log index of the publication; 0 if there was none.
    index: u64,
}

/// The lease under which a file is changed.
pub struct Held {
    /// Renews itself.
    pub guard: LeaseGuard,
    /// Whether the user took it with `lease acquire`, and so keeps it.
    pub kept: bool,
}

/// What the new content is made from.
struct Base {
    /// The current version; 0 if there is none.
    version: Version,
    /// Its hash; `None` for a new or deleted name.
    hash: Option<ContentHash>,
}

/// Changes a file: takes its lease, makes the new content, publishes it.
pub async fn change(session: &Session, name: &FileName, waiting: &Waiting, source: Source) -> Result<(), Failure> {
    let folder = session.folder().await?;
    let held = hold(session, &folder, name, waiting).await?;
    match edited(session, &folder, name, &held, &source).await {
        Ok((bench, base, hash)) if base.hash == Some(hash) => {
            drop(bench);
            let report = Published {
                file: name.clone(),
                version: base.version,
                changed: false,
                hash,
                fencing_token: held.guard.fencing_token(),
                index: 0,
            };
            let lease = if held.kept { "lease kept" } else { "lease released" };
            give_back(session, held).await;
            session.output.sentence(&report, &format!("{name} is unchanged; v{} stays, {lease}", base.version));
            Ok(())
        }
        Ok((bench, base, _)) => publish(session, &folder, name, held, &bench, &base).await,
        Err(failure) => {
            give_back(session, held).await;
            Err(failure)
        }
    }
}

/// Takes the lease, or goes on with the one that `lease acquire` took.
pub async fn hold(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    waiting: &Waiting,
) -> Result<Held, Failure> {
    if let Some(kept) = leases::kept(folder, name).await? {
        match leases::renew_kept(session, folder, name, kept, None).await {
            Ok(grant) => {
                let guard = LeaseGuard::start(&session.client, folder.peer_id(), name.clone(), &grant);
                return Ok(Held { guard, kept: true });
            }
            // It is over, and forgotten by now: take a new one.
            Err(failure) if failure.exit == Exit::Conflict => {}
            Err(failure) => return Err(failure),
        }
    }
    let grant = leases::acquire(session, folder, name, waiting).await?;
    let guard = LeaseGuard::start(&session.client, folder.peer_id(), name.clone(), &grant);
    Ok(Held { guard, kept: false })
}

/// Gives a lease back, unless the user took it for longer.
pub async fn give_back(session: &Session, held: Held) {
    if held.kept {
        return held.guard.forget();
    }
    if let Err(error) = held.guard.release().await {
        session.output.remark(&format!("the lease could not be given back and will run out: {error}"));
    }
}

/// The new content, in a file of its own, with what it was made from and its hash.
async fn edited(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    held: &Held,
    source: &Source,
) -> Result<(Workbench, Base, ContentHash), Failure> {
    let bench = Workbench::new(&folder.tmp_dir(), name)?;
    let (base, fresh) = prepare(session, folder, name, held.guard.version(), source, &bench.copy).await?;
    if let Some(from) = fresh {
        session.output.remark(&format!("fetched v{from} before editing"));
    }
    let changed = tokio::select! {
        biased;
        result = source.apply(&bench.copy) => result,
        () = async {
            held.guard.lost().await;
            session.output.warn("the lease is lost: the edit will be kept, but as a conflict copy");
            std::future::pending().await
        } => Ok(()),
    };
    if let Err(failure) = changed {
        return Err(keep_unpublished(folder, name, &bench.copy, &base, failure).await);
    }
    let copy = bench.copy.clone();
    let (hash, _) = blocking(move || files::hash_file(&copy)).await?.map_err(|error| {
        Failure::new(Exit::Other, format!("there is no new content of {name} ({error}); nothing was published"))
    })?;
    Ok((bench, base, hash))
}

/// An editor that fails may have saved something before.
async fn keep_unpublished(
    folder: &Arc<Folder>,
    name: &FileName,
    copy: &Path,
    base: &Base,
    failure: Failure,
) -> Failure {
    let now = files::hash_file(copy).ok().map(|(hash, _)| hash);
    if now.is_none() || now == base.hash || copy.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return failure;
    }
    match keep_copy(folder, name, copy).await {
        Ok(path) => failure.hint(format!("what was saved is kept as {}", path.display())),
        Err(_) => failure,
    }
}

/// Puts the newest content at `copy`, if the source needs it. Answers the version that had to be fetched, if any.
async fn prepare(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    version: Version,
    source: &Source,
    copy: &Path,
) -> Result<(Base, Option<Version>), Failure> {
    let file = if version == 0 { None } else { current(session, name).await? };
    let base = Base { version, hash: file.as_ref().map(|file| file.hash) };
    if !source.needs_base() {
        return Ok((base, None));
    }
    if let Some(local) = usable_local(folder, name, file.as_ref()).await? {
        std::fs::copy(local, copy)?;
        return Ok((base, None));
    }
    let Some(file) = file else {
        std::fs::write(copy, b"")?;
        return Ok((base, None));
    };
    let fetched = fetch(session, &file, &folder.tmp_dir()).await?;
    let target = copy.to_owned();
    blocking(move || fetched.move_to(&target)).await??;
    Ok((base, Some(file.version)))
}

/// The file as the leader knows it; `None` if it was deleted.
async fn current(session: &Session, name: &FileName) -> Result<Option<FileResponse>, Failure> {
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    match session.client.with_reading(reading).file(name).await {
        Ok(answer) => Ok(Some(answer.value)),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The local file, if it is the current version, or an edit of it that was made in place, or a file new to the index.
async fn usable_local(
    folder: &Arc<Folder>,
    name: &FileName,
    file: Option<&FileResponse>,
) -> Result<Option<PathBuf>, Failure> {
    let (folder, name, file) = (Arc::clone(folder), name.clone(), file.map(|file| (file.version, file.hash)));
    let usable = move || {
        let disk = folder.disk(&name)?;
        let usable = match (&disk, file) {
            (Disk::Absent, _) => false,
            (_, Some((_, hash))) if disk.hash() == Some(hash) => true,
            (Disk::Other { .. }, Some((version, _))) => {
                folder.record(&name)?.held.is_some_and(|held| held.version == version)
            }
            (Disk::Other { .. }, None) => true,
            (Disk::Announced(_) | Disk::Pending(_), _) => false,
        };
        if usable { folder.existing_path(&name) } else { Ok(None) }
    };
    Ok(blocking(usable).await??)
}

async fn publish(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    held: Held,
    bench: &Workbench,
    base: &Base,
) -> Result<(), Failure> {
    if !held.guard.is_safe() {
        return Err(lost(folder, name, &bench.copy, "its lease was lost while you edited").await);
    }
    let publishing = begin(folder, name, &bench.copy, base.version + 1, held.guard.fencing_token()).await?;
    if let Some(kept) = &publishing.kept {
        session
            .output
            .warn(&format!("unpublished bytes of {name} that were in the way are kept as {}", kept.display()));
    }
    let answer = match announce(session, folder, &held, &publishing).await {
        Err(error @ Error::Unknown { .. }) if is_published(session, &publishing).await => {
            tracing::debug!(%error, "the publication was found applied");
            AnnounceResponse { ok: true, version: publishing.copy.version, fencing_token: None, tasks: Vec::new() }
        }
        Err(error @ Error::Unknown { .. }) => {
            held.guard.forget();
            return Err(Failure::from(error)
                .hint(format!("see whether v{} is there:  raftshare search '{name}'", base.version + 1)));
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
    held.guard.forget(); // the publication ended it, or the user keeps it
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

/// Publishes under the lease. What certainly was not applied is tried again for as long as the lease lives.
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
                session.output.remark(&format!("not published yet, trying again: {error}"));
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Whether the leader has exactly this publication as the current version.
async fn is_published(session: &Session, publishing: &Publishing) -> bool {
    let file = current(session, &publishing.name).await.ok().flatten();
    file.is_some_and(|file| (file.version, file.hash) == (publishing.copy.version, publishing.copy.hash))
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
        .hint(format!("your edit is kept in {place}; get the newest version:  raftshare get '{name}'"))
}

async fn lost(folder: &Arc<Folder>, name: &FileName, copy: &Path, why: &str) -> Failure {
    match keep_copy(folder, name, copy).await {
        Ok(path) => Failure::new(Exit::Conflict, format!("{name} was not published: {why}"))
            .hint(format!("your edit is kept as {}", path.display())),
        Err(failure) => failure,
    }
}

/// Keeps an edit as a conflict copy next to the file.
async fn keep_copy(folder: &Arc<Folder>, name: &FileName, copy: &Path) -> Result<PathBuf, Failure> {
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
