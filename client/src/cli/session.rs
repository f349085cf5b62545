//! What every command works with: the cluster, the folder, and the peer that it acts as.
//!
//! Invariant: a one-shot command acts as the folder's peer, and registers it only if the index does not know it. A
//! needless registration would start a new incarnation, which takes leases away from other commands of this folder
//! (L4).

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use raft_store::types::{FileName, PeerId};

use super::command_line::Common;
use super::servers;
use crate::cluster::{Error, IndexClient, Options};
use crate::contract::{ErrorCode, RegisterRequest};
use crate::download::allow::AllowList;
use crate::peer::Folder;
use crate::terminal::{Exit, Failure, Output};

/// Most rows of a search that are kept for numbers to refer to.
pub const ROWS_MAX: usize = 10_000;

/// What every command works with. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    /// The index cluster.
    pub client: IndexClient,
    /// How results and remarks are printed.
    pub output: Output,
    /// Time limit of a request, including retries.
    pub timeout: std::time::Duration,
    /// Whether this is the shell of a running `serve`.
    pub interactive: bool,
    /// The only peers that bytes are fetched from; everybody if absent.
    pub allow: Option<Arc<AllowList>>,
    dir: PathBuf,
    peer_id: Option<PeerId>,
    folder: Option<Arc<Folder>>,
    /// The rows of the last search, for `get 1` in the shell.
    rows: Arc<Mutex<Vec<FileName>>>,
}

impl Session {
    /// A session for one command. It does not open the folder yet.
    pub fn new(common: &Common) -> Result<Self, Failure> {
        let configured = common.server.split(',').map(str::trim).filter(|server| !server.is_empty());
        let mut servers: Vec<String> = configured.map(str::to_owned).collect();
        if common.discover {
            servers.extend(servers::kept(&common.dir));
        }
        let (deadline, token, discover) = (common.timeout, common.token.clone(), common.discover);
        let options = Options { deadline, token, discover, ..Options::new(servers) };
        Ok(Self {
            client: IndexClient::new(options)?,
            output: Output { format: common.output, quiet: common.quiet },
            timeout: common.timeout,
            interactive: false,
            allow: None,
            dir: common.dir.clone(),
            peer_id: common.peer_id.clone(),
            folder: None,
            rows: Arc::default(),
        })
    }

    /// A session for the shell of a served folder.
    pub fn for_shell(&self, folder: Arc<Folder>) -> Self {
        Self { folder: Some(folder), interactive: true, ..self.clone() }
    }

    /// The same session, fetching only from these peers if there is a list.
    pub fn allowing(&self, list: Option<&AllowList>) -> Self {
        let allow = list.map(|list| Arc::new(list.clone())).or_else(|| self.allow.clone());
        Self { allow, ..self.clone() }
    }

    /// Learns the members of the cluster, for this command and the folder's later ones. A failure is none of the
    /// command's: it says itself which servers do not answer.
    pub async fn discover(&self) {
        let servers = match self.client.discover().await {
            Ok(servers) => servers,
            Err(error) => return tracing::debug!(%error, "the members are unknown"),
        };
        let dir = self.dir.clone();
        if let Ok(Err(error)) = blocking(move || servers::keep(&dir, &servers)).await {
            self.output.remark(&format!("could not keep the servers for later commands: {error}"));
        }
    }

    /// Path of the folder.
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The peer id for a new folder.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.peer_id.clone()
    }

    /// Opens the folder, and makes it a shared folder if it is not one yet.
    pub async fn folder(&self) -> Result<Arc<Folder>, Failure> {
        if let Some(folder) = &self.folder {
            return Ok(Arc::clone(folder));
        }
        let (dir, peer_id) = (self.dir.clone(), self.peer_id.clone());
        let folder = blocking(move || Folder::open(&dir, peer_id)).await??;
        self.show_secret(&folder);
        Ok(Arc::new(folder))
    }

    /// Uses the peer's own secret instead of the join token.
    fn show_secret(&self, folder: &Folder) {
        if let Some(secret) = folder.identity().peer_secret {
            self.client.set_token(Some(secret));
        }
    }

    /// Calls the cluster as the folder's peer. If the cluster does not know the peer, registers it and calls again.
    pub async fn as_peer<T>(&self, folder: &Arc<Folder>, call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        match call().await {
            Err(error) if error.code() == Some(ErrorCode::UnknownPeer) && !is_served(folder).await => {
                self.register(folder).await?;
                call().await
            }
            result => result,
        }
    }

    async fn register(&self, folder: &Arc<Folder>) -> Result<(), Error> {
        let mut request = RegisterRequest::not_serving(folder.peer_id());
        if let Some(address) = folder.identity().address {
            request.address = address;
        }
        let answer = self.client.register(&request).await?;
        let folder = Arc::clone(folder);
        let noted = blocking(move || {
            folder.update_identity(|identity| identity.incarnation = Some(answer.incarnation)).map(|_| ())
        });
        if let Ok(Err(error)) = noted.await {
            // The registration is valid anyway, and `serve` makes a new one.
            tracing::warn!(%error, "could not record the new incarnation");
        }
        Ok(())
    }

    /// Keeps the rows of a search, so that numbers can refer to them.
    pub fn keep_rows(&self, names: impl Iterator<Item = FileName>) {
        *self.rows.lock() = names.take(ROWS_MAX).collect();
    }

    /// The row `number` of the last search, counted from 1.
    pub fn row(&self, number: usize) -> Option<FileName> {
        self.rows.lock().get(number.checked_sub(1)?).cloned()
    }
}

/// Whether a `serve` runs for the folder, here or in another process.
pub async fn is_served(folder: &Arc<Folder>) -> bool {
    let folder = Arc::clone(folder);
    blocking(move || folder.is_served()).await.unwrap_or(false)
}

/// Runs blocking work on another thread.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Exit::Other, format!("an internal task failed: {error}")))
}
