//! `raftshare why`: explains the copies of a file.

use clap::Args;
use raft_store::types::FileName;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Session;
use crate::cli::values::file_name;
use crate::terminal::Failure;

/// Explain why a file has the copies it has.
#[derive(Debug, Clone, Args)]
pub struct Why {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
}

impl Why {
    /// Prints the explanation, or the raw answer if its shape is unknown.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let answer = session.client.why(&self.name).await?;
        let text = serde_json::to_string_pretty(&answer.value).unwrap_or_default();
        session.output.sentence(&answer.value, &explain(&self.name, &answer.value).unwrap_or(text));
        session.output.freshness(&answer.freshness);
        Ok(())
    }
}

/// The part of the answer that is explained here. What is missing is skipped.
#[derive(Deserialize)]
struct Explanation {
    rule: Rule,
    #[serde(default)]
    holders: Vec<Holder>,
    /// `null` from a node that does not plan replication (R5).
    tasks: Option<Vec<Task>>,
    refused: Option<Vec<Refused>>,
}

#[derive(Deserialize)]
struct Rule {
    desired: u64,
    live: u64,
    #[serde(default)]
    summary: String,
}

#[derive(Deserialize)]
struct Holder {
    id: String,
    version: u64,
    current: bool,
    live: bool,
}

#[derive(Deserialize)]
struct Task {
    peer: String,
    #[serde(rename = "type")]
    kind: String,
    version: u64,
    #[serde(default)]
    working: bool,
}

#[derive(Deserialize)]
struct Refused {
    peer: String,
    reason: String,
}

/// The explanation, or `None` if the shape of the answer is unknown.
fn explain(name: &FileName, answer: &Value) -> Option<String> {
    let why = Explanation::deserialize(answer).ok()?;
    let risk = if why.rule.live < why.rule.desired { ", AT RISK" } else { "" };
    let mut lines = vec![format!("{name}: {} of {} copies{risk}", why.rule.live, why.rule.desired)];
    if !why.rule.summary.is_empty() {
        lines.push(format!("  {}", why.rule.summary));
    }
    for holder in why.holders {
        let version = if holder.current { "current".to_owned() } else { "older".to_owned() };
        let state = if holder.live { "up" } else { "down" };
        lines.push(format!("  holder     {}  v{} ({version}, {state})", holder.id, holder.version));
    }
    for task in why.tasks.unwrap_or_default() {
        let state = if task.working { "running" } else { "not started" };
        lines.push(format!("  task       {}  {} v{} ({state})", task.peer, task.kind.to_lowercase(), task.version));
    }
    for refused in why.refused.unwrap_or_default() {
        lines.push(format!("  no target  {}  {}", refused.peer, refused.reason));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_copy_is_explained() {
        let name = FileName::parse("old/scan.tif").expect("valid");
        let answer = json!({
            "rule": {"desired": 2, "live": 1, "summary": "one copy missing"},
            "holders": [{"id": "d", "version": 3, "current": true, "live": true}],
            "tasks": [{"id": "7", "peer": "e", "type": "REPLICATE", "version": 3, "working": true}],
            "refused": [{"peer": "x", "reason": "no room"}],
        });
        let text = explain(&name, &answer).expect("the shape is known");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "old/scan.tif: 1 of 2 copies, AT RISK",
                "  one copy missing",
                "  holder     d  v3 (current, up)",
                "  task       e  replicate v3 (running)",
                "  no target  x  no room",
            ]
        );
        assert_eq!(explain(&name, &json!({"other": 1})), None);
    }
}
