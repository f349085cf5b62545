//! `raftshare rm`: deletes a file everywhere, under a lease (F7), or only the copy in this folder.
//!
//! Invariants: local bytes go to the trash, and only after the index has agreed. Nothing is deleted without
//! confirmation, at a terminal or by `--yes`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use raft_store::types::FileName;
use serde::Serialize;

use crate::contract::{DeleteRequest, ErrorCode, TaskKind};
use crate::cli::session::{Session, blocking};
use crate::cli::values::file_name;
use crate::cli::leases;
use crate::peer::rules::Order;
use crate::peer::{Folder, FolderError, Removed};
use crate::terminal::{Exit, Failure};

/// What `rm` prints.
#[derive(Debug, Serialize)]
struct Deleted {
    file: FileName,
    everywhere: bool,
    /// Where the local copy is now, if there was one.
    trash: Option<PathBuf>,
}

/// Delete a file everywhere, or only the copy in this folder; deleted copies go to the trash.
#[derive(Debug, Clone, Args)]
pub struct Rm {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// Delete only the copy in this folder.
    #[arg(long)]
    pub local: bool,
    /// Do not ask for confirmation; required without a terminal.
    #[arg(short, long)]
    pub yes: bool,
    /// Options for the lease.
    #[command(flatten)]
    pub waiting: leases::Waiting,
}

impl Rm {
    /// Deletes the file or the copy, once that is confirmed.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let name = &self.name;
        let what = if self.local { "the copy in this folder" } else { "it everywhere" };
        if !self.yes && !confirmed(session, name, what)? {
            return Err(Failure::new(Exit::Other, "nothing was deleted"));
        }
        let folder = session.folder().await?;
        let trash = if self.local {
            drop_copy(session, &folder, name).await?
        } else {
            everywhere(session, &folder, self).await?
        };
        let report = Deleted { file: name.clone(), everywhere: !self.local, trash };
        let local =
            report.trash.as_ref().map_or_else(String::new, |path| format!("; the copy here is in {}", path.display()));
        let whole = if self.local { "deleted in this folder" } else { "deleted everywhere" };
        session.output.sentence(&report, &format!("{name}: {whole}{local}"));
        Ok(())
    }
}

/// Asks for confirmation at a terminal. A command that was typed into the shell needs none.
fn confirmed(session: &Session, name: &FileName, what: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || (!session.interactive && !std::io::stderr().is_terminal()) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name} was not deleted: there is no terminal to ask for confirmation"),
        )
        .hint(format!("to delete {what}, pass --yes:  raftshare rm '{name}' --yes")));
    }
    if session.interactive {
        return Ok(true);
    }
    let mut stderr = std::io::stderr();
    stderr.write_all(format!("{name}: delete {what}? [y/N] ").as_bytes())?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn everywhere(session: &Session, folder: &Arc<Folder>, rm: &Rm) -> Result<Option<PathBuf>, Failure> {
    let name = &rm.name;
    let held = leases::hold(session, folder, name, &rm.waiting).await?;
    let request = DeleteRequest {
        peer_id: folder.peer_id(),
        file_name: name.clone(),
        everywhere: Some(true),
        lease_token: Some(held.guard.token()),
    };
    if let Err(error) = session.client.delete(&request).await {
        leases::give_back(session, held).await;
        return Err(error.into());
    }
    let order = Order {
        kind: TaskKind::Remove,
        version: held.guard.version() + 1,
        hash: None,
        fence: held.guard.fencing_token(),
    };
    if held.kept {
        leases::forget(folder, name).await?; // the tombstone ended the lease
    }
    held.guard.forget();
    let (folder, name) = (Arc::clone(folder), name.clone());
    let removed = blocking(move || {
        let removed = folder.remove(&name, order)?;
        folder.drop_holding(&name)?;
        Ok::<_, FolderError>(removed)
    });
    match removed.await?? {
        Removed::Trashed(path) | Removed::SetAside(path) => Ok(Some(path)),
        Removed::NothingThere | Removed::Refused(_) => Ok(None),
    }
}

async fn drop_copy(session: &Session, folder: &Arc<Folder>, name: &FileName) -> Result<Option<PathBuf>, Failure> {
    let request =
        DeleteRequest { peer_id: folder.peer_id(), file_name: name.clone(), everywhere: None, lease_token: None };
    let known = match session.as_peer(folder, async || session.client.delete(&request).await).await {
        Ok(()) => true,
        // The index does not count this folder as a holder. The copy is deleted anyway.
        Err(error) if matches!(error.code(), Some(ErrorCode::NotHolder | ErrorCode::NotFound)) => false,
        Err(error) => return Err(error.into()),
    };
    let (folder, name) = (Arc::clone(folder), name.clone());
    let shown = name.clone();
    let trash = blocking(move || {
        let trash = folder.trash(&name)?;
        folder.drop_holding(&name)?;
        Ok::<_, FolderError>(trash)
    })
    .await??;
    if trash.is_none() && !known {
        return Err(Failure::new(Exit::NotFound, format!("this folder has no copy of {shown}")));
    }
    Ok(trash)
}
