//! Changes a file (`update`, `append`): takes the lease, makes new content from the current content, and publishes it
//! as the next version.
//!
//! ```text
//! lease ─► current content ─► edit a copy ─► in place ─► publish ─┬► done, lease over (F5)
//!            (renewed in the background all the while, L7)        ├► refused: conflict copy, exit 5
//!                                                                 └► unknown: reported, exit 8
//! ```
//! Invariant: an edit is never lost. What cannot be published is kept as `NAME.conflict-PEER-TIME` next to the file.

mod publish;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_store::types::{ContentHash, FileName, Version};

use self::publish::{Published, keep_copy, publish};
pub use self::source::Source;
use self::source::Workbench;
use super::fetch::fetch;
use super::leases::{Held, Waiting, give_back, hold};
use super::session::{Session, blocking};
use crate::cluster::{Consistency, ReadOptions};
use crate::contract::{ErrorCode, FileResponse};
use crate::files;
use crate::peer::{Disk, Folder};
use crate::terminal::{Exit, Failure};

/// The version that the new content is made from.
struct Base {
    /// The current version; 0 if there is none.
    version: Version,
    /// Its hash; `None` for a new or deleted name.
    hash: Option<ContentHash>,
}

/// Takes the lease of a file, makes its new content, and publishes it.
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

/// Makes the new content in a separate file. Returns it with its base and its hash.
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
            session.output.warn("the lease is lost; the edit will be kept as a conflict copy");
            std::future::pending().await
        } => Ok(()),
    };
    if let Err(failure) = changed {
        return Err(keep_unpublished(folder, name, &bench.copy, &base, failure).await);
    }
    let copy = bench.copy.clone();
    let (hash, _) = blocking(move || files::hash_file(&copy)).await?.map_err(|error| {
        Failure::new(Exit::Other, format!("cannot read the new content of {name} ({error}); nothing was published"))
    })?;
    Ok((bench, base, hash))
}

/// Keeps what an editor may have saved before it failed.
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
        Ok(path) => failure.hint(format!("the saved text is kept as {}", path.display())),
        Err(_) => failure,
    }
}

/// Puts the current content at `copy` if the source needs it. Returns the version that had to be fetched, if any.
async fn prepare(
    session: &Session,
    folder: &Arc<Folder>,
    name: &FileName,
    version: Version,
    source: &Source,
    copy: &Path,
) -> Result<(Base, Option<Version>), Failure> {
    let file = if version == 0 { None } else { current(session, name).await? };
    let base = Base { version, hash: file.as_ref().and_then(|file| file.hash) };
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
    Ok((base, file.version))
}

/// The file as the leader has it; `None` if it was deleted, or the name is a record.
async fn current(session: &Session, name: &FileName) -> Result<Option<FileResponse>, Failure> {
    let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
    match session.client.with_reading(reading).file(name).await {
        Ok(answer) => Ok(Some(answer.value).filter(|file| file.current().is_some())),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The local file, if it is the current version, an edit of it made in place, or a file that is new to the index.
async fn usable_local(
    folder: &Arc<Folder>,
    name: &FileName,
    file: Option<&FileResponse>,
) -> Result<Option<PathBuf>, Failure> {
    let (folder, name, file) = (Arc::clone(folder), name.clone(), file.and_then(FileResponse::current));
    let usable = move || {
        let disk = folder.disk(&name)?;
        let usable = match (&disk, file) {
            (Disk::Absent, _) => false,
            (_, Some(current)) if disk.hash() == Some(current.hash) => true,
            (Disk::Other { .. }, Some(current)) => {
                folder.record(&name)?.held.is_some_and(|held| held.version == current.version)
            }
            (Disk::Other { .. }, None) => true,
            (Disk::Announced(_) | Disk::Pending(_), _) => false,
        };
        if usable { folder.existing_path(&name) } else { Ok(None) }
    };
    Ok(blocking(usable).await??)
}
