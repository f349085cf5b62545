//! `raftshare info`: everything that the index knows about one name.

use clap::Args;
use raft_store::types::FileName;

use crate::cli::Session;
use crate::cli::attributes::look_up;
use crate::cli::values::file_name;
use crate::contract::FileResponse;
use crate::terminal::Failure;
use crate::terminal::figures::{remaining, size};

/// Show what the index knows about a file or record: version, copies, lease and attributes.
#[derive(Debug, Clone, Args)]
pub struct Info {
    /// The file or record.
    #[arg(value_parser = file_name)]
    pub name: FileName,
}

impl Info {
    /// Prints it.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let answer = look_up(session, &self.name).await?;
        session.output.sentence(&answer.value, &described(&answer.value));
        session.output.freshness(&answer.freshness);
        Ok(())
    }
}

fn described(file: &FileResponse) -> String {
    let mut lines = match (file.version, file.size, file.hash) {
        (Some(version), Some(bytes), Some(hash)) => {
            let copies = format!("{} of {} copies", file.replicas.live, file.replicas.desired);
            vec![format!("{}: v{version}, {}, {copies}", file.name, size(bytes)), format!("  hash       {hash}")]
        }
        _ => vec![format!("{}: a record", file.name)],
    };
    for holder in &file.holders {
        let version = if holder.current { "current" } else { "older" };
        let state = if holder.live { "up" } else { "down" };
        lines.push(format!("  holder     {}  v{} ({version}, {state})  {}", holder.id, holder.version, holder.address));
    }
    if let Some(lease) = &file.lease {
        let left = remaining(lease.remaining_ms);
        lines.push(format!("  lease      {}, ends in {left}, {} waiting", lease.holder, lease.line.len()));
    }
    for (key, value) in file.attributes.iter() {
        lines.push(format!("  attribute  {key} = {value}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_shows_its_attributes_and_no_copies() {
        let record = json!({"name": "market/a", "version": null, "size": null, "hash": null, "holders": [],
            "lease": null, "replicas": {"desired": 2, "live": 0}, "attributes": {"price": 120, "unit": "kg"}});
        let text = described(&serde_json::from_value(record).expect("the contract's form"));
        assert_eq!(text, "market/a: a record\n  attribute  price = 120\n  attribute  unit = \"kg\"");
    }
}
