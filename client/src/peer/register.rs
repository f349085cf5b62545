//! Registers a peer with all its holdings, or only with their digest if nothing has changed (P1, P2).
//!
//! Invariant: a registration lists what is on disk. Copies that were deleted or edited while the folder was not served
//! are withdrawn first, so that the index does not send them back (F7).

use raft_store::types::{ContentHash, FileName, Incarnation};
use sha2::{Digest, Sha256};

use super::event::PeerEvent;
use super::sync::{FILES_PER_REQUEST, Findings, FolderSync, entry};
use super::table::Copy;
use super::transfer::blocking;
use super::{FolderError, ServeError};
use crate::contract::{ConflictEntry, FileEntry, ListingAnswer, ListingPage, RegisterRequest, RegisterResponse};

/// Attempts to send a listing that newer listings interrupt, before the registration starts over.
const LISTING_ATTEMPTS: usize = 3;

/// What a registration says about the peer itself.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    pub(super) address: String,
    pub(super) zone: Option<String>,
    pub(super) capacity_bytes: Option<u64>,
}

/// Digest of holdings, sorted by the bytes of their names: SHA-256 over `name NUL hash LF` of each (P2).
pub fn digest<'a>(holdings: impl IntoIterator<Item = (&'a FileName, &'a ContentHash)>) -> ContentHash {
    let mut sorted: Vec<_> = holdings.into_iter().collect();
    sorted.sort_by(|a, b| a.0.as_str().as_bytes().cmp(b.0.as_str().as_bytes()));
    let mut hasher = Sha256::new();
    for (name, hash) in sorted {
        hasher.update(format!("{name}\0{hash}\n"));
    }
    ContentHash(hasher.finalize().into())
}

impl FolderSync {
    /// Registers once. A temporary failure is returned; the caller retries.
    pub(super) async fn register(&mut self, registration: &Registration) -> Result<Incarnation, ServeError> {
        let changes = self.scan().await?;
        let findings = Findings { gone: changes.gone, ..self.inspect(changes.new, changes.touched).await? };
        if self.folder.identity().incarnation.is_some() {
            self.withdraw(findings.edited, findings.gone).await?;
        } else {
            let names: Vec<_> = findings.edited.into_iter().map(|(name, _)| name).chain(findings.gone).collect();
            blocking(&self.folder, move |folder| folder.table.update_many(&names, |record| record.held = None)).await?;
        }
        let held = self.held().await?;
        let folder = std::sync::Arc::clone(&self.folder);
        let _announcing = folder.announcing(findings.new.iter().map(|(name, copy)| (name, copy.hash)));
        let answer = self.state_holdings(registration, &held, &findings.new).await?;
        let mut new = findings.new;
        for conflict in &answer.conflicts {
            self.listed_conflict(conflict, &held, &mut new).await?;
        }
        let (incarnation, address) = (answer.incarnation, registration.address.clone());
        let remember = move |identity: &mut super::Identity| {
            (identity.incarnation, identity.address) = (Some(incarnation), Some(address));
        };
        blocking(&self.folder, move |folder| folder.update_identity(remember)).await?;
        // The response to a listing has no versions. Announcing the same files returns them and changes nothing else.
        self.announce_all(new, findings.pending).await?;
        let files = self.held().await?.len();
        self.registered = true;
        let peer = self.folder.peer_id();
        self.events.send(PeerEvent::Registered { peer, incarnation, files });
        self.tasks.take(answer.tasks);
        Ok(incarnation)
    }

    /// Copies that the index should count: held ones, except those that are being replaced.
    async fn held(&self) -> Result<Vec<(FileName, Copy)>, FolderError> {
        blocking(&self.folder, |folder| {
            let copies = folder.records()?.into_iter().filter(|record| record.pending.is_none());
            Ok(copies.filter_map(|record| record.held.map(|copy| (record.name, copy))).collect())
        })
        .await
    }

    async fn state_holdings(
        &self,
        registration: &Registration,
        held: &[(FileName, Copy)],
        new: &[(FileName, Copy)],
    ) -> Result<RegisterResponse, ServeError> {
        if new.is_empty() && !held.is_empty() && self.folder.identity().incarnation.is_some() {
            let digest = digest(held.iter().map(|(name, copy)| (name, &copy.hash)));
            let count = u64::try_from(held.len()).unwrap_or(u64::MAX);
            let request = RegisterRequest { digest: Some(digest), count: Some(count), ..self.request(registration) };
            let answer = self.client.register(&request).await?;
            if answer.listing != ListingAnswer::Wanted {
                return Ok(answer);
            }
        }
        let files: Vec<FileEntry> = held.iter().chain(new).map(|(name, copy)| entry(name, copy)).collect();
        if files.len() <= FILES_PER_REQUEST {
            let request = RegisterRequest { files: Some(files), ..self.request(registration) };
            return Ok(self.client.register(&request).await?);
        }
        for _ in 0..LISTING_ATTEMPTS {
            if let Some(answer) = self.send_pages(registration, &files).await? {
                return Ok(answer);
            }
        }
        Err(ServeError::ListingVoided)
    }

    /// Sends the listing page by page. `None` if a newer listing interrupted it.
    async fn send_pages(
        &self,
        registration: &Registration,
        files: &[FileEntry],
    ) -> Result<Option<RegisterResponse>, ServeError> {
        let id = format!("{:016x}", rand::random::<u64>());
        let pages = files.chunks(FILES_PER_REQUEST).count();
        let mut conflicts = Vec::new();
        let mut tasks = Vec::new();
        let mut last_answer = None;
        for (number, page) in files.chunks(FILES_PER_REQUEST).enumerate() {
            let listing = ListingPage { id: id.clone(), last: number + 1 == pages };
            let request =
                RegisterRequest { files: Some(page.to_vec()), listing: Some(listing), ..self.request(registration) };
            let mut answer = self.client.register(&request).await?;
            if answer.listing == ListingAnswer::Wanted {
                return Ok(None);
            }
            conflicts.append(&mut answer.conflicts);
            tasks.append(&mut answer.tasks);
            last_answer = Some(answer);
        }
        Ok(last_answer.map(|answer| RegisterResponse { conflicts, tasks, ..answer }))
    }

    fn request(&self, registration: &Registration) -> RegisterRequest {
        RegisterRequest {
            files: None,
            zone: registration.zone.clone(),
            capacity_bytes: registration.capacity_bytes,
            serving: Some(true),
            ..RegisterRequest::whole(self.folder.peer_id(), registration.address.clone(), Vec::new())
        }
    }

    /// Handles a file that the index did not accept; the user's bytes are kept.
    async fn listed_conflict(
        &mut self,
        conflict: &ConflictEntry,
        held: &[(FileName, Copy)],
        new: &mut Vec<(FileName, Copy)>,
    ) -> Result<(), ServeError> {
        let found = held.iter().chain(new.iter()).find(|(name, _)| *name == conflict.name).cloned();
        new.retain(|(name, _)| *name != conflict.name);
        match found {
            Some((name, copy)) => self.conflict(&name, &copy, conflict.current_version).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::hash_bytes;

    #[test]
    fn the_digest_is_over_names_in_byte_order() {
        let name = |text: &str| FileName::parse(text).expect("valid name");
        let (a, b, hash) = (name("a/z"), name("a.txt"), hash_bytes(b"x"));
        let expected = hash_bytes(format!("a.txt\0{hash}\na/z\0{hash}\n").as_bytes());
        assert_eq!(digest([(&a, &hash), (&b, &hash)]), expected);
        assert_eq!(digest([]), hash_bytes(b""));
    }
}
