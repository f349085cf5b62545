//! What one client of the shared file does, and the check at the end.
//!
//! ```text
//! wait in line -> fencing token -> current content from its holder -> one line more -> publish under the lease
//!      ^                                                                                        |
//!      +---------------- certainly not published (the lease was lost): take another turn -------+
//! ```
//!
//! Invariant: a line is published under a grant of its own, and again only if the cluster refused it. An outcome that
//! is not known is asked for under the same key until it is known, so no line is written twice and none is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::cluster::{Consistency, Error, Grant, IndexClient, LeaseAnswer, LeaseGuard, ReadOptions};
use client::contract::{AnnounceRequest, AnnounceResponse, CurrentVersion, ErrorCode, FileEntry, LeaseRequest};
use client::download::holders::Lookup;
use client::download::{Downloader, FetchRequest};
use client::peer::{Events, Folder, Peer, Publishing, ServeConfig};
use raft_store::types::{FencingToken, FileName, PeerId, Version};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a lease lasts if its holder dies: then the next in line waits for its end.
const TTL_MS: u64 = 10_000;
/// Pause before something that the cluster could not do for now is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for the holder of the current content.
const PATIENCE: Duration = Duration::from_secs(10);

/// Any failure of the demonstration.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A line that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who wrote it.
    pub client: String,
    /// Its number among the lines of that client.
    pub line: usize,
    /// Fencing token of the grant.
    pub fence: FencingToken,
    /// The version that it made.
    pub version: Version,
}

impl Turn {
    /// The line in the file.
    fn text(&self) -> String {
        format!("{} {} {}\n", self.fence, self.client, self.line)
    }
}

/// Called for each published line.
pub type Told = Arc<dyn Fn(&Turn) + Send + Sync>;

/// A client: a shared folder that is served, because others fetch the file from whoever wrote last.
pub struct Clerk {
    id: String,
    index: IndexClient,
    folder: Arc<Folder>,
    downloader: Downloader,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

/// Opens folders below `base` for so many clients, and serves them.
pub async fn open(servers: &str, base: &Path, clients: usize) -> Result<Vec<Arc<Clerk>>, Failure> {
    let mut clerks = Vec::new();
    for number in 0..clients {
        clerks.push(Arc::new(Clerk::open(servers, base, &format!("client-{number:02}")).await?));
    }
    Ok(clerks)
}

/// Lets each client write so many lines, all at once. Returns the lines in the order of their versions.
pub async fn take_turns(clerks: &[Arc<Clerk>], name: &str, lines: usize, told: Told) -> Result<Vec<Turn>, Failure> {
    let name = FileName::parse(name.to_owned())?;
    let mut writing = tokio::task::JoinSet::new();
    for clerk in clerks {
        let (clerk, name, told) = (Arc::clone(clerk), name.clone(), Arc::clone(&told));
        writing.spawn(async move {
            let mut turns = Vec::new();
            for line in 0..lines {
                let turn = clerk.append(&name, line).await?;
                told(&turn);
                turns.push(turn);
            }
            Ok::<_, Failure>(turns)
        });
    }
    let mut turns = Vec::new();
    while let Some(written) = writing.join_next().await {
        turns.extend(written??);
    }
    turns.sort_by_key(|turn| turn.version);
    Ok(turns)
}

/// Checks the file: every line that was reported, exactly once, in the order of the grants, and nothing else.
pub fn check(content: &[u8], turns: &[Turn]) -> Result<(), Failure> {
    let expected: String = turns.iter().map(Turn::text).collect();
    let content = std::str::from_utf8(content)?;
    if content != expected {
        return Err(format!("the file is not what was reported:\n{content}\nreported:\n{expected}").into());
    }
    let distinct: BTreeSet<_> = turns.iter().map(|turn| (&turn.client, turn.line)).collect();
    let ascending = turns.windows(2).all(|pair| pair[0].fence < pair[1].fence);
    let gapless = turns.iter().zip(1..).all(|(turn, version)| turn.version == version);
    match distinct.len() == turns.len() && ascending && gapless {
        true => Ok(()),
        false => Err(format!("a line is there twice, or not in the order of the grants: {turns:?}").into()),
    }
}

impl Clerk {
    async fn open(servers: &str, base: &Path, id: &str) -> Result<Self, Failure> {
        let index = IndexClient::connect(servers)?;
        let dir = base.join(id);
        std::fs::create_dir_all(&dir)?;
        let config = ServeConfig {
            peer_id: Some(PeerId::parse(id.to_owned())?),
            ..ServeConfig::new(index.clone(), dir, "127.0.0.1:0")
        };
        let peer = Peer::bind(config).await?;
        let (folder, downloader) = (peer.folder(), peer.downloader());
        let stop = CancellationToken::new();
        let (events, mut received) = Events::channel();
        let serving = peer.run(stop.clone(), events);
        let serving = tokio::spawn(async move {
            let (served, ()) = tokio::join!(serving, async { while received.recv().await.is_some() {} });
            if let Err(error) = served {
                eprintln!("serving ended: {error}");
            }
        });
        Ok(Self { id: id.to_owned(), index, folder, downloader, stop: stop.drop_guard(), serving })
    }

    /// Stops serving the folder.
    pub async fn close(self: Arc<Self>) {
        if let Some(clerk) = Arc::into_inner(self) {
            drop(clerk.stop);
            let _ = clerk.serving.await; // it prints how it ended
        }
    }

    /// Writes one line, with as many turns as it takes.
    async fn append(&self, name: &FileName, line: usize) -> Result<Turn, Failure> {
        loop {
            let grant = self.wait_in_line(name).await?;
            let lease = LeaseGuard::start(&self.index, self.folder.peer_id(), name.clone(), &grant);
            let (fence, version) = (lease.fencing_token(), lease.version() + 1);
            let turn = Turn { client: self.id.clone(), line, fence, version };
            let mut content = self.content(name, lease.version()).await?;
            content.extend_from_slice(turn.text().as_bytes());
            if self.publish(name, &lease, &content).await? {
                lease.forget(); // publishing has ended it
                return Ok(turn);
            }
            // Certainly not published: the lease ended before. The line gets another turn.
        }
    }

    /// The wait is one operation under one key: however often it is begun again, it is the same place in line, and a
    /// grant whose answer was lost is answered again.
    async fn wait_in_line(&self, name: &FileName) -> Result<Grant, Failure> {
        let request = LeaseRequest {
            peer_id: self.folder.peer_id(),
            file_name: name.clone(),
            ttl_ms: Some(TTL_MS),
            wait: None,
            wait_ms: None,
        };
        loop {
            let waiting = self.index.with_key(new_key());
            let answer = loop {
                match waiting.acquire_waiting(&request, None, |_| {}).await {
                    Err(error) if may_pass(&error) => tokio::time::sleep(PAUSE).await,
                    answer => break answer,
                }
            };
            match answer {
                Ok(LeaseAnswer::Granted(grant)) => return Ok(grant),
                Ok(LeaseAnswer::Denied(_)) => {}
                // The folder is not registered yet, or the grant was asked for again after its end.
                Err(error) if matches!(error.code(), Some(ErrorCode::UnknownPeer | ErrorCode::LeaseExpired)) => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The content of a version; nothing for version 0.
    async fn content(&self, name: &FileName, version: Version) -> Result<Vec<u8>, Failure> {
        if version == 0 {
            return Ok(Vec::new());
        }
        let CurrentVersion { size, hash, .. } = self.entry(name, version).await?;
        let request = FetchRequest { name: name.clone(), version, hash, size: Some(size), sources: Vec::new() };
        let lookup = Lookup::in_index(&self.index, name.clone(), version, hash, None, PATIENCE);
        let fetched = self.downloader.fetch_finding(&request, &self.folder.tmp_dir(), None, Some(lookup)).await?;
        Ok(std::fs::read(fetched.staged.part.path())?)
    }

    /// What the leader knows of the file. A new leader may have to apply that version first.
    async fn entry(&self, name: &FileName, version: Version) -> Result<CurrentVersion, Failure> {
        let reading = ReadOptions { consistency: Consistency::Linearizable, ..ReadOptions::default() };
        let reader = self.index.with_reading(reading);
        loop {
            match reader.file(name).await {
                Ok(answer) => match answer.value.current() {
                    Some(current) if current.version >= version => return Ok(current),
                    _ => tokio::time::sleep(PAUSE).await,
                },
                Err(error) if may_pass(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Publishes the content as the next version. Returns false if it certainly was not published.
    async fn publish(&self, name: &FileName, lease: &LeaseGuard, content: &[u8]) -> Result<bool, Failure> {
        let staged = self.folder.stage_bytes(content)?;
        let publishing = self.folder.begin_publish(staged, name, lease.version() + 1, lease.fencing_token())?;
        match self.announce(name, lease, &publishing).await {
            Ok(answer) => {
                self.folder.complete_publish(publishing, answer.version, answer.fencing_token)?;
                Ok(true)
            }
            Err(Error::Refused(problem))
                if matches!(problem.code, ErrorCode::LeaseExpired | ErrorCode::LeaseRequired) =>
            {
                self.folder.roll_back(publishing)?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn announce(
        &self,
        name: &FileName,
        lease: &LeaseGuard,
        publishing: &Publishing,
    ) -> Result<AnnounceResponse, Error> {
        let copy = publishing.copy;
        let (version, size) = (Some(copy.version), Some(copy.stamp.size));
        let request = AnnounceRequest {
            peer_id: self.folder.peer_id(),
            file: Some(FileEntry { name: name.clone(), version, size, hash: copy.hash }),
            files: None,
            lease_token: Some(lease.token()),
            keep_lease: None,
        };
        // One key for all attempts: the first outcome is answered again.
        let writer = self.index.with_key(new_key());
        loop {
            match writer.announce(&request).await {
                Err(error) if may_pass(&error) => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }

    /// The current content, as anybody reads it.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let name = FileName::parse(name.to_owned())?;
        let version = self.entry(&name, 1).await?.version;
        self.content(&name, version).await
    }
}

/// Whether asking again, under the same key, may bring another answer.
fn may_pass(error: &Error) -> bool {
    error.is_temporary() || !error.is_definite()
}

/// A key for one operation of its own.
fn new_key() -> String {
    format!("append-{:032x}", rand::random::<u128>())
}
