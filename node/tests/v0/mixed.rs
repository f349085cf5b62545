//! Peers of the original and of this version in one cluster: they share files with each other, both ways.

use client::cluster::IndexClient;
use client::peer::{Events, Peer, ServeConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::original::OldPeer;
use crate::support::{Cluster, eventually, hash};
use crate::{NANOS, v0};

/// A peer of this version, serving a folder.
struct NewPeer {
    folder: TempDir,
    stop: CancellationToken,
}

impl NewPeer {
    async fn serve(cluster: &Cluster, files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let client = IndexClient::connect(&cluster.nodes[0].url("")).unwrap();
        let peer = Peer::bind(ServeConfig::new(client, folder.path(), "127.0.0.1:0")).await.unwrap();
        let stop = CancellationToken::new();
        let (events, mut received) = Events::channel();
        tokio::spawn(async move { while received.recv().await.is_some() {} });
        tokio::spawn(peer.run(stop.clone(), events));
        Self { folder, stop }
    }

    fn content(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join(name)).ok()
    }
}

impl Drop for NewPeer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Heartbeats until the peer has the content.
async fn receives(old: &OldPeer, server: &str, name: &str, content: &str) {
    eventually("the old peer has the file", async || {
        old.heartbeat(server).await;
        old.content(name).as_deref() == Some(content)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_from_old_peers_to_new_ones_and_back() {
    let cluster = Cluster::start_with(1, &["--grace", "0s"]).await;
    cluster.ready().await;
    let server = v0(&cluster, 0);
    let large = "a line of text\n".repeat(200_000);
    let old = OldPeer::start(&[("old.txt", "from the old peer"), ("large.txt", &large)]).await;
    old.register(&server).await;
    let new = NewPeer::serve(&cluster, &[("new file.txt", "from the new peer")]).await;
    eventually("the new peer has copies", async || {
        old.heartbeat(&server).await;
        new.content("old.txt").as_deref() == Some("from the old peer")
            && new.content("large.txt").as_deref() == Some(&large)
    })
    .await;
    receives(&old, &server, "new file.txt", "from the new peer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_reach_peers_of_both_kinds_and_numbers_only_grow() {
    let cluster = Cluster::start_with(1, &["--grace", "0s"]).await;
    cluster.ready().await;
    let server = v0(&cluster, 0);
    let old = OldPeer::start(&[("doc.txt", "one")]).await;
    old.register(&server).await;
    let new = NewPeer::serve(&cluster, &[]).await;
    let number = async || old.get(&server, "/peers?file=doc.txt").await.json["file"]["version"].as_i64().unwrap();
    eventually("the new peer has a copy", async || new.content("doc.txt").as_deref() == Some("one")).await;
    assert_eq!(number().await, 1);

    assert_eq!(old.update(&server, "doc.txt", "two", NANOS).await.status, 204);
    eventually("the new peer follows", async || new.content("doc.txt").as_deref() == Some("two")).await;
    assert_eq!(number().await, NANOS, "as it was announced");

    // A writer of this version publishes the next one.
    let lease = json!({"peerId": "writer", "address": "http://127.0.0.1:9", "files": [], "serving": false});
    assert_eq!(cluster.post(0, "/register", lease).await.status, 200);
    let lease = cluster.post(0, "/lease", json!({"peerId": "writer", "fileName": "doc.txt"})).await;
    let publish = async |token: &Value, version: u64, bytes: &str| {
        let file = json!({"name": "doc.txt", "version": version, "size": bytes.len(), "hash": hash(bytes)});
        cluster.post(0, "/announce", json!({"peerId": "writer", "file": file, "leaseToken": token})).await
    };
    // The original cannot use that lease, not even in the name of its holder.
    let as_writer = json!({"peer": {"id": "writer", "addr": "http://127.0.0.1:9"},
        "file": {"name": "doc.txt", "size": 1, "hash": hash("x"), "version": NANOS + 1}});
    assert_eq!(old.post(&server, "/announce", &as_writer).await.status, 403);
    let asked = old.post(&server, "/lease", &json!({"peerId": "writer", "fileName": "doc.txt"})).await;
    assert_eq!(asked.json["granted"], false, "{asked:?}");
    assert_eq!(publish(&lease.json["leaseToken"], 3, "three").await.status, 200);
    assert_eq!(number().await, NANOS + 1, "it counts on from there");

    assert_eq!(old.update(&server, "doc.txt", "four", NANOS + 5).await.status, 204);
    assert_eq!(number().await, NANOS + 5);
    eventually("the new peer follows again", async || new.content("doc.txt").as_deref() == Some("four")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_hash_gets_one_and_then_copies_that_can_be_verified() {
    let cluster = Cluster::start_with(1, &["--grace", "0s"]).await;
    cluster.ready().await;
    let server = v0(&cluster, 0);
    let old = OldPeer::start(&[("plain.txt", "nobody hashed this")]).await;
    let file = json!({"name": "plain.txt", "size": 18, "hash": "", "version": NANOS});
    let registered = old.post(&server, "/register", &json!({"peer": old.as_peer(), "files": [file]})).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    eventually("the node has read it", async || {
        old.get(&server, "/peers?file=plain.txt").await.json["file"]["hash"] == hash("nobody hashed this")
    })
    .await;
    let found = old.get(&server, "/peers?file=plain.txt").await;
    assert_eq!(found.json["file"]["version"], NANOS, "the same bytes have the same number");
    let new = NewPeer::serve(&cluster, &[]).await;
    eventually("a copy was made and verified", async || new.content("plain.txt").is_some()).await;
    // A peer that cannot be reached keeps what it said.
    let gone = json!({"peer": {"id": "gone", "addr": "http://127.0.0.1:1"},
        "files": [{"name": "gone.txt", "size": 5, "hash": "md5:1", "version": 4}]});
    assert_eq!(old.post(&server, "/register", &gone).await.status, 200);
    let found = old.get(&server, "/search?q=gone").await;
    assert_eq!(found.json["matches"][0]["file"], json!({"name": "gone.txt", "size": 5, "hash": "md5:1", "version": 4}));
}
