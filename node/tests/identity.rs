//! Who is who: older copies and clones of a data directory, nodes that move, and nodes that were removed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and measure")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{Cluster, NodeProcess, eventually, file, free_addresses, run};

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn log_of(node: &NodeProcess) -> String {
    std::fs::read_to_string(node.data.with_extension("log")).unwrap_or_default()
}

fn follower(leader: usize) -> usize {
    (leader + 1) % 3
}

async fn status_code(cluster: &Cluster, node: usize, path: &str) -> u16 {
    cluster.http.get(cluster.nodes[node].url(path)).send().await.map_or(0, |answer| answer.status().as_u16())
}

async fn write(cluster: &Cluster, node: usize, name: &str) -> u16 {
    cluster.post(node, "/announce", json!({"peerId": "p1", "file": file(name, 1, name)})).await.status
}

/// C3: a directory restored to a state before what its node had acknowledged is told from the directory.
#[tokio::test]
async fn an_older_copy_says_so_and_counts_for_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    // The one that founded the cluster: it must not want to found it again when its directory is set aside.
    let restored = 0;
    let asked = cluster.post(cluster.leader().await, "/cluster/transfer", json!({"id": cluster.nodes[1].id})).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let leader = cluster.leader().await;
    assert_ne!(leader, restored);
    let (data, aside) = (cluster.nodes[restored].data.clone(), cluster.dir.path().join("older"));
    cluster.nodes[restored].kill();
    copy(&data, &aside);
    cluster.nodes[restored].start();
    cluster.ready().await;
    for n in 0..20 {
        assert_eq!(write(&cluster, leader, &format!("f{n}")).await, 200);
    }
    cluster.equal_digests().await;
    cluster.nodes[restored].kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&aside, &data);
    cluster.nodes[restored].start();
    eventually("the restored node says that it is an older copy", async || {
        let answer = cluster.http.get(cluster.nodes[restored].url("/file?name=f1")).send().await;
        match answer {
            Ok(answer) => answer.text().await.unwrap_or_default().contains("older copy"),
            Err(_) => false,
        }
    })
    .await;
    assert_eq!(status_code(&cluster, restored, "/readyz").await, 503);
    let said = log_of(&cluster.nodes[restored]);
    assert!(said.contains("older copy") && said.contains("replace"), "the log says what to do: {said}");
    // It counts for nothing: with the other follower gone there is no majority.
    let other = 3 - leader;
    cluster.nodes[other].kill();
    assert_eq!(write(&cluster, leader, "after").await, 503);
    // Restarting does not make it newer.
    for _ in 0..4 {
        cluster.nodes[restored].kill();
        cluster.nodes[restored].start();
        eventually("it serves again", async || status_code(&cluster, restored, "/healthz").await == 200).await;
    }
    cluster.nodes[other].start();
    eventually("the other follower serves again", async || status_code(&cluster, other, "/readyz").await == 200).await;
    eventually("the others go on", async || write(&cluster, other, "later").await == 200).await;
    assert_eq!(status_code(&cluster, restored, "/readyz").await, 503);
    // Replaced by itself it is a full member again, and its old directory is kept.
    let (node, address) = (cluster.nodes[restored].id.to_string(), cluster.nodes[restored].address.clone());
    let replaced = run(&["replace", &node, &node, "--addr", &address, "--node", &cluster.nodes[other].url("")]);
    assert_eq!(replaced.status.code(), Some(0), "{replaced:?}");
    cluster.ready().await;
    cluster.equal_digests().await;
    assert!(data.join("older-1").join("log").exists());
    // And stays one, past the next look for what its command line asks for.
    let looked_again = std::time::Instant::now() + std::time::Duration::from_millis(600);
    while std::time::Instant::now() < looked_again {
        assert_eq!(status_code(&cluster, restored, "/readyz").await, 200, "{}", log_of(&cluster.nodes[restored]));
    }
}

/// C5: the process that was there first goes on, a copy beside it does not take part, and says where the other one is.
#[tokio::test]
async fn a_copy_beside_its_original_does_not_take_part() {
    let mut cluster = Cluster::start(3).await;
    let cloned = follower(cluster.leader().await);
    let (id, original) = (cluster.nodes[cloned].id, cluster.nodes[cloned].address.clone());
    // A copy made before the original's last start.
    cluster.nodes[cloned].kill();
    let mut earlier = cluster.extra_node(id, &[]);
    earlier.data = cluster.dir.path().join("earlier");
    copy(&cluster.nodes[cloned].data, &earlier.data);
    cluster.nodes[cloned].start();
    cluster.ready().await;
    earlier.start();
    // By its number, or by the original's answer if a majority had not recorded the number before.
    eventually("the earlier copy says what it is", async || {
        let said = log_of(&earlier);
        (said.contains("older copy") || said.contains("another process")) && said.contains(&original)
    })
    .await;
    earlier.kill();
    // One made while it runs. If the members compare their states right then, that writes an entry which the copy
    // lacks, so that it is an older copy; then it is copied again.
    let mut now = cluster.extra_node(id, &[]);
    let said = 'copied: {
        for number in 0..5 {
            now.data = cluster.dir.path().join(format!("now{number}"));
            copy(&cluster.nodes[cloned].data, &now.data);
            now.start();
            eventually("the copy is refused", async || {
                let said = log_of(&now);
                said.contains("older copy") || said.contains("another process")
            })
            .await;
            if log_of(&now).contains("another process") {
                assert!(!now.wait().success(), "{}", log_of(&now));
                break 'copied log_of(&now);
            }
            now.kill();
        }
        panic!("the members cannot compare their states each time");
    };
    assert!(said.contains("another process") && said.contains(&original), "{said}");
    cluster.ready().await;
    let answer = cluster.get(cloned, "/readyz").await;
    assert_eq!(answer.status, 200, "the original goes on: {}", answer.text);
}

/// C5, C3: a copy that is started instead of its original has moved, and the original is an older copy from then on.
#[tokio::test]
async fn a_copy_instead_of_its_original_takes_its_place() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let original = follower(leader);
    let id = cluster.nodes[original].id;
    // Ready again only once a majority has recorded its start, which the first one need not wait for.
    cluster.nodes[original].kill();
    cluster.nodes[original].start();
    cluster.ready().await;
    cluster.nodes[original].kill();
    let mut clone = cluster.extra_node(id, &[]);
    clone.data = cluster.dir.path().join("clone");
    copy(&cluster.nodes[original].data, &clone.data);
    clone.start();
    let ready = clone.url("/readyz");
    eventually("the clone takes part", async || {
        cluster.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    cluster.nodes[original].start();
    eventually("the original is an older copy", async || log_of(&cluster.nodes[original]).contains("older copy")).await;
    assert_eq!(status_code(&cluster, original, "/readyz").await, 503);
    assert_eq!(cluster.http.get(&ready).send().await.unwrap().status(), 200, "the clone goes on");
    assert_eq!(write(&cluster, leader, "a").await, 200);
}

/// C4: a member that starts at another address is found again, and the membership says so.
#[tokio::test]
async fn a_member_that_moved_is_found_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    for step in [follower(cluster.leader().await), cluster.leader().await] {
        cluster.nodes[step].kill();
        cluster.nodes[step].address = free_addresses(1).remove(0);
        cluster.nodes[step].start();
        cluster.ready().await;
        let (id, address) = (cluster.nodes[step].id, cluster.nodes[step].address.clone());
        for asked in 0..3 {
            eventually("every node lists the new address as alive", async || {
                let members = cluster.get(asked, "/cluster").await.json["nodes"].clone();
                let moved = members.as_array().unwrap().iter().find(|node| node["id"] == id).cloned();
                moved.is_some_and(|node| node["address"] == address.as_str() && node["alive"] == true)
            })
            .await;
        }
    }
    assert_eq!(write(&cluster, 1, "a").await, 200);
    let status = run(&["status", "--node", &cluster.nodes[0].url("")]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    // It is in the log: all of them find each other after a restart, without a word on the command line.
    cluster.nodes.iter_mut().for_each(NodeProcess::kill);
    cluster.nodes.iter_mut().for_each(NodeProcess::start);
    cluster.ready().await;
}

/// C4: when all have moved, `--members` says where to look.
#[tokio::test]
async fn all_members_moved_at_once_are_found_by_the_start_command() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    cluster.nodes.iter_mut().for_each(NodeProcess::kill);
    let addresses = free_addresses(3);
    let members: Vec<_> = (1..).zip(&addresses).map(|(id, address)| format!("{id}={address}")).collect();
    for (node, address) in cluster.nodes.iter_mut().zip(&addresses) {
        node.address.clone_from(address);
        node.set_flags(&["--bootstrap-expect", "3", "--members", &members.join(",")]);
        node.start();
    }
    cluster.ready().await;
    assert_eq!(write(&cluster, 2, "a").await, 200);
    eventually("the membership has the new addresses", async || {
        let nodes = cluster.get(0, "/cluster").await.json["nodes"].clone();
        nodes.as_array().unwrap().iter().zip(&addresses).all(|(node, address)| node["address"] == address.as_str())
    })
    .await;
}

/// C6: a removed node learns it, says so, answers nobody as a member, and stays so.
#[tokio::test]
async fn a_removed_node_learns_it_and_stays_removed() {
    let mut cluster = Cluster::start(3).await;
    cluster.register("p1").await;
    let leader = cluster.leader().await;
    let removed = follower(leader);
    let answer = cluster.post(leader, "/cluster/remove", json!({"id": cluster.nodes[removed].id})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for _ in 0..2 {
        eventually("it answers that it was removed", async || {
            let Ok(answer) = cluster.http.get(cluster.nodes[removed].url("/search?q=")).send().await else {
                return false;
            };
            let text = answer.text().await.unwrap_or_default();
            text.contains(r#""code":"removed""#)
        })
        .await;
        assert_eq!(status_code(&cluster, removed, "/readyz").await, 503);
        assert!(log_of(&cluster.nodes[removed]).contains("removed from its cluster"));
        cluster.nodes[removed].kill();
        cluster.nodes[removed].start();
    }
    let term = cluster.get(leader, "/leader").await.json["term"].clone();
    assert_eq!(write(&cluster, leader, "a").await, 200);
    assert_eq!(cluster.get(leader, "/leader").await.json["term"], term, "it disturbs no election");
}

/// C1: nobody is founded by a list that is not its own.
#[tokio::test]
async fn founding_lists_that_differ_are_refused() {
    let cluster = Cluster::start_with(0, &[]).await;
    let mut nodes: Vec<_> = (1..=2).map(|id| cluster.extra_node(id, &[])).collect();
    let two = format!("1={},2={}", nodes[0].address, nodes[1].address);
    let three = format!("{two},3={}", free_addresses(1).remove(0));
    nodes[0].set_flags(&["--bootstrap-expect", "2", "--members", &two]);
    nodes[1].set_flags(&["--bootstrap-expect", "3", "--members", &three]);
    nodes.iter_mut().for_each(NodeProcess::start);
    assert!(!nodes[1].wait().success());
    let said = log_of(&nodes[1]);
    assert!(said.contains("same list") && said.contains(&three), "{said}");
    let ready = cluster.http.get(nodes[0].url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503, "nothing was founded");
}

/// A joining node does not repeat a refusal for ever.
#[tokio::test]
async fn a_join_that_is_refused_for_good_ends_with_the_reason() {
    let cluster = Cluster::start(1).await;
    let mut second = cluster.extra_node(1, &["--join".to_owned(), cluster.nodes[0].url("")]);
    second.data = cluster.dir.path().join("second");
    second.start();
    assert!(!second.wait().success());
    let said = log_of(&second);
    assert!(said.contains("does not take this node in") && said.contains("another data directory"), "{said}");
}

/// N1: a connection of somebody who is no member is refused, though it names the right cluster and node.
#[tokio::test]
async fn a_stranger_is_refused() {
    use std::sync::Arc;

    use node::identities::{Identities, Side};
    use node::sys::net::SystemNet;
    use node::transport::{Link, Request};
    use raft_store::raft::Member;
    use raft_store::storage::{OpenOptions, SimDisk, StartId, Storage};

    let cluster = Cluster::start(3).await;
    let net = Arc::new(SystemNet::new().unwrap());
    let identity = node::transport::who(&*net, &cluster.nodes[0].address).await.unwrap();
    let member = Member { address: cluster.nodes[0].address.clone(), store_id: identity.side.store };
    let options = OpenOptions { node_id: 9, new_store_id: 99 };
    let storage = Storage::open_simulated(&SimDisk::default(), &options).unwrap();
    // An id that nobody has, and a member's id with another directory.
    for node in [9, 2] {
        let side = Side { node, store: 99 };
        let start = StartId { number: 1, nonce: 1 };
        let identities =
            Identities::new(side, start, String::new(), identity.cluster, storage.starts.clone(), Vec::new());
        let mut link = Link::new(net.clone(), Arc::new(identities), 1, member.clone());
        let answer = link.call(&Request::Status, std::time::Duration::from_secs(5)).await;
        let error = answer.expect_err("a stranger is refused").to_string();
        assert!(error.contains("not a member as of log index"), "{error}");
    }
}
