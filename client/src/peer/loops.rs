//! The two loops of a serving peer that talk to the index: one scans the folder, the other keeps a heartbeat waiting at
//! the leader.
//!
//! Invariants: a heartbeat names every running task (M3). A peer that another process has replaced stops (P6). An
//! unreachable cluster is retried and never ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft_store::types::Incarnation;
use tokio::sync::{Notify, watch};

use super::ServeError;
use super::event::{Events, PeerEvent};
use super::folder::Folder;
use super::register::Registration;
use super::sync::FolderSync;
use super::tasks::Tasks;
use super::transfer::blocking;
use crate::cluster::IndexClient;
use crate::contract::{ErrorCode, HeartbeatRequest};
use crate::files;

/// How long a heartbeat waits for tasks, in milliseconds (P3).
const HEARTBEAT_WAIT_MS: u64 = 20_000;
/// First pause before a failed request to the index is retried; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause between retries.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Pause after a heartbeat that returns at once without a new task, so that the index is not flooded.
const HEARTBEAT_PAUSE: Duration = Duration::from_millis(50);

/// State that the sync loop and the heartbeat loop share.
pub(super) struct Loops {
    events: Events,
    /// The current registration, if there is one.
    incarnation: watch::Sender<Option<Incarnation>>,
    /// Signals that the index no longer knows this peer.
    lost: Notify,
    /// Whether an event has reported the index as unreachable.
    reported_lost: AtomicBool,
}

impl Loops {
    /// Returns the shared state, and a receiver of the current registration for the heartbeat loop.
    pub(super) fn new(events: Events) -> (Self, watch::Receiver<Option<Incarnation>>) {
        let (incarnation, registered) = watch::channel(None);
        (Self { events, incarnation, lost: Notify::new(), reported_lost: AtomicBool::new(false) }, registered)
    }

    /// Registers, then scans the folder periodically. Ends only with an error that a retry cannot fix.
    pub(super) async fn sync(&self, mut sync: FolderSync, registration: Registration, rescan: Duration) -> ServeError {
        let mut retry = Retry::new(self);
        loop {
            match sync.register(&registration).await {
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
                    // A folder that takes long to scan is scanned less often.
                    Ok(soon) => soon.unwrap_or(rescan).max(started.elapsed() * 4),
                    Err(ServeError::Index(error)) if error.code() == Some(ErrorCode::UnknownPeer) => break,
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
    pub(super) async fn heartbeat(
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
            // The sender is gone: everything is being dropped, including this future.
            let Ok(incarnation) = incarnation else { return std::future::pending().await };
            let failed = tasks.failed();
            let free_bytes = blocking(folder, |folder| Ok(files::free_bytes(folder.root()))).await.ok().flatten();
            let request = HeartbeatRequest {
                peer_id: peer.clone(),
                incarnation,
                // A failure is reported at once, without waiting for tasks.
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

/// Pauses between retries, and reports once that the index is lost and once that it is back.
struct Retry<'a> {
    loops: &'a Loops,
    pause: Duration,
}

impl<'a> Retry<'a> {
    fn new(loops: &'a Loops) -> Self {
        Self { loops, pause: RETRY_MIN }
    }

    fn succeeded(&mut self) {
        self.pause = RETRY_MIN;
        if self.loops.reported_lost.swap(false, Ordering::Relaxed) {
            self.loops.events.send(PeerEvent::IndexBack);
        }
    }

    /// Waits before the next attempt. Returns the error if a retry cannot help.
    async fn after(&mut self, error: ServeError) -> Option<ServeError> {
        if !error.is_temporary() {
            return Some(error);
        }
        let reason = error.to_string();
        let events = &self.loops.events;
        match error {
            ServeError::Index(_) if self.loops.reported_lost.swap(true, Ordering::Relaxed) => {}
            ServeError::Index(_) => events.send(PeerEvent::IndexLost { reason }),
            _ if self.pause == RETRY_MIN => events.send(PeerEvent::Trouble { reason }),
            _ => {}
        }
        // Jitter: between half and the whole pause, so that many peers do not retry at the same time.
        tokio::time::sleep(self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        None
    }
}
