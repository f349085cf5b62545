//! A serving peer: opens the folder, binds the address, then runs the server and the loops until it is told to stop.
//!
//! Three tasks share the folder: the server for other peers, the sync loop and the heartbeat loop (`loops`).
//!
//! Invariant: at most one `serve` runs for a folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raft_store::types::PeerId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::error::FolderError;
use super::event::{Events, PeerEvent};
use super::folder::Folder;
use super::guard::Guard;
use super::locks::ServingLock;
use super::loops::Loops;
use super::register::Registration;
use super::server;
use super::sync::FolderSync;
use super::tasks::{Sources, Tasks};
use crate::address::HostPort;
use crate::cluster::{Error, IndexClient};
use crate::download::Downloader;
use crate::download::allow::AllowList;
use crate::files;

/// Time between scans of the folder.
pub const RESCAN: Duration = Duration::from_secs(2);
/// How to serve a folder.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The index cluster.
    pub client: IndexClient,
    /// The folder to share; it is created if missing.
    pub dir: PathBuf,
    /// `HOST:PORT` to listen on. Port 0 picks a free port; without a host, it is 127.0.0.1.
    pub bind: String,
    /// Base URL for other peers, if it differs from the bound address.
    pub advertise: Option<String>,
    /// Peer id for a new folder.
    pub peer_id: Option<PeerId>,
    /// Failure zone.
    pub zone: Option<String>,
    /// Most bytes that the peer offers to hold.
    pub capacity_bytes: Option<u64>,
    /// Allows listening beyond loopback, where anyone can read the shared files.
    pub insecure: bool,
    /// Token to send to other peers.
    pub bearer: Option<String>,
    /// Known peers: bytes are fetched only from these, and sent only to their machines. Everybody if absent.
    pub allow: Option<Arc<AllowList>>,
    /// Time between scans of the folder.
    pub rescan: Duration,
}

impl ServeConfig {
    /// The defaults for a folder and an address.
    pub fn new(client: IndexClient, dir: impl Into<PathBuf>, bind: impl Into<String>) -> Self {
        Self {
            client,
            dir: dir.into(),
            bind: bind.into(),
            advertise: None,
            peer_id: None,
            zone: None,
            capacity_bytes: None,
            insecure: false,
            bearer: None,
            allow: None,
            rescan: RESCAN,
        }
    }
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The peer cannot listen on the address.
    #[error("cannot listen on {bind}: {source}; choose another address with --bind (port 0 picks a free port)")]
    Bind {
        /// The configured address.
        bind: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Anyone could read the files.
    #[error(
        "{bind} is not a loopback address, so anyone who can reach it could read the shared files; pass \
         --insecure to allow that"
    )]
    NotLoopback {
        /// The configured address.
        bind: String,
    },
    /// Other peers cannot connect to the address.
    #[error("{bind} is a wildcard address; pass --advertise with the address other peers should use")]
    NoAddress {
        /// The configured address.
        bind: String,
    },
    /// An error of the folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder has disappeared.
    #[error("{} is gone (moved, deleted or unmounted); nothing was reported as deleted", path.display())]
    FolderGone {
        /// The folder.
        path: PathBuf,
    },
    /// The index refused. An unreachable index never ends the loop.
    #[error(transparent)]
    Index(#[from] Error),
    /// Another process has registered with this peer id (P6).
    #[error(
        "another process has registered as peer {peer}; stop one of the two, or share this folder under another peer id"
    )]
    Replaced {
        /// The peer id.
        peer: PeerId,
    },
    /// Another process kept registering at the same time.
    #[error("another registration of this peer interrupted the listing")]
    ListingVoided,
    /// The peer's server failed.
    #[error("the peer's server failed: {0}")]
    Server(std::io::Error),
}

impl ServeError {
    /// Whether a retry may help.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Index(error) => error.is_temporary() || !error.is_definite(),
            Self::ListingVoided => true,
            Self::Folder(error) => {
                matches!(error, FolderError::Io { .. } | FolderError::DiskFull { .. } | FolderError::Changed { .. })
            }
            Self::Bind { .. }
            | Self::NotLoopback { .. }
            | Self::NoAddress { .. }
            | Self::FolderGone { .. }
            | Self::Replaced { .. }
            | Self::Server(_) => false,
        }
    }
}

/// A peer that is bound but not serving yet.
pub struct Peer {
    folder: Arc<Folder>,
    client: IndexClient,
    downloader: Downloader,
    listener: TcpListener,
    registration: Registration,
    allow: Option<Arc<AllowList>>,
    rescan: Duration,
    _lock: ServingLock,
}

impl Peer {
    /// Opens the folder, takes its lock and binds the address, so that these fail before anything starts.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let (dir, peer_id, bind) = (config.dir.clone(), config.peer_id.clone(), config.bind.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let folder = Folder::open(&dir, peer_id)?;
            let lock = folder.lock_for_serving(&format!("process {}, --bind {bind}", std::process::id()))?;
            files::clean(&folder.tmp_dir(), &folder.trash_dir())
                .map_err(|error| FolderError::io("clean", &folder.tmp_dir(), error))?;
            Ok::<_, FolderError>((folder, lock))
        });
        let opened = opened.await.map_err(|error| ServeError::Server(std::io::Error::other(error)))?;
        let (folder, lock) = opened?;
        let listener = listen(&config).await?;
        let address = match &config.advertise {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => own_address(&listener, &config)?,
        };
        Ok(Self {
            folder: Arc::new(folder),
            client: config.client,
            downloader: Downloader::new(config.bearer),
            listener,
            registration: Registration { address, zone: config.zone, capacity_bytes: config.capacity_bytes },
            allow: config.allow,
            rescan: config.rescan,
            _lock: lock,
        })
    }

    /// Base URL for other peers.
    pub fn address(&self) -> &str {
        &self.registration.address
    }

    /// The folder, for a shell in the same process.
    pub fn folder(&self) -> Arc<Folder> {
        Arc::clone(&self.folder)
    }

    /// The downloader, so that a shell can share its connections.
    pub fn downloader(&self) -> Downloader {
        self.downloader.clone()
    }

    /// Serves until `shutdown`, after which it ends within five seconds, or until it fails.
    pub async fn run(self, shutdown: CancellationToken, events: Events) -> Result<(), ServeError> {
        let stop = shutdown.child_token();
        let _stop_on_return = stop.clone().drop_guard();
        let peer = self.folder.peer_id();
        let guard = self.allow.clone().map(|list| Guard::new(list, &self.client));
        let server = tokio::spawn(server::run(self.listener, Arc::clone(&self.folder), guard, stop.clone()));
        events.send(PeerEvent::Serving { peer, address: self.registration.address.clone() });
        let (folder, client) = (Arc::clone(&self.folder), self.client.clone());
        let sources = Sources { downloader: self.downloader, allow: self.allow };
        let tasks = Tasks::new(Arc::clone(&folder), client.clone(), sources, events.clone(), stop.clone());
        let (loops, registered) = Loops::new(events.clone());
        let sync = FolderSync::new(Arc::clone(&folder), client.clone(), events, tasks.clone());
        let result = tokio::select! {
            error = loops.sync(sync, self.registration, self.rescan) => Err(error),
            error = loops.heartbeat(&client, &folder, &tasks, registered) => Err(error),
            () = shutdown.cancelled() => Ok(()),
        };
        stop.cancel();
        tasks.drain().await;
        let served = server.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        result.and(served.map_err(ServeError::Server))
    }
}

/// Binds and serves in one call.
pub async fn serve(config: ServeConfig, shutdown: CancellationToken, events: Events) -> Result<(), ServeError> {
    Peer::bind(config).await?.run(shutdown, events).await
}

async fn listen(config: &ServeConfig) -> Result<TcpListener, ServeError> {
    let failed = |source| ServeError::Bind { bind: config.bind.clone(), source };
    let own = if config.insecure { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let bind = HostPort::parse_or_port_of(&config.bind, own.into())
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(bind.to_string()).await.map_err(failed)?.collect();
    if !config.insecure && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(ServeError::NotLoopback { bind: config.bind.clone() });
    }
    TcpListener::bind(addresses.as_slice()).await.map_err(failed)
}

fn own_address(listener: &TcpListener, config: &ServeConfig) -> Result<String, ServeError> {
    let bound = listener.local_addr().map_err(|source| ServeError::Bind { bind: config.bind.clone(), source })?;
    if bound.ip().is_unspecified() {
        return Err(ServeError::NoAddress { bind: config.bind.clone() });
    }
    Ok(format!("http://{bound}"))
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
