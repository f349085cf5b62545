//! The version numbers that the original's programs see.
//!
//! The index counts versions 1, 2, 3 … (F2). The original lets any growing number be a version, and its client takes
//! the time in nanoseconds. So where a peer has published under a number of its own, the index notes as attributes of
//! the file which number that was, and of which version. Later versions count on from there:
//!
//! ```text
//! version in the index      1   2   3            4            5
//! number that peers see     1   2   1700…000     1700…001     1700…002
//!                                   ▲ announced by a peer: noted as of = 3, at = 1700…000, before = 2
//! ```
//!
//! Invariant: the number of a file never goes back while its versions go on, whichever node answers. A note is written
//! before its version is published, under the same lease (K4); until that version exists, `before` is shown.

use raft_store::catalog::{Action, FileView, Op, Test, Txn};
use raft_store::types::{AttributeKey, Comparison, FileName, LeaseToken, PeerId, Version};

/// The attribute with [`Note::at`].
const AT: &str = "v0.at";
/// The attribute with [`Note::of`].
const OF: &str = "v0.of";
/// The attribute with [`Note::before`].
const BEFORE: &str = "v0.before";

/// Which number a peer gave to which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The version of the index.
    pub of: Version,
    /// The number that its publisher gave it.
    pub at: i64,
    /// The number of the version before it.
    pub before: i64,
}

/// The number of a version.
pub fn number(version: Version, note: Option<&Note>) -> i64 {
    let signed = |version: Version| i64::try_from(version).unwrap_or(i64::MAX);
    match note {
        None => signed(version),
        Some(note) if version >= note.of => note.at.saturating_add(signed(version - note.of)),
        Some(note) => note.before.saturating_sub(signed(note.of - 1 - version)),
    }
}

/// What has to be noted so that `version` is shown as `wanted`; `None` if it is shown so, or as a greater number.
pub fn to_note(version: Version, wanted: i64, known: Option<&Note>) -> Option<Note> {
    let before = version.checked_sub(1).map_or(0, |before| number(before, known));
    (wanted > number(version, known)).then_some(Note { of: version, at: wanted, before })
}

/// What is noted about a file. Attributes of these names that somebody else has written are as good as none.
pub fn noted(file: &FileView) -> Option<Note> {
    let integer = |key: &str| file.attributes.get(key)?.as_integer();
    let of = Version::try_from(integer(OF)?).ok().filter(|of| *of > 0)?;
    Some(Note { of, at: integer(AT)?, before: integer(BEFORE)? })
}

/// The command that writes a note, under the file's lease if there is one. Without a token it only raises what is
/// noted.
pub fn note(peer: &PeerId, name: &FileName, note: Note, token: Option<LeaseToken>) -> Option<Op> {
    let of = i64::try_from(note.of).ok()?;
    let mut txn = Txn::new(peer.clone());
    if token.is_none() {
        for (key, value) in [(AT, note.at), (OF, of)] {
            let is = Comparison::GreaterOrEqual;
            let test = Test::Attribute { key: AttributeKey::parse(key).ok()?, is, value: value.into() };
            txn.require(name.clone(), test);
        }
    }
    for (key, value) in [(AT, note.at), (OF, of), (BEFORE, note.before)] {
        let set = Action::Set { key: AttributeKey::parse(key).ok()?, value: value.into() };
        match token {
            Some(_) => txn.then(name.clone(), set, token),
            None => txn.otherwise(name.clone(), set, None),
        }
    }
    Some(Op::Txn(txn))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANOS: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn every_attribute_has_a_valid_key() {
        let (peer, name) = (PeerId::parse("p").expect("valid"), FileName::parse("f").expect("valid"));
        let some = Note { of: 3, at: NANOS, before: 2 };
        for token in [None, Some(LeaseToken([1; 16]))] {
            assert!(note(&peer, &name, some, token).is_some());
        }
        assert!(note(&peer, &name, Note { of: u64::MAX, ..some }, None).is_none(), "no version is as high");
    }

    #[test]
    fn without_a_note_the_index_counts() {
        assert_eq!((number(1, None), number(7, None)), (1, 7));
        for wanted in [i64::MIN, 0, 1, 7] {
            assert_eq!(to_note(7, wanted, None), None, "{wanted} is not above what is shown");
        }
    }

    #[test]
    fn a_number_that_was_announced_is_shown_and_counted_on() {
        let note = to_note(3, NANOS, None).expect("it is above 3");
        assert_eq!(note, Note { of: 3, at: NANOS, before: 2 });
        let shown: Vec<i64> = (1..=5).map(|version| number(version, Some(&note))).collect();
        assert_eq!(shown, [1, 2, NANOS, NANOS + 1, NANOS + 2]);
        assert_eq!(to_note(4, NANOS + 1, Some(&note)), None, "it would be shown anyway");
        let second = to_note(6, 2 * NANOS, Some(&note)).expect("later");
        assert_eq!((number(5, Some(&second)), number(6, Some(&second))), (NANOS + 2, 2 * NANOS));
    }

    #[test]
    fn numbers_never_go_back_and_never_overflow() {
        let mut known: Option<Note> = None;
        let mut last = 0;
        for (version, wanted) in [(1, 5), (2, 5), (3, NANOS), (4, 3), (5, i64::MAX), (6, i64::MAX), (7, 1)] {
            // Noted before the version is published.
            let note = to_note(version, wanted, known.as_ref()).or(known);
            assert!(number(version - 1, note.as_ref()) >= last.min(number(version - 1, known.as_ref())));
            let shown = number(version, note.as_ref());
            assert!(shown >= last && shown >= wanted, "{version}: {shown} after {last}");
            (known, last) = (note, shown);
        }
    }
}
