//! The second phase, seen by a client: the healed cluster takes writes, and every member tells the same of every file.
//!
//! Invariant: what is written down here was read after healing, from every member by itself, linearizably.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::actor::call;
use super::journal::Journal;
use super::net::address;
use crate::history::{Answer, Level, Record};
use crate::verify::auditor_id;
use crate::workload::{RawOutcome, file_answer, level_text};

/// Limit of one request.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a request is repeated before the cluster counts as not healed.
const INSIST: Duration = Duration::from_secs(25);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Newest contents of a file that are looked up; the index remembers 16 versions.
const AUDITED_PER_FILE: usize = 48;

/// Reads everything back from these members.
pub(super) async fn read_back(members: Vec<u64>, journal: Journal) -> Result<(), String> {
    for auditor in 0..AUDITED_PER_FILE {
        let id = auditor_id(auditor);
        let register = json!({"peerId": id, "address": "http://127.0.0.1:9", "serving": false, "files": []});
        insist("a write", async || match post(members[0], "/register", &register).await {
            RawOutcome::Ok(..) => Ok(()),
            RawOutcome::Refused(_, why) | RawOutcome::Unknown(why) => Err(why),
        })
        .await?;
    }
    let mut existing = BTreeSet::new();
    let published = journal.published();
    for file in published.keys() {
        for &node in &members {
            let (version, hash) = final_read(node, file).await?;
            if version > 0 {
                existing.insert(file.clone());
            }
            journal.record(Record::Final { node, file: file.clone(), version, hash });
        }
    }
    for (file, hashes) in published.into_iter().filter(|(file, _)| existing.contains(file)) {
        for (auditor, hash) in hashes.into_iter().rev().take(AUDITED_PER_FILE).enumerate() {
            let version = look_up(members[0], auditor, &file, &hash).await?;
            journal.record(Record::Audit { file: file.clone(), hash, version });
        }
    }
    Ok(())
}

async fn post(node: u64, path: &str, body: &Value) -> RawOutcome {
    let request = Request::post(format!("http://{}{path}", address(node))).header("content-type", "application/json");
    call(request, body.to_string(), WITHIN, &mut 0).await
}

async fn final_read(node: u64, file: &str) -> Result<(u64, String), String> {
    let level = level_text(Level::Linearizable);
    let url = format!("http://{}/file?name={file}&consistency={level}", address(node));
    insist(&format!("a linearizable read of {file} from node {node}"), async || {
        match call(Request::get(&url), String::new(), WITHIN, &mut 0).await {
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

/// Announces contents without naming a version: the index says which version has them (F6), or that none does.
async fn look_up(node: u64, auditor: usize, file: &str, hash: &str) -> Result<Option<u64>, String> {
    let body = json!({"peerId": auditor_id(auditor), "file": {"name": file, "size": 1, "hash": hash}});
    insist(&format!("looking up a content of {file}"), async || match post(node, "/announce", &body).await {
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
