//! `raftshare why`: explains the copies of a file.

use clap::Args;
use raft_store::types::FileName;

use crate::cli::Session;
use crate::cli::reading::Reading;
use crate::cli::values::file_name;
use crate::contract::{TaskKind, WhyResponse};
use crate::terminal::Failure;

/// Explain why a file has the copies it has.
#[derive(Debug, Clone, Args)]
pub struct Why {
    /// The file.
    #[arg(value_parser = file_name)]
    pub name: FileName,
    /// How fresh the answer has to be.
    #[command(flatten)]
    pub reading: Reading,
}

impl Why {
    /// Prints the explanation.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let answer = self.reading.client(session).why(&self.name).await?;
        session.output.sentence(&answer.value, &explain(&answer.value));
        session.output.freshness(&answer.freshness);
        Ok(())
    }
}

/// The explanation.
fn explain(why: &WhyResponse) -> String {
    let rule = &why.rule;
    let risk = if rule.live < rule.desired { ", AT RISK" } else { "" };
    let mut lines = vec![format!("{}: {} of {} copies{risk}", why.name, rule.live, rule.desired)];
    if !rule.summary.is_empty() {
        lines.push(format!("  {}", rule.summary));
    }
    for holder in &why.holders {
        let version = if holder.current { "current" } else { "older" };
        let state = if holder.live { "up" } else { "down" };
        lines.push(format!("  holder     {}  v{} ({version}, {state})", holder.id, holder.version));
    }
    // `null` from a node that does not plan (R5).
    for task in why.tasks.iter().flatten() {
        let state = if task.working { "running" } else { "not started" };
        let kind = match task.kind {
            TaskKind::Replicate => "replicate",
            TaskKind::Update => "update",
            TaskKind::Remove => "remove",
        };
        lines.push(format!("  task       {}  {kind} v{} ({state})", task.peer, task.version));
    }
    for refused in why.refused.iter().flatten() {
        lines.push(format!("  no target  {}  {}", refused.peer, refused.reason));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn explained(answer: serde_json::Value) -> String {
        explain(&serde_json::from_value(answer).expect("the contract's form"))
    }

    #[test]
    fn a_missing_copy_is_explained() {
        let text = explained(json!({
            "name": "old/scan.tif",
            "rule": {"desired": 2, "live": 1, "underWay": 1, "summary": "one copy missing"},
            "holders": [{"id": "d", "version": 3, "current": true, "live": true}],
            "tasks": [{"id": "7", "peer": "e", "type": "REPLICATE", "version": 3, "working": true}],
            "refused": [{"peer": "x", "reason": "no room"}],
        }));
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
        let unplanned = json!({
            "name": "f", "rule": {"desired": 1, "live": 1, "underWay": null, "summary": ""},
            "holders": [], "tasks": null, "refused": null,
        });
        assert_eq!(explained(unplanned), "f: 1 of 1 copies");
    }
}
