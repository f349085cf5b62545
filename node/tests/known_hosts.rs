//! Allow lists of serving peers with a real index: whom a peer fetches its copies from, and whom it sends files to.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::cluster::IndexClient;
use client::peer::{Events, Peer, PeerEvent, ServeConfig};
use raft_store::types::PeerId;
use support::{Cluster, DEADLINE, eventually};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A serving peer, stopped with the test.
struct Serving {
    address: String,
    events: Receiver<PeerEvent>,
    _stop: DropGuard,
}

impl Serving {
    async fn start(cluster: &Cluster, dir: &Path, id: &str, allow: Option<&str>) -> Self {
        let client = IndexClient::connect(&cluster.nodes[0].url("")).unwrap();
        let config = ServeConfig {
            peer_id: Some(PeerId::parse(id.to_owned()).unwrap()),
            allow: allow.map(|list| Arc::new(list.parse().unwrap())),
            rescan: Duration::from_millis(100),
            ..ServeConfig::new(client, dir.join(id), "127.0.0.1:0")
        };
        let peer = Peer::bind(config).await.unwrap();
        let address = peer.address().to_owned();
        let (events, received) = Events::channel();
        let stop = CancellationToken::new();
        tokio::spawn(peer.run(stop.clone(), events));
        Self { address, events: received, _stop: stop.drop_guard() }
    }

    /// Waits for an event.
    async fn until(&mut self, what: &str, wanted: impl Fn(&PeerEvent) -> bool) {
        let found = async {
            while let Some(event) = self.events.recv().await {
                if wanted(&event) {
                    return;
                }
            }
            panic!("the peer ended before: {what}");
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_come_from_allowed_peers_only_and_the_index_learns_why_not() {
    let cluster = Cluster::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("desk")).unwrap();
    std::fs::write(dir.path().join("desk/a.txt"), "old").unwrap();
    let _desk = Serving::start(&cluster, dir.path(), "desk", None).await;
    eventually("the file is announced", async || cluster.get(0, "/file?name=a.txt").await.status == 200).await;

    // The index wants a second copy, and the only other peer may fetch from nobody who has it.
    let mut wary = Serving::start(&cluster, dir.path(), "wary", Some("lab,10.9.9.9")).await;
    let refused = |event: &PeerEvent| {
        matches!(event, PeerEvent::TaskFailed { code, reason, .. }
            if code == "not_allowed" && reason.contains("desk at http://127.0.0.1:"))
    };
    wary.until("the task is refused", refused).await;
    assert!(!dir.path().join("wary/a.txt").exists());

    // A peer that knows the holder by its id takes the task over.
    let mut lab = Serving::start(&cluster, dir.path(), "lab", Some("desk")).await;
    lab.until("the task is done", |event| matches!(event, PeerEvent::TaskDone { bytes: 3, .. })).await;
    assert_eq!(std::fs::read_to_string(dir.path().join("lab/a.txt")).unwrap(), "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_ids_admits_the_machines_at_which_the_index_knows_these_peers() {
    let cluster = Cluster::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let by_id = Serving::start(&cluster, dir.path(), "by-id", Some("lab")).await;
    let elsewhere = Serving::start(&cluster, dir.path(), "elsewhere", Some("10.9.9.9,nobody")).await;
    let status = async |serving: &Serving| {
        cluster.http.get(format!("{}/files", serving.address)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&by_id).await, 403, "the index does not know that peer yet");
    let _lab = Serving::start(&cluster, dir.path(), "lab", None).await;
    eventually("the peer's machine is admitted", async || status(&by_id).await == 200).await;
    assert_eq!(status(&elsewhere).await, 403);
}
