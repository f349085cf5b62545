//! Proves: after healing, every file is back at its number of live copies, and every copy that
//! counts has the file's bytes.
//!
//! Source: rules M1, M2, M4, F8; bug class B14 (a damaged copy that counts, spreads).
//!
//! Cannot see: anything in scenarios without peers that share folders; there it finds nothing to check and says so
//! nowhere, because it is not among their checkers.

use super::{Checker, Findings};
use crate::model::Model;

/// Files are back at their number of copies.
pub const CHECKER: Checker =
    Checker { name: "replication", property: "every file back at R copies, with its own bytes", check };

fn check(model: &Model) -> Findings {
    let mut findings = Findings::default();
    for copies in &model.copies {
        findings.expect(copies.live >= copies.wanted, &[], || {
            format!("{} has {} live copies at the end, it should have {}", copies.file, copies.live, copies.wanted)
        });
        findings.expect(copies.differing.is_empty(), &[], || {
            format!("{} is counted at {} with other bytes", copies.file, copies.differing.join(", "))
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;
    use crate::history::Record;

    fn copies(live: u64, differing: &[&str]) -> Sample {
        let mut sample = good();
        let differing = differing.iter().map(|peer| (*peer).to_owned()).collect();
        sample.record(230, Record::Copies { file: "f".into(), wanted: 2, live, differing });
        sample
    }

    #[test]
    fn enough_sound_copies_are_accepted() {
        copies(2, &[]).accepted_by(&CHECKER);
        copies(3, &[]).accepted_by(&CHECKER);
    }

    #[test]
    fn too_few_copies_are_caught() {
        copies(1, &[]).caught_by(&CHECKER, "1 live copies at the end, it should have 2");
    }

    #[test]
    fn a_copy_with_other_bytes_is_caught() {
        copies(2, &["b"]).caught_by(&CHECKER, "at b with other bytes");
    }
}
