//! Who can send a version right now. A running download asks again when it loses a source, and now and then otherwise,
//! so that hosts that come and go are found by themselves.
//!
//! Invariant: an answer names live holders of exactly the wanted bytes, and none that the allow list leaves out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use raft_store::types::{ContentHash, FileName, Version};

use super::allow::AllowList;
use crate::cluster::{Consistency, IndexClient, ReadOptions};
use crate::contract::{ErrorCode, FileResponse};

/// How long a download without any source that answers waits for one, unless the caller says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two lookups while all sources work.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// First pause before another lookup after a source was lost; it doubles up to [`PAUSE_MAX`].
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause before another lookup after a source was lost.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Time limit of one lookup.
const LOOKUP_MAX: Duration = Duration::from_secs(2);

/// The answer to a lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Base URLs of the live holders that may be asked.
    pub sources: Vec<String>,
    /// Live holders that the allow list leaves out, as `ID at URL`.
    pub left_out: Vec<String>,
    /// Whether a newer version has been published, so that no new holders will appear.
    pub superseded: bool,
}

impl Holders {
    /// The live holders of a version, as a file's entry in the index names them.
    pub fn of(file: &FileResponse, version: Version, hash: ContentHash, allowed: Option<&AllowList>) -> Self {
        let superseded = file
            .current()
            .is_none_or(|current| current.version > version || (current.version == version && current.hash != hash));
        let mut holders = Self { superseded, ..Self::default() };
        for holder in file.holders.iter().filter(|holder| holder.live && holder.version == version) {
            if allowed.is_none_or(|list| list.allows(&holder.id, &holder.address)) {
                holders.sources.push(holder.address.clone());
            } else {
                holders.left_out.push(format!("{} at {}", holder.id, holder.address));
            }
        }
        holders
    }

    /// Whether nobody has the version any more, and nobody will.
    pub(super) fn is_over(&self) -> bool {
        self.superseded && self.sources.is_empty()
    }
}

type Find = dyn Fn() -> BoxFuture<'static, Option<Holders>> + Send + Sync;

/// How to look up the holders of one version, and how long to wait for one.
#[derive(Clone)]
pub struct Lookup {
    find: Arc<Find>,
    /// How long the download waits while no source answers.
    pub patience: Duration,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Lookup {
    /// A lookup of the caller's own. `None` means that nothing is known at the moment.
    pub fn new(
        find: impl Fn() -> BoxFuture<'static, Option<Holders>> + Send + Sync + 'static,
        patience: Duration,
    ) -> Self {
        Self { find: Arc::new(find), patience }
    }

    /// Asks the index, at its leader.
    pub fn in_index(
        client: &IndexClient,
        name: FileName,
        version: Version,
        hash: ContentHash,
        allowed: Option<Arc<AllowList>>,
        patience: Duration,
    ) -> Self {
        let reading = ReadOptions { consistency: Consistency::Leader, ..ReadOptions::default() };
        let client = client.with_reading(reading).with_deadline(LOOKUP_MAX.min(client.deadline()));
        let find = move || -> BoxFuture<'static, Option<Holders>> {
            let (client, name, allowed) = (client.clone(), name.clone(), allowed.clone());
            Box::pin(async move {
                match client.file(&name).await {
                    Ok(answer) => Some(Holders::of(&answer.value, version, hash, allowed.as_deref())),
                    // The name was deleted.
                    Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                        Some(Holders { superseded: true, ..Holders::default() })
                    }
                    Err(error) => {
                        tracing::debug!(%name, %error, "the holders are unknown at the moment");
                        None
                    }
                }
            })
        };
        Self::new(find, patience)
    }

    /// Looks the holders up now.
    pub(crate) fn find(&self) -> BoxFuture<'static, Option<Holders>> {
        (self.find)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_holders_of_exactly_that_version_are_sources() {
        let holder = |id: &str, version: u64, live: bool| {
            let address = format!("http://{id}:1");
            serde_json::json!({"id": id, "address": address, "version": version, "current": version == 3, "live": live})
        };
        let holders = [holder("a", 3, true), holder("b", 3, false), holder("c", 2, true), holder("d", 3, true)];
        let hash = ContentHash([7; 32]);
        let file: FileResponse = serde_json::from_value(serde_json::json!({
            "name": "f", "version": 3, "size": 1, "hash": hash.to_string(), "holders": holders, "lease": null,
            "replicas": {"desired": 2, "live": 2}, "attributes": {},
        }))
        .expect("an answer of the index");
        let everybody = Holders::of(&file, 3, hash, None);
        assert_eq!(everybody.sources, ["http://a:1", "http://d:1"]);
        assert!(!everybody.superseded && everybody.left_out.is_empty());
        let list: AllowList = "d".parse().expect("valid");
        let known = Holders::of(&file, 3, hash, Some(&list));
        assert_eq!((known.sources, known.left_out), (vec!["http://d:1".into()], vec!["a at http://a:1".into()]));
        let older = Holders::of(&file, 2, ContentHash([6; 32]), None);
        assert_eq!((older.sources, older.superseded), (vec!["http://c:1".into()], true));
    }
}
