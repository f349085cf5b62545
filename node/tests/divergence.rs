//! A member whose state differs from the others' is found, answers nobody, and takes the right state over (N3).
#![allow(clippy::unwrap_used, reason = "a broken test may panic")]

mod support;

use std::path::{Path, PathBuf};

use raft_store::catalog::{Batch, Catalog, Command, EntryId, Listing, Op, Register};
use raft_store::types::PeerId;
use serde_json::json;
use sha2::{Digest, Sha256};
use support::{Cluster, eventually};

/// The only snapshot file of a node.
fn snapshot_of(data: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(data.join("snap")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "snap")).max()
}

/// Adds a peer that nobody registered to a snapshot, as a defect would have done; the file stays one that checks.
fn add_a_ghost(path: &Path) {
    const FIXED: usize = 8 + 4 + 4 + 8;
    let file = std::fs::read(path).unwrap();
    let meta_bytes = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let (meta, catalog) = file[FIXED + 32..].split_at(meta_bytes);
    let mut catalog = Catalog::decode(catalog).unwrap();
    let op = Op::Register(Register {
        peer: PeerId::parse("ghost").unwrap(),
        address: "http://127.0.0.1:9".to_owned(),
        zone: None,
        capacity_bytes: None,
        serving: true,
        listing: Listing::Whole(Vec::new()),
    });
    let applied =
        catalog.apply(EntryId { term: 1, index: 1 }, &Batch { stamp: None, commands: vec![Command { key: None, op }] });
    assert!(applied.replies[0].result.is_ok());
    let body = [meta, &catalog.encode()].concat();
    let mut changed = file[..16].to_vec();
    changed.extend_from_slice(&((body.len() - meta_bytes) as u64).to_le_bytes());
    changed.extend_from_slice(&Sha256::digest(&body));
    changed.extend_from_slice(&body);
    std::fs::write(path, changed).unwrap();
}

#[tokio::test]
async fn a_member_with_another_state_is_found_refuses_clients_and_takes_the_right_one_over() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    for n in 0..20 {
        assert_eq!(cluster.announce("p1", &format!("f{n}"), 1, "a").await.status, 200);
    }
    cluster.equal_digests().await;
    // A follower, and not the node that the requests below go to.
    let odd = if cluster.leader().await == 1 { 2 } else { 1 };
    cluster.post(odd, "/cluster/snapshot", json!({})).await;
    let data = cluster.nodes[odd].data.clone();
    eventually("a snapshot is taken", async || snapshot_of(&data).is_some()).await;
    cluster.nodes[odd].kill();
    add_a_ghost(&snapshot_of(&data).unwrap());
    cluster.nodes[odd].start();

    // Compared after its start, it refuses even what any node answers otherwise.
    eventually("it is found to be the odd one", async || {
        let answer = cluster.http.get(cluster.nodes[odd].url("/peers?consistency=stale")).send().await;
        answer.is_ok_and(|answer| answer.status() == 503)
    })
    .await;
    let refused = cluster.get(odd, "/peers?consistency=stale").await;
    assert_eq!((refused.status, &refused.json["code"]), (503, &json!("diverged")), "{}", refused.text);
    let metrics = cluster.get(odd, "/metrics").await.text;
    assert!(metrics.contains("raftshare_diverged 1"), "{metrics}");
    assert!(!metrics.contains("raftshare_digest_disagreements_total 0\n"), "{metrics}");
    // Neither does it answer from that state after a restart, once that is recorded.
    let log = data.with_extension("log");
    eventually("it says so", async || std::fs::read_to_string(&log).unwrap().contains("it answers no client")).await;
    cluster.nodes[odd].kill();
    cluster.nodes[odd].start();
    // The others go on, also while it repairs itself.
    assert_eq!(cluster.announce("p1", "meanwhile", 1, "a").await.status, 200);

    eventually("it serves again", async || {
        let url = cluster.nodes[odd].url("/peers?consistency=stale");
        let Ok(answer) = cluster.http.get(url).send().await else { return false };
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(!text.contains("ghost"), "{text}");
        status == 200
    })
    .await;
    cluster.equal_digests().await;
    let metrics = cluster.get(odd, "/metrics").await.text;
    assert!(metrics.contains("raftshare_diverged 0"), "{metrics}");
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("took the state over from a member that agrees"), "{log}");

    // `verify` finds a position that all members have in common, and so would a restart: what
    // was taken over is on disk.
    cluster.nodes[odd].kill();
    cluster.nodes[odd].start();
    cluster.ready().await;
    cluster.equal_digests().await;
    let verified = support::run(&["verify", "--node", &cluster.nodes[0].address]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
