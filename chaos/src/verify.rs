//! The last phase of a run: all faults removed, the cluster must heal, serve, and still hold
//! everything it acknowledged.
//!
//! Invariant: what is written down here was read after healing, from every node by itself, linearizably; the digests
//! are taken last, because looking up published contents is itself a write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use raft_store::types::NodeId;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{Cluster, ClusterError, READY_WITHIN};
use crate::history::{Answer, Attributes, Level, Micros, Record};
use crate::recorder::Recorder;
use crate::workload::txn::attributes_answer;
use crate::workload::write::Write;
use crate::workload::{RawClient, RawOutcome, file_answer, level_text};

/// Limit of one request.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);
/// Newest published contents of a file that are looked up; the index remembers 16 versions.
const AUDITED_PER_FILE: usize = 48;
/// How long the nodes have to come to the same applied index.
const DIGEST_WITHIN: Duration = Duration::from_secs(15);

/// Contents that clients published, or tried to: per file, in the order they were sent.
pub type Published = BTreeMap<String, Vec<String>>;

/// What clients may have changed.
#[derive(Debug, Default)]
pub struct Written {
    /// Contents.
    pub published: Published,
    /// Names whose attributes transactions were on.
    pub attributed: BTreeSet<String>,
}

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

/// A healed cluster, real or simulated, as a client sees it.
pub(crate) trait Healed {
    /// How long a request is repeated before the cluster counts as not healed.
    const INSIST: Duration;
    /// Pause between two tries.
    const PAUSE: Duration;
    /// Requests under way at once.
    const PARALLEL: usize;

    /// The members; the first one is written to.
    fn nodes(&self) -> Vec<NodeId>;
    /// Writes down what was read.
    fn record(&self, record: Record);
    /// Reads from a member.
    async fn get(&self, node: NodeId, path: &str, query: &[(&str, &str)]) -> RawOutcome;
    /// Writes through a member.
    async fn write(&self, node: NodeId, write: &Write) -> RawOutcome;
}

/// The real one.
struct Processes<'a> {
    cluster: &'a Cluster,
    raw: RawClient,
    recorder: &'a Recorder,
}

impl Healed for Processes<'_> {
    const INSIST: Duration = Duration::from_secs(20);
    const PAUSE: Duration = Duration::from_millis(20);
    const PARALLEL: usize = 8;

    fn nodes(&self) -> Vec<NodeId> {
        self.cluster.ids()
    }

    fn record(&self, record: Record) {
        self.recorder.record(record);
    }

    async fn get(&self, node: NodeId, path: &str, query: &[(&str, &str)]) -> RawOutcome {
        self.raw.get(self.cluster.server(node), path, query, WITHIN).await
    }

    async fn write(&self, node: NodeId, write: &Write) -> RawOutcome {
        self.raw.write(self.cluster.server(node), write, None, WITHIN).await
    }
}

/// Reads everything back from the processes, and their digests.
pub async fn read_back_and_compare(cluster: &Cluster, recorder: &Recorder, written: &Written) -> Result<(), String> {
    let raw = RawClient::new(Arc::new(cluster.urls())).map_err(|error| error.to_string())?;
    let processes = Processes { cluster, raw, recorder };
    read_back(&processes, written).await?;
    digests(&processes).await;
    Ok(())
}

/// Reads everything back and writes it down.
pub(crate) async fn read_back<H: Healed>(
    healed: &H,
    Written { published, attributed }: &Written,
) -> Result<(), String> {
    let nodes = healed.nodes();
    let writer = nodes.first().copied().ok_or("a cluster without members")?;
    for auditor in 0..AUDITED_PER_FILE {
        let write = Write::register(&auditor_id(auditor), false);
        insist(healed, "registering an auditor", async || match healed.write(writer, &write).await {
            RawOutcome::Ok(..) => Ok(()),
            RawOutcome::Refused(_, why) | RawOutcome::Unknown(why) => Err(why),
        })
        .await?;
    }
    let mut existing = BTreeSet::new();
    for file in published.keys() {
        for &node in &nodes {
            let (version, hash) = final_read(healed, node, file).await?;
            if version > 0 {
                existing.insert(file);
            }
            healed.record(Record::Final { node, file: file.clone(), version, hash });
        }
    }
    for name in attributed {
        for &node in &nodes {
            let (attributes, applied) = final_attributes(healed, node, name).await?;
            healed.record(Record::FinalAttributes { node, name: name.clone(), attributes, applied });
        }
    }
    let wanted = published.iter().filter(|(file, _)| existing.contains(*file)).flat_map(|(file, hashes)| {
        let newest = hashes.iter().rev().take(AUDITED_PER_FILE).enumerate();
        newest.map(move |(auditor, hash)| (auditor, file.clone(), hash.clone()))
    });
    let mut found = futures::stream::iter(wanted)
        .map(async |(auditor, file, hash)| {
            let version = look_up(healed, writer, (auditor, &file, &hash)).await?;
            Ok::<_, String>((file, hash, version))
        })
        .buffer_unordered(H::PARALLEL);
    while let Some(result) = found.next().await {
        let (file, hash, version) = result?;
        healed.record(Record::Audit { file, hash, version });
    }
    Ok(())
}

async fn final_read(healed: &impl Healed, node: NodeId, file: &str) -> Result<(u64, String), String> {
    let query = [("name", file), ("consistency", level_text(Level::Linearizable))];
    insist(healed, &format!("a linearizable read of {file} from node {node}"), async || {
        match healed.get(node, "/file", &query).await {
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

/// A name's attributes, and the applied log index of the answer.
async fn final_attributes(healed: &impl Healed, node: NodeId, name: &str) -> Result<(Attributes, Option<u64>), String> {
    let query = [("name", name), ("consistency", level_text(Level::Linearizable))];
    insist(healed, &format!("a linearizable read of the attributes of {name} from node {node}"), async || match healed
        .get(node, "/file", &query)
        .await
    {
        RawOutcome::Ok(value, seen) => match attributes_answer(&value) {
            Some(Answer::Attributes { attributes, .. }) => Ok((attributes, seen.map(|seen| seen.applied))),
            _ => Err(format!("an answer that is none: {value}")),
        },
        RawOutcome::Refused(code, _) if code == "not_found" => Ok((Attributes::new(), None)),
        RawOutcome::Refused(code, detail) => Err(format!("{code}: {detail}")),
        RawOutcome::Unknown(reason) => Err(reason),
    })
    .await
}

/// Each of a file's contents is announced by its own peer: an announce never sets a holding back, so that a holder
/// of a newer version would be told that one (F4).
fn auditor_id(auditor: usize) -> String {
    format!("auditor-{auditor}")
}

/// Announces contents without naming a version: the index says which version has them (F6), or that none does.
async fn look_up(
    healed: &impl Healed,
    writer: NodeId,
    (auditor, file, hash): (usize, &str, &str),
) -> Result<Option<u64>, String> {
    let write = Write::announce(&auditor_id(auditor), file, hash);
    insist(healed, &format!("looking up a content of {file}"), async || match healed.write(writer, &write).await {
        RawOutcome::Ok(value, _) => match value.get("version").and_then(Value::as_u64) {
            Some(version) => Ok(Some(version)),
            None => Err(format!("an answer that is none: {value}")),
        },
        RawOutcome::Refused(code, _) if code == "hash_conflict" => Ok(None),
        RawOutcome::Refused(code, detail) => Err(format!("{code}: {detail}")),
        RawOutcome::Unknown(reason) => Err(reason),
    })
    .await
}

/// Takes all digests at one applied index. After the deadline it records what there is, which decides nothing.
async fn digests(processes: &Processes<'_>) {
    let (nodes, deadline) = (processes.nodes(), Instant::now() + DIGEST_WITHIN);
    loop {
        let asked = nodes.iter().map(async |&node| match processes.get(node, "/cluster/digest", &[]).await {
            RawOutcome::Ok(value, _) => {
                let applied = value.get("appliedIndex").and_then(Value::as_u64)?;
                Some((node, applied, value.get("digest").and_then(Value::as_str)?.to_owned()))
            }
            RawOutcome::Refused(..) | RawOutcome::Unknown(_) => None,
        });
        let taken: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        let same = taken.len() == nodes.len() && taken.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if same || Instant::now() > deadline {
            for (node, applied, digest) in taken {
                processes.record(Record::Digest { node, applied, digest });
            }
            return;
        }
        tokio::time::sleep(Processes::PAUSE).await;
    }
}

async fn insist<H: Healed, T>(
    _healed: &H,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + H::INSIST;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > deadline => return Err(format!("{what} failed after healing: {why}")),
            Err(_) => tokio::time::sleep(H::PAUSE).await,
        }
    }
}
