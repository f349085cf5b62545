//! Executes the index's tasks, a few at a time, and keeps what heartbeats report about them (M3).
//!
//! Invariants: a task that is repeated while it is running is not started again. A failed task is reported until the
//! index has received the report. Only `rules` decides what a task may do to a file.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event::{Events, PeerEvent};
use super::folder::Folder;
use super::install::{Placed, Removed};
use super::rules::Order;
use super::transfer::{announce_copy, blocking, obtain};
use crate::cluster::{Error, IndexClient};
use crate::contract::{DeleteRequest, ErrorCode, FailedTask, Task, TaskKind};
use crate::download::allow::AllowList;
use crate::download::holders::Lookup;
use crate::download::{DownloadError, Downloader, FetchRequest};

/// Tasks that run at once; others wait.
pub const TASKS_MAX: usize = 4;
/// Limit of running and waiting tasks. Further ones are accepted when the index repeats them.
const KNOWN_MAX: usize = 1_024;
/// How long a finished task is remembered, because a response in flight may still repeat it.
const FINISHED_FOR: Duration = Duration::from_secs(2);

/// Where tasks fetch from.
pub(super) struct Sources {
    pub(super) downloader: Downloader,
    /// The only peers that may be asked; everybody if absent.
    pub(super) allow: Option<Arc<AllowList>>,
}

/// Executes tasks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tasks(Arc<Inner>);

struct Inner {
    folder: Arc<Folder>,
    client: IndexClient,
    sources: Sources,
    events: Events,
    state: Mutex<State>,
    slots: Semaphore,
    failed_notify: Notify,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    working: HashSet<String>,
    finished: HashMap<String, Instant>,
    failed: Vec<FailedTask>,
}

/// Why a task failed.
struct NotDone {
    code: &'static str,
    reason: String,
}

impl Tasks {
    pub(super) fn new(
        folder: Arc<Folder>,
        client: IndexClient,
        sources: Sources,
        events: Events,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            folder,
            client,
            sources,
            events,
            state: Mutex::default(),
            slots: Semaphore::new(TASKS_MAX),
            failed_notify: Notify::new(),
            tracker: TaskTracker::new(),
            shutdown,
        }))
    }

    /// Starts the new tasks of a response and returns their number.
    pub(super) fn take(&self, tasks: Vec<Task>) -> usize {
        let mut started = 0;
        for task in tasks {
            if self.begin(&task.id) {
                started += 1;
                let this = self.clone();
                self.0.tracker.spawn(async move {
                    tokio::select! {
                        () = this.carry_out(task) => {}
                        // After a restart, the index and the rules decide again about an interrupted task.
                        () = this.0.shutdown.cancelled() => {}
                    }
                });
            }
        }
        started
    }

    fn begin(&self, id: &str) -> bool {
        let mut state = self.0.state.lock();
        state.finished.retain(|_, when| when.elapsed() < FINISHED_FOR);
        let known = state.working.contains(id) || state.finished.contains_key(id);
        let failed = state.failed.iter().any(|failed| failed.id == id);
        !known && !failed && state.working.len() < KNOWN_MAX && state.working.insert(id.to_owned())
    }

    /// Sorted ids for a heartbeat's `working`.
    pub(super) fn working(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.0.state.lock().working.iter().cloned().collect();
        ids.sort();
        ids
    }

    /// Failures for a heartbeat's `failed`.
    pub(super) fn failed(&self) -> Vec<FailedTask> {
        self.0.state.lock().failed.clone()
    }

    /// Forgets failures that the index has received.
    pub(super) fn reported(&self, heard: &[FailedTask]) {
        self.0.state.lock().failed.retain(|failed| !heard.contains(failed));
    }

    /// Resolves when there is a failure to report.
    pub(super) async fn wait_for_failure(&self) {
        while self.0.state.lock().failed.is_empty() {
            self.0.failed_notify.notified().await;
        }
    }

    /// Waits until all tasks have seen the shutdown.
    pub(super) async fn drain(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    async fn carry_out(&self, task: Task) {
        let inner = &self.0;
        let Ok(_slot) = inner.slots.acquire().await else { return };
        let (kind, file, version) = (task.kind, task.file.clone(), task.version);
        inner.events.send(PeerEvent::TaskStarted { kind, file: file.clone(), version });
        let result = match kind {
            TaskKind::Remove => inner.remove(&task).await.map(|()| 0),
            TaskKind::Replicate | TaskKind::Update => self.fetch(&task).await,
        };
        let mut state = inner.state.lock();
        state.working.remove(&task.id);
        match result {
            Ok(bytes) => {
                state.finished.insert(task.id, Instant::now());
                drop(state);
                inner.events.send(PeerEvent::TaskDone { kind, file, version, bytes });
            }
            Err(NotDone { code, reason }) => {
                state.failed.push(FailedTask { id: task.id, code: code.to_owned() });
                drop(state);
                inner.failed_notify.notify_one();
                inner.events.send(PeerEvent::TaskFailed { kind, file, version, code: code.to_owned(), reason });
            }
        }
    }

    async fn fetch(&self, task: &Task) -> Result<u64, NotDone> {
        let inner = &self.0;
        let mut request = FetchRequest::from(task);
        let allow = inner.sources.allow.clone();
        // Without patience: a task that finds no source is reported, and the index gives it to somebody else.
        let (name, version, hash) = (request.name.clone(), request.version, request.hash);
        let lookup = Lookup::in_index(&inner.client, name.clone(), version, hash, allow.clone(), Duration::ZERO);
        if let Some(allow) = allow {
            // A task names addresses only, and a list may name ids.
            match lookup.find().await {
                Some(found) if found.sources.is_empty() && !found.left_out.is_empty() => {
                    let error = DownloadError::NotAllowed { name, version, holders: found.left_out };
                    return Err(NotDone { code: error.code(), reason: error.to_string() });
                }
                Some(found) => request.sources = found.sources,
                None => request.sources.retain(|source| allow.allows_address(source)),
            }
        }
        let downloader = &inner.sources.downloader;
        let obtained = obtain(&inner.folder, downloader, &request, Order::from(task), Some(lookup)).await;
        let (placed, bytes) = obtained.map_err(|error| NotDone { code: error.code(), reason: error.to_string() })?;
        let copy = match placed {
            Placed::Refused(refusal) => {
                return Err(NotDone { code: refusal.code(), reason: refusal.to_string() });
            }
            Placed::Ready { copy, kept } => {
                if let Some(kept) = kept {
                    let (file, current_version) = (task.file.clone(), task.version);
                    inner.events.send(PeerEvent::Conflict { file, current_version, kept });
                }
                copy
            }
        };
        let announced = announce_copy(&inner.client, &inner.folder, &task.file, copy).await;
        match announced.map_err(|error| NotDone { code: error.code(), reason: error.to_string() })? {
            Ok(answer) => {
                self.take(answer.tasks);
                Ok(bytes)
            }
            // The copy is in place and recorded as pending, so a later scan announces it again.
            Err(error) => Err(NotDone { code: "not_announced", reason: error.to_string() }),
        }
    }
}

impl Inner {
    async fn remove(&self, task: &Task) -> Result<(), NotDone> {
        let folder_failed = |error: super::FolderError| NotDone { code: error.code(), reason: error.to_string() };
        let (name, order) = (task.file.clone(), Order::from(task));
        let removed = blocking(&self.folder, move |folder| folder.remove(&name, order)).await.map_err(folder_failed)?;
        match removed {
            Removed::Refused(refusal) => return Err(NotDone { code: refusal.code(), reason: refusal.to_string() }),
            Removed::SetAside(kept) => {
                let (file, current_version) = (task.file.clone(), task.version);
                self.events.send(PeerEvent::Conflict { file, current_version, kept });
            }
            Removed::Trashed(_) | Removed::NothingThere => {}
        }
        delete_holding(&self.client, &self.folder, &task.file)
            .await
            .map_err(|error| NotDone { code: "not_announced", reason: error.to_string() })?;
        let name = task.file.clone();
        blocking(&self.folder, move |folder| folder.drop_holding(&name)).await.map_err(folder_failed)
    }
}

/// Tells the index that this peer has no copy. It is no error if the index did not know of one.
pub(super) async fn delete_holding(
    client: &IndexClient,
    folder: &Folder,
    name: &raft_store::types::FileName,
) -> Result<(), Error> {
    let request =
        DeleteRequest { peer_id: folder.peer_id(), file_name: name.clone(), everywhere: None, lease_token: None };
    match client.delete(&request).await {
        Err(error)
            if matches!(error.code(), Some(ErrorCode::NotHolder | ErrorCode::NotFound | ErrorCode::UnknownPeer)) =>
        {
            Ok(())
        }
        other => other,
    }
}
