//! The last phase of a run: all faults removed, the cluster must heal, serve, and still hold
//! everything it acknowledged.
//!
//! Invariant: what is written down here was read after healing, from every node by itself, linearizably; the digests
//! are taken last, because looking up published contents is a write of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use raft_store::types::NodeId;
use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError, READY_WITHIN};
use crate::history::{Answer, Level, Micros, Record};
use crate::recorder::Recorder;
use crate::workload::{RawClient, RawOutcome, file_answer, level_text};

/// Limit of one request.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a request is repeated before the run is called a failure of the harness.
const INSIST: Duration = Duration::from_secs(20);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Requests under way at once.
const PARALLEL: usize = 8;
/// Newest published contents of a file that are looked up; the index remembers 16 versions.
const AUDITED_PER_FILE: usize = 48;
/// How long the nodes have to come to the same applied index.
const DIGEST_WITHIN: Duration = Duration::from_secs(15);

/// Contents that clients published, or tried to: per file, in the order they were sent.
pub type Published = BTreeMap<String, Vec<String>>;

/// Removes every fault and waits until all nodes serve; false if they do not.
pub async fn heal(cluster: &mut Cluster, recorder: &Recorder) -> Result<bool, ClusterError> {
    let since = Instant::now();
    for (node, status) in cluster.ended() {
        let expected = cluster.exit_is_expected(node);
        recorder.record(if expected { Record::ExpectedExit { node, status } } else { Record::Exit { node, status } });
    }
    cluster.resume_all()?;
    cluster.restart_dead()?;
    match cluster.wait_ready(READY_WITHIN).await {
        Ok(()) => {
            let after_us = Micros::try_from(since.elapsed().as_micros()).unwrap_or(Micros::MAX);
            recorder.record(Record::Healed { after_us });
            Ok(true)
        }
        Err(error @ ClusterError::NotReady { .. }) => {
            recorder.record(Record::NotHealed { reason: error.to_string() });
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Reads everything back and writes it down.
pub async fn read_back(
    cluster: &Cluster,
    recorder: &Recorder,
    files: &BTreeSet<String>,
    published: &Published,
) -> Result<(), String> {
    let raw = RawClient::new(Arc::new(cluster.urls())).map_err(|error| error.to_string())?;
    let existing = final_reads(cluster, &raw, recorder, files).await?;
    let server = cluster.ids().first().map_or(0, |id| cluster.server(*id));
    audit((&raw, server), recorder, &existing, published).await?;
    digests(cluster, &raw, recorder).await;
    Ok(())
}

/// Returns the files that exist.
async fn final_reads(
    cluster: &Cluster,
    raw: &RawClient,
    recorder: &Recorder,
    files: &BTreeSet<String>,
) -> Result<BTreeSet<String>, String> {
    let mut existing = BTreeSet::new();
    for file in files {
        for node in cluster.ids() {
            let (version, hash) = final_read(raw, (node, cluster.server(node)), file).await?;
            if version > 0 {
                existing.insert(file.clone());
            }
            recorder.record(Record::Final { node, file: file.clone(), version, hash });
        }
    }
    Ok(existing)
}

async fn final_read(raw: &RawClient, (node, server): (NodeId, usize), file: &str) -> Result<(u64, String), String> {
    let query = [("name", file), ("consistency", level_text(Level::Linearizable))];
    insist(&format!("a linearizable read of {file} from node {node}"), async || {
        match raw.get(server, "/file", &query, WITHIN).await {
            RawOutcome::Ok(value, _) => match file_answer(&value) {
                Some(Answer::File { version, hash }) => Ok((version, hash)),
                _ => Err(format!("an answer that is none: {value}")),
            },
            RawOutcome::Refused(code, _) if code == "not_found" => Ok((0, String::new())),
            RawOutcome::Refused(code, detail) => Err(format!("{code}: {detail}")),
            RawOutcome::Unknown(reason) => Err(reason),
        }
    })
    .await
}

/// Announces published contents without naming a version: the index says which version has them
/// (F6), or that none does.
async fn audit(
    (raw, server): (&RawClient, usize),
    recorder: &Recorder,
    existing: &BTreeSet<String>,
    published: &Published,
) -> Result<(), String> {
    for auditor in 0..AUDITED_PER_FILE {
        let body =
            json!({"peerId": auditor_id(auditor), "address": "http://127.0.0.1:9", "files": [], "serving": false});
        insist("registering an auditor", async || match raw.post(server, "/register", &body, None, WITHIN).await {
            RawOutcome::Ok(..) => Ok(()),
            RawOutcome::Refused(_, why) | RawOutcome::Unknown(why) => Err(why),
        })
        .await?;
    }
    let wanted = published.iter().filter(|(file, _)| existing.contains(*file)).flat_map(|(file, hashes)| {
        let newest = hashes.iter().rev().take(AUDITED_PER_FILE).enumerate();
        newest.map(move |(auditor, hash)| (auditor, file.clone(), hash.clone()))
    });
    let mut found = futures::stream::iter(wanted)
        .map(async |(auditor, file, hash)| {
            let version = look_up((raw, server), auditor, &file, &hash).await?;
            Ok::<_, String>((file, hash, version))
        })
        .buffer_unordered(PARALLEL);
    while let Some(result) = found.next().await {
        let (file, hash, version) = result?;
        recorder.record(Record::Audit { file, hash, version });
    }
    Ok(())
}

/// Each of a file's contents is announced by a peer of its own: an announce never sets a holding back, so that a holder
/// of a newer version would be told that one (F4).
pub(crate) fn auditor_id(auditor: usize) -> String {
    format!("auditor-{auditor}")
}

async fn look_up(
    (raw, server): (&RawClient, usize),
    auditor: usize,
    file: &str,
    hash: &str,
) -> Result<Option<u64>, String> {
    let body = json!({"peerId": auditor_id(auditor), "file": {"name": file, "size": 1, "hash": hash}});
    insist(&format!("looking up a content of {file}"), async || {
        match raw.post(server, "/announce", &body, None, WITHIN).await {
            RawOutcome::Ok(value, _) => match value.get("version").and_then(Value::as_u64) {
                Some(version) => Ok(Some(version)),
                None => Err(format!("an answer that is none: {value}")),
            },
            RawOutcome::Refused(code, _) if code == "hash_conflict" => Ok(None),
            RawOutcome::Refused(code, detail) => Err(format!("{code}: {detail}")),
            RawOutcome::Unknown(reason) => Err(reason),
        }
    })
    .await
}

/// Takes all digests at one applied index; after the deadline those that there are, which decide nothing.
async fn digests(cluster: &Cluster, raw: &RawClient, recorder: &Recorder) {
    let deadline = Instant::now() + DIGEST_WITHIN;
    loop {
        let asked = cluster.ids().into_iter().map(async |node| {
            match raw.get(cluster.server(node), "/cluster/digest", &[], WITHIN).await {
                RawOutcome::Ok(value, _) => {
                    let applied = value.get("appliedIndex").and_then(Value::as_u64)?;
                    Some((node, applied, value.get("digest").and_then(Value::as_str)?.to_owned()))
                }
                RawOutcome::Refused(..) | RawOutcome::Unknown(_) => None,
            }
        });
        let taken: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        let same = taken.len() == cluster.ids().len() && taken.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if same || Instant::now() > deadline {
            for (node, applied, digest) in taken {
                recorder.record(Record::Digest { node, applied, digest });
            }
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn insist<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = Instant::now() + INSIST;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > deadline => return Err(format!("{what} failed after healing: {why}")),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
