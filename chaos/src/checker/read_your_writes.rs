//! Proves: a read that names the log index of an acknowledged write includes that write. Whatever node
//! answers, its applied index is at least the named one, and the version it tells is at least every
//! version that was published at or below it.
//!
//! Source: rule R3; Jepsen's session guarantees (read your writes, writes follow reads).
//!
//! Cannot see: writes whose answer named no index (those of the library's clients, which keep theirs to themselves).

use std::collections::BTreeMap;

use super::{Checker, Findings};
use crate::history::{Answer, Op, OpId};
use crate::model::{Model, Outcome};

/// Reads with a log index include the write.
pub const CHECKER: Checker =
    Checker { name: "read-your-writes", property: "reads with a log index include that write", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    // Per file: log index of each acknowledged publish, the newest version up to it, and whose that was.
    let mut written: BTreeMap<&str, BTreeMap<u64, (u64, OpId)>> = BTreeMap::new();
    for operation in model.operations.values() {
        if let (Op::Publish { file, .. }, Outcome::Ok(Answer::Published { version }, Some(seen))) =
            (&operation.op, &operation.outcome)
            && let Some(index) = seen.index
        {
            let newest = written.entry(file).or_default().entry(index).or_default();
            *newest = (*newest).max((*version, operation.id));
        }
    }
    for operation in model.operations.values() {
        let Op::Read { file, min_index: Some(index), .. } = &operation.op else { continue };
        let Outcome::Ok(Answer::File { version, .. }, seen) = &operation.outcome else { continue };
        if let Some(seen) = seen {
            findings.expect(seen.applied >= *index, &[operation.id], || {
                format!("node {} answered from index {} a read that named {index}", seen.node, seen.applied)
            });
        }
        let newest = written.get(file.as_str()).into_iter().flat_map(|writes| writes.range(..=*index).map(|(_, w)| *w));
        if let Some((wanted, writer)) = newest.max() {
            findings.expect(*version >= wanted, &[writer, operation.id], || {
                format!("a read of {file} that named log index {index} saw v{version}; v{wanted} was written by then")
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::{Level, Seen};

    fn seen(applied: u64, index: Option<u64>) -> Seen {
        Seen { node: 2, boot: "x".into(), applied, index }
    }

    fn history(version: u64, applied: u64) -> Sample {
        let mut sample = good();
        let answer = End::Seen(Answer::Published { version: 3 }, seen(40, Some(40)));
        sample.grant((210, 211), "a", "f", 100, 10, 2).op((212, 213), publish("a", "f", 10, "h3", false), answer);
        let read = Op::Read { file: "f".into(), level: Level::Stale, node: Some(2), min_index: Some(40) };
        sample.op((220, 221), read, End::Seen(Answer::File { version, hash: "h".into() }, seen(applied, None)));
        sample
    }

    #[test]
    fn a_read_that_includes_its_write_is_accepted() {
        history(3, 40).accepted_by(&CHECKER);
        history(4, 99).accepted_by(&CHECKER);
    }

    #[test]
    fn a_read_that_misses_its_write_is_caught() {
        history(2, 40).caught_by(&CHECKER, "saw v2; v3 was written");
    }

    #[test]
    fn an_answer_from_an_older_index_is_caught() {
        history(3, 39).caught_by(&CHECKER, "answered from index 39");
    }
}
