//! Keeps the index's view of the folder up to date: registers what is there, then announces changes.
//!
//! Invariants: only bytes that were read are announced. An edit of a shared file is never published silently, because
//! that needs the lease; it is withdrawn from the index and reported once. Bytes that the index refuses are kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raft_store::types::{FileName, Version};

use super::event::{Events, PeerEvent};
use super::folder::{Disk, Folder};
use super::scan::{self, Changes, Found, Scan, Skipped};
use super::table::{Copy, Record};
use super::tasks::{Tasks, delete_holding};
use super::transfer::{as_accepted, blocking};
use super::{FolderError, ServeError};
use crate::cluster::IndexClient;
use crate::contract::{AnnounceResult, ErrorCode, FileEntry};
use crate::files::Stamp;

/// Files in one announcement.
pub(super) const FILES_PER_REQUEST: usize = 1_000;
/// A file that was modified more recently may still be being written.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before an unsettled file is checked again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Pause before a file that a lease kept from being announced is retried.
const LEASE_RETRY: Duration = Duration::from_secs(15);
/// A copy that stays pending longer is announced here: the process that put it in place is gone or failed.
const PENDING_PATIENCE: Duration = Duration::from_secs(5);
/// A publication that stays undecided for longer than the library retries (X3) has lost its process. Its bytes are
/// then moved to a conflict copy.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(6 * 60);

/// Compares the folder with the index and updates the index. Owned by one task.
pub(super) struct FolderSync {
    pub(super) folder: Arc<Folder>,
    pub(super) client: IndexClient,
    pub(super) events: Events,
    pub(super) tasks: Tasks,
    /// Files to leave alone until they change again, or until the given time.
    flagged: HashMap<FileName, (Stamp, Option<Instant>)>,
    /// Recently modified files, which may still be being written.
    unsettled: HashMap<FileName, Stamp>,
    /// Held files that were missing in the last scan.
    missing: HashSet<FileName>,
    /// Since when copies have been pending.
    pending_since: HashMap<FileName, (Stamp, Instant)>,
    /// Files whose newer copy the index may have dropped together with an older one.
    reannounce: HashSet<FileName>,
    reported: HashSet<Skipped>,
    /// Whether the whole folder has been registered.
    pub(super) registered: bool,
}

/// What is on disk under the names that a scan found changed.
#[derive(Default)]
pub(super) struct Findings {
    /// Unknown files, with their hashes.
    pub(super) new: Vec<(FileName, Copy)>,
    /// Held files with different bytes.
    pub(super) edited: Vec<(FileName, Stamp)>,
    /// Held files that are gone.
    pub(super) gone: Vec<FileName>,
    /// Copies in place that the index has not accepted.
    pub(super) pending: Vec<(FileName, Copy, bool)>,
}

impl FolderSync {
    pub(super) fn new(folder: Arc<Folder>, client: IndexClient, events: Events, tasks: Tasks) -> Self {
        Self {
            folder,
            client,
            events,
            tasks,
            flagged: HashMap::new(),
            unsettled: HashMap::new(),
            missing: HashSet::new(),
            pending_since: HashMap::new(),
            reannounce: HashSet::new(),
            reported: HashSet::new(),
            registered: false,
        }
    }

    /// Scans the folder and compares it with the table.
    pub(super) async fn scan(&mut self) -> Result<Changes, FolderError> {
        let (scan, changes) = blocking(&self.folder, |folder| {
            let scan = scan::scan(folder);
            let changes = scan::compare(folder, &scan)?;
            Ok((scan, changes))
        })
        .await?;
        self.report_skipped(scan);
        Ok(changes)
    }

    fn report_skipped(&mut self, scan: Scan) {
        for skipped in scan.skipped {
            if self.reported.insert(skipped.clone()) {
                self.events.send(PeerEvent::Skipped(skipped));
            }
        }
    }

    /// Reads files where necessary, and sorts them by what has to be done.
    pub(super) async fn inspect(&self, new: Vec<Found>, touched: Vec<Found>) -> Result<Findings, FolderError> {
        blocking(&self.folder, move |folder| {
            let mut findings = Findings::default();
            for found in new.into_iter().chain(touched) {
                let record = folder.record(&found.name)?;
                match folder.disk_against(&record) {
                    Ok(Disk::Announced(copy)) => refresh_stamp(folder, &record, copy)?,
                    Ok(Disk::Pending(copy)) => findings.pending.push((found.name, copy, record.pending_own)),
                    Ok(Disk::Other { stamp, .. }) if record.held.is_some() => findings.edited.push((found.name, stamp)),
                    Ok(Disk::Other { hash, stamp }) => {
                        findings.new.push((found.name, Copy { version: 0, hash, stamp, fence: 0 }));
                    }
                    Ok(Disk::Absent) => {}
                    // It changed while it was read, or cannot be read. The next scan tries again.
                    Err(error) => tracing::debug!(file = %found.name, %error, "a file cannot be read"),
                }
            }
            Ok(findings)
        })
        .await
    }

    /// One scan after the registration. Returns the pause before the next one, if it should come early.
    pub(super) async fn rescan(&mut self) -> Result<Option<Duration>, ServeError> {
        if !self.folder.is_present() {
            return Err(ServeError::FolderGone { path: self.folder.root().to_owned() });
        }
        let changes = self.scan().await?;
        let mut soon = false;
        let new = self.settled(changes.new, &mut soon);
        let touched = self.settled(changes.touched, &mut soon);
        let gone = self.still_missing(changes.gone, &mut soon);
        let findings = Findings { gone, ..self.inspect(new, touched).await? };
        self.withdraw(findings.edited, findings.gone).await?;
        let mut pending = self.overdue(findings.pending);
        pending.extend(self.reannounced().await?);
        soon |= !self.reannounce.is_empty();
        self.announce_all(findings.new, pending).await?;
        Ok(soon.then_some(LOOK_AGAIN))
    }

    /// Files that are not being written to, and that the index has not already refused in this state.
    #[expect(clippy::disallowed_methods, reason = "compared with the times of files, which are of the same clock")]
    fn settled(&mut self, found: Vec<Found>, soon: &mut bool) -> Vec<Found> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut settled = Vec::new();
        for found in found {
            if let Some((stamp, until)) = self.flagged.get(&found.name) {
                if *stamp == found.stamp && until.is_none_or(|until| Instant::now() < until) {
                    continue;
                }
                self.flagged.remove(&found.name);
            }
            let age = now.saturating_sub(u128::try_from(found.stamp.mtime_ns).unwrap_or(0));
            let quiet = age >= SETTLE.as_nanos() || self.unsettled.get(&found.name) == Some(&found.stamp);
            if quiet {
                self.unsettled.remove(&found.name);
                settled.push(found);
            } else {
                self.unsettled.insert(found.name, found.stamp);
                *soon = true;
            }
        }
        settled
    }

    /// An editor that saves by renaming makes a file disappear for a moment, so it must be missing twice.
    fn still_missing(&mut self, gone: Vec<FileName>, soon: &mut bool) -> Vec<FileName> {
        let (twice, once): (Vec<_>, Vec<_>) = gone.into_iter().partition(|name| self.missing.contains(name));
        *soon |= !once.is_empty();
        self.missing = once.into_iter().collect();
        twice
    }

    /// Pending copies whose process does not announce them.
    fn overdue(&mut self, pending: Vec<(FileName, Copy, bool)>) -> Vec<(FileName, Copy, bool)> {
        let names: HashSet<_> = pending.iter().map(|(name, ..)| name.clone()).collect();
        self.pending_since.retain(|name, _| names.contains(name) || self.flagged.contains_key(name));
        let mut overdue = Vec::new();
        for (name, copy, own) in pending {
            let (stamp, since) = *self.pending_since.entry(name.clone()).or_insert((copy.stamp, Instant::now()));
            if stamp != copy.stamp {
                self.pending_since.insert(name, (copy.stamp, Instant::now()));
            } else if since.elapsed() >= PENDING_PATIENCE {
                overdue.push((name, copy, own));
            }
        }
        overdue
    }

    /// Withdraws copies that were deleted, or edited without a lease (F7).
    pub(super) async fn withdraw(
        &mut self,
        edited: Vec<(FileName, Stamp)>,
        gone: Vec<FileName>,
    ) -> Result<(), ServeError> {
        for (name, stamp) in edited {
            let looked_up = name.clone();
            if !blocking(&self.folder, move |folder| folder.is_still_edited(&looked_up, stamp)).await? {
                continue;
            }
            self.withdraw_one(&name).await?;
            self.flagged.insert(name.clone(), (stamp, None));
            self.events.send(PeerEvent::LocalChange { file: name });
        }
        for name in gone {
            self.withdraw_one(&name).await?;
            // If the file is still there, its folder is now shared separately, which the scan reports (F1).
            if self.folder.path_of(&name).symlink_metadata().is_err() {
                self.events.send(PeerEvent::LocalDelete { file: name });
            }
        }
        Ok(())
    }

    async fn withdraw_one(&mut self, name: &FileName) -> Result<(), ServeError> {
        let looked_up = name.clone();
        let record = blocking(&self.folder, move |folder| folder.record(&looked_up)).await?;
        delete_holding(&self.client, &self.folder, name).await?;
        let withdrawn = name.clone();
        if blocking(&self.folder, move |folder| folder.withdrawn(&withdrawn, record.held)).await? {
            self.reannounce.insert(name.clone());
        }
        Ok(())
    }

    /// Copies that a publication put in place while an older one was withdrawn.
    async fn reannounced(&mut self) -> Result<Vec<(FileName, Copy, bool)>, FolderError> {
        let names = std::mem::take(&mut self.reannounce);
        let (ready, waiting) = blocking(&self.folder, move |folder| {
            let (mut ready, mut waiting) = (Vec::new(), HashSet::new());
            for name in names {
                match folder.disk(&name)? {
                    Disk::Announced(copy) => ready.push((name, copy, true)),
                    Disk::Pending(_) => drop(waiting.insert(name)),
                    Disk::Absent | Disk::Other { .. } => {}
                }
            }
            Ok((ready, waiting))
        })
        .await?;
        self.reannounce = waiting;
        Ok(ready)
    }

    /// Announces files and handles each result.
    pub(super) async fn announce_all(
        &mut self,
        new: Vec<(FileName, Copy)>,
        pending: Vec<(FileName, Copy, bool)>,
    ) -> Result<(), ServeError> {
        let new = new.into_iter().map(|(name, copy)| (name, copy, false));
        let mut all: Vec<_> = new.chain(pending).collect();
        blocking(&self.folder, |folder| folder.table.refresh()).await?;
        let folder = Arc::clone(&self.folder);
        all.retain(|(name, copy, _)| !folder.table.get(name).is_some_and(|record| record.is_overtaken(copy.version)));
        let _announcing = folder.announcing(all.iter().map(|(name, copy, _)| (name, copy.hash)));
        for page in all.chunks(FILES_PER_REQUEST) {
            let entries = page.iter().map(|(name, copy, _)| entry(name, copy)).collect();
            let answer = self.client.announce_many(&self.folder.peer_id(), entries).await?;
            let mut accepted = HashMap::new();
            for ((name, copy, own), result) in page.iter().zip(&answer.results) {
                match (result.ok, result.version) {
                    (true, Some(version)) => {
                        match as_accepted(&self.client, &self.folder, name, *copy, version).await {
                            Some(copy) => drop(accepted.insert(name.clone(), copy)),
                            None => self.retry_later(name, copy),
                        }
                    }
                    _ => self.refused(name, copy, *own, result).await?,
                }
            }
            self.accept(accepted).await?;
            self.tasks.take(answer.tasks);
        }
        Ok(())
    }

    async fn accept(&self, accepted: HashMap<FileName, Copy>) -> Result<(), FolderError> {
        let names: Vec<FileName> = accepted.keys().cloned().collect();
        // For a newly shared folder, the registration reports one line for all files.
        for (name, copy) in accepted.iter().filter(|_| self.registered) {
            self.events.send(PeerEvent::FileAnnounced { file: name.clone(), version: copy.version });
        }
        blocking(&self.folder, move |folder| {
            let hold = |record: &mut Record| {
                if let Some(copy) = accepted.get(&record.name) {
                    record.hold(*copy);
                }
            };
            folder.table.update_many(&names, hold).map(drop)
        })
        .await
    }

    async fn refused(
        &mut self,
        name: &FileName,
        copy: &Copy,
        own: bool,
        result: &AnnounceResult,
    ) -> Result<(), ServeError> {
        let current = result.current_version.unwrap_or(0);
        match result.code {
            Some(ErrorCode::HashConflict | ErrorCode::VersionConflict) => self.conflict(name, copy, current).await,
            // Another peer has the lease, or our own publication is still undecided. Retry later.
            Some(ErrorCode::LeaseRequired | ErrorCode::LeaseExpired) => {
                let since = self.pending_since.get(name).map(|(_, since)| since.elapsed());
                let given_up = since.is_some_and(|since| since >= PUBLISH_PATIENCE);
                if (!own && current > 0) || given_up {
                    return self.conflict(name, copy, current).await;
                }
                self.retry_later(name, copy);
                Ok(())
            }
            // Undecided, or refused for now. The file is still new at the next scan.
            _ => Ok(()),
        }
    }

    fn retry_later(&mut self, name: &FileName, copy: &Copy) {
        self.flagged.insert(name.clone(), (copy.stamp, Some(Instant::now() + LEASE_RETRY)));
    }

    /// Handles a name for which the index has different bytes (F4); the user's bytes are kept.
    ///
    /// An edit of a file that this peer has shared stays where it is and remains withdrawn. Anything else that is in
    /// the way of the index's version goes to a conflict copy.
    pub(super) async fn conflict(&mut self, name: &FileName, copy: &Copy, current: Version) -> Result<(), ServeError> {
        let (file, stamp) = (name.clone(), copy.stamp);
        let record = blocking(&self.folder, move |folder| folder.record(&file)).await?;
        if record.version > 0 && record.held.is_none() && record.pending.is_none() {
            self.flagged.insert(name.clone(), (stamp, None));
            self.events.send(PeerEvent::LocalChange { file: name.clone() });
            return Ok(());
        }
        let file = name.clone();
        let kept = blocking(&self.folder, move |folder| {
            let kept = folder.keep_as_conflict(&file)?;
            folder.drop_holding(&file)?;
            Ok(kept)
        })
        .await?;
        if let Some(kept) = kept {
            self.events.send(PeerEvent::Conflict { file: name.clone(), current_version: current, kept });
        }
        Ok(())
    }
}

/// A copy as it is announced to the index; version 0 means that the version is unknown (F6).
pub(super) fn entry(name: &FileName, copy: &Copy) -> FileEntry {
    let version = (copy.version > 0).then_some(copy.version);
    FileEntry { name: name.clone(), version, size: Some(copy.stamp.size), hash: copy.hash }
}

/// Records a new stamp of unchanged bytes (the file was touched, or copied back).
fn refresh_stamp(folder: &Folder, record: &Record, copy: Copy) -> Result<(), FolderError> {
    let refresh = |record: &mut Record| {
        if let Some(held) = record.held.as_mut().filter(|held| held.hash == copy.hash) {
            held.stamp = copy.stamp;
        }
    };
    folder.table.update(&record.name, refresh).map(drop)
}
