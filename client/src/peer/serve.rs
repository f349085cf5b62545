//! A serving peer: binds, registers, answers other peers, and keeps a heartbeat waiting so that tasks arrive at once.
//!
//! Three loops share the folder: the server, the sync loop (registration, then looks at the folder) and the heartbeat
//! loop. Invariants: one `serve` per folder; a heartbeat names every task under way (M3); a peer that another process
//! has replaced stops (P6); a cluster that is out of reach is waited for, never an exit.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft_store::types::{Incarnation, PeerId};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::error::FolderError;
use super::event::{Events, PeerEvent};
use super::folder::{Folder, ServingLock};
use super::register::Card;
use super::server;
use super::sync::FolderSync;
use super::tasks::Tasks;
use super::transfer::blocking;
use crate::address::HostPort;
use crate::api::HeartbeatRequest;
use crate::cluster::{Error, IndexClient};
use crate::download::Downloader;
use crate::files;

/// How long a heartbeat waits for tasks, in milliseconds (P3).
const HEARTBEAT_WAIT_MS: u64 = 20_000;
/// Time between looks at the folder.
pub const RESCAN: Duration = Duration::from_secs(2);
/// First and longest pause before the index is asked again after a failure.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// See [`RETRY_MIN`].
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Pause after a heartbeat that came back at once with nothing to start, so that the index is not flooded.
const HEARTBEAT_PAUSE: Duration = Duration::from_millis(50);

/// How to serve a folder.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The index cluster.
    pub client: IndexClient,
    /// The folder to share; created if missing.
    pub dir: PathBuf,
    /// `HOST:PORT` to listen at; port 0 picks a free one; without a host it is 127.0.0.1.
    pub bind: String,
    /// Base URL that other peers reach this one by, if it is not `http://` and the bound address.
    pub advertise: Option<String>,
    /// Names the peer where the folder has no id yet.
    pub peer_id: Option<PeerId>,
    /// Failure zone.
    pub zone: Option<String>,
    /// Bytes the peer is willing to hold.
    pub capacity_bytes: Option<u64>,
    /// Allows listening at other addresses than loopback, where everybody can read the shared files.
    pub insecure: bool,
    /// Token to show to other peers.
    pub bearer: Option<String>,
    /// Time between looks at the folder.
    pub rescan: Duration,
}

impl ServeConfig {
    /// Defaults for a folder and an address.
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
            rescan: RESCAN,
        }
    }
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot listen at {bind}: {source}; choose another address with --bind (port 0 picks a free port)")]
    Bind {
        /// As configured.
        bind: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Everybody could read the files.
    #[error("{bind} is not a loopback address and peers are not authenticated there; pass --insecure to share openly")]
    NotLoopback {
        /// As configured.
        bind: String,
    },
    /// Other peers cannot use the address.
    #[error("{bind} stands for every address; say with --advertise URL by which one other peers reach this one")]
    NoAddress {
        /// As configured.
        bind: String,
    },
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder disappeared.
    #[error("{} is gone (moved, deleted or unmounted); nothing was reported as deleted", path.display())]
    FolderGone {
        /// Which.
        path: PathBuf,
    },
    /// The index refused, or cannot be reached; the latter never ends the loop.
    #[error(transparent)]
    Index(#[from] Error),
    /// Another process registered under this peer id (P6).
    #[error("peer {peer} was registered by another process; stop one of the two, or share this folder as another peer")]
    Replaced {
        /// The id.
        peer: PeerId,
    },
    /// Another process registered meanwhile, again and again.
    #[error("the listing was voided by another registration of this peer")]
    ListingVoided,
    /// The server failed.
    #[error("the peer's server failed: {0}")]
    Server(std::io::Error),
}

impl ServeError {
    /// Whether trying again may help.
    fn is_temporary(&self) -> bool {
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

/// A peer that is bound but does not serve yet.
pub struct Peer {
    folder: Arc<Folder>,
    client: IndexClient,
    downloader: Downloader,
    listener: TcpListener,
    card: Card,
    rescan: Duration,
    _lock: ServingLock,
}

impl Peer {
    /// Opens the folder, takes its lock and binds the address, so that all three errors show before anything starts.
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
            card: Card { address, zone: config.zone, capacity_bytes: config.capacity_bytes },
            rescan: config.rescan,
            _lock: lock,
        })
    }

    /// Base URL other peers use.
    pub fn address(&self) -> &str {
        &self.card.address
    }

    /// The folder, for a shell in the same process.
    pub fn folder(&self) -> Arc<Folder> {
        Arc::clone(&self.folder)
    }

    /// The downloader, whose connections a shell can share.
    pub fn downloader(&self) -> Downloader {
        self.downloader.clone()
    }

    /// Serves until `shutdown` (then it ends within five seconds), or until it cannot go on.
    pub async fn run(self, shutdown: CancellationToken, events: Events) -> Result<(), ServeError> {
        let stop = shutdown.child_token();
        let _stop_on_return = stop.clone().drop_guard();
        let peer = self.folder.peer_id();
        let server = tokio::spawn(server::run(self.listener, Arc::clone(&self.folder), stop.clone()));
        events.tell(PeerEvent::Serving { peer, address: self.card.address.clone() });
        let (folder, client) = (Arc::clone(&self.folder), self.client.clone());
        let tasks = Tasks::new(Arc::clone(&folder), client.clone(), self.downloader, events.clone(), stop.clone());
        let (incarnation, registered) = watch::channel(None);
        let session = Arc::new(Session {
            events: events.clone(),
            incarnation,
            lost: Notify::new(),
            told_lost: AtomicBool::new(false),
        });
        let sync = FolderSync::new(Arc::clone(&folder), client.clone(), events, tasks.clone());
        let result = tokio::select! {
            error = session.sync_loop(sync, self.card, self.rescan) => Err(error),
            error = session.heartbeat_loop(&client, &folder, &tasks, registered) => Err(error),
            () = shutdown.cancelled() => Ok(()),
        };
        stop.cancel();
        tasks.drain().await;
        let served = server.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        result.and(served.map_err(ServeError::Server))
    }
}

/// Binds and serves in one go; what `raftshare serve` does.
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

/// What the sync loop and the heartbeat loop tell each other.
struct Session {
    events: Events,
    /// The registration in force; `None` while there is none.
    incarnation: watch::Sender<Option<Incarnation>>,
    /// The index does not know this peer any more.
    lost: Notify,
    /// Whether it was told that the index cannot be reached.
    told_lost: AtomicBool,
}

impl Session {
    /// Registers, then looks at the folder again and again. Ends only by an error that trying again cannot help.
    async fn sync_loop(&self, mut sync: FolderSync, card: Card, rescan: Duration) -> ServeError {
        let mut retry = Retry::new(self);
        loop {
            match sync.register(&card).await {
                Ok(incarnation) => self.incarnation.send_replace(Some(incarnation)),
                Err(error) => match retry.after(error).await {
                    Some(error) => return error,
                    None => continue,
                },
            };
            retry.succeeded();
            let mut pause = rescan;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.lost.notified() => break,
                }
                let started = tokio::time::Instant::now();
                pause = match sync.rescan().await {
                    // A folder that takes long to look through is looked at less often.
                    Ok(soon) => soon.unwrap_or(rescan).max(started.elapsed() * 4),
                    Err(ServeError::Index(error)) if error.code() == Some(crate::api::ErrorCode::UnknownPeer) => break,
                    Err(error) => match retry.after(error).await {
                        Some(error) => return error,
                        None => continue,
                    },
                };
                retry.succeeded();
            }
            self.incarnation.send_replace(None);
        }
    }

    /// Keeps one heartbeat waiting at the leader.
    async fn heartbeat_loop(
        &self,
        client: &IndexClient,
        folder: &Arc<Folder>,
        tasks: &Tasks,
        mut registered: watch::Receiver<Option<Incarnation>>,
    ) -> ServeError {
        let mut retry = Retry::new(self);
        let peer = folder.peer_id();
        loop {
            let incarnation = registered.wait_for(Option::is_some).await.map(|now| *now);
            // An error means that the session is dropped, and this future with it.
            let Ok(incarnation) = incarnation else { return std::future::pending().await };
            let failed = tasks.failed();
            let free_bytes = blocking(folder, |folder| Ok(files::free_bytes(folder.root()))).await.ok().flatten();
            let request = HeartbeatRequest {
                peer_id: peer.clone(),
                incarnation,
                // A failure is reported at once; waiting comes after.
                wait_ms: Some(if failed.is_empty() { HEARTBEAT_WAIT_MS } else { 0 }),
                free_bytes,
                working: Some(tasks.working()),
                failed: Some(failed.clone()),
            };
            let started = tokio::time::Instant::now();
            let answer = tokio::select! {
                answer = client.heartbeat(&request) => answer,
                () = tasks.wait_for_failure(), if failed.is_empty() => continue,
                _ = registered.wait_for(|now| *now != incarnation) => continue,
            };
            match answer {
                Ok(answer) if answer.ok => {
                    retry.succeeded();
                    tasks.reported(&failed);
                    let news = tasks.take(answer.tasks) > 0 || !failed.is_empty();
                    if !news && started.elapsed() < HEARTBEAT_PAUSE {
                        tokio::time::sleep(HEARTBEAT_PAUSE).await;
                    }
                }
                Ok(answer) if answer.reason.as_deref() == Some("replaced") => {
                    return ServeError::Replaced { peer };
                }
                Ok(_) => {
                    self.incarnation.send_replace(None);
                    self.lost.notify_one();
                }
                Err(error) => {
                    if let Some(error) = retry.after(ServeError::Index(error)).await {
                        return error;
                    }
                }
            }
        }
    }
}

/// Pauses between attempts, and tells once that the index is lost and once that it is back.
struct Retry<'a> {
    session: &'a Session,
    pause: Duration,
}

impl<'a> Retry<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, pause: RETRY_MIN }
    }

    fn succeeded(&mut self) {
        self.pause = RETRY_MIN;
        if self.session.told_lost.swap(false, Ordering::Relaxed) {
            self.session.events.tell(PeerEvent::IndexBack);
        }
    }

    /// Waits before another attempt; gives the error back if there is no point in one.
    async fn after(&mut self, error: ServeError) -> Option<ServeError> {
        if !error.is_temporary() {
            return Some(error);
        }
        let reason = error.to_string();
        let events = &self.session.events;
        match error {
            ServeError::Index(_) if self.session.told_lost.swap(true, Ordering::Relaxed) => {}
            ServeError::Index(_) => events.tell(PeerEvent::IndexLost { reason }),
            _ if self.pause == RETRY_MIN => events.tell(PeerEvent::Trouble { reason }),
            _ => {}
        }
        // Between half and the whole pause, so that many peers do not come back in step.
        tokio::time::sleep(self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        None
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
