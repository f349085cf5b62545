//! Words that were replaced by the field's own terms, so that one thing has one name.

use super::tree::Finding;

/// A word that is no longer used, what may follow it all the same, and what is written instead.
struct Replaced {
    word: &'static str,
    unless_before: &'static str,
    instead: &'static str,
}

const fn replaced_by(word: &'static str, instead: &'static str) -> Replaced {
    Replaced { word, unless_before: "\0", instead }
}

/// Whole words; with a capital only the type of that name is meant.
const REPLACED: [Replaced; 14] = [
    replaced_by("birth", "bootstrap"),
    replaced_by("births", "bootstraps"),
    replaced_by("succession", "fast failover"),
    replaced_by("reign", "leadership term"),
    replaced_by("reigns", "leadership terms"),
    replaced_by("heavy", "blocking pool"),
    replaced_by("knock", "probe"),
    replaced_by("knocks", "probes"),
    replaced_by("knocked", "probed"),
    Replaced { word: "rests", unless_before: " on ", instead: "backs off" },
    replaced_by("rested", "backed off"),
    replaced_by("mut looks", "mut to_scan"),
    replaced_by("Ground", "Environment"),
    replaced_by("Card", "Registration"),
];

/// The notebooks in `docs/history` and the changelog keep the words of their time. This file has to list them.
pub(crate) fn is_checked(file: &str) -> bool {
    let written = file.ends_with(".rs") || file.ends_with(".md") || file.ends_with("/run");
    written && !file.starts_with("docs/history/") && file != "CHANGELOG.md" && file != "node/tests/tidy/words.rs"
}

pub(crate) fn replaced(text: &str) -> Vec<Finding> {
    let found_in = |(index, line)| REPLACED.iter().filter_map(move |replaced| replaced.find(index, line));
    text.lines().enumerate().flat_map(found_in).collect()
}

impl Replaced {
    fn find(&self, index: usize, line: &str) -> Option<Finding> {
        let is_part = |c: char| c.is_alphanumeric();
        let is_word = |(at, _): &(usize, &str)| {
            let after = &line[at + self.word.len()..];
            !line[..*at].ends_with(is_part) && !after.starts_with(is_part) && !after.starts_with(self.unless_before)
        };
        line.match_indices(self.word).find(is_word)?;
        Some(Finding::new(index, format!("`{}`: write `{}`", self.word, self.instead)))
    }
}

#[test]
fn a_replaced_word_is_found_as_a_whole_word_only() {
    let found = |text| replaced(text).len();
    assert_eq!(found("after the succession\nheavy"), 2);
    assert_eq!(found("fn rests(&self)"), 1);
    assert_eq!(found("struct Card;"), 1);
    assert_eq!(found("let mut looks = 3;"), 1);
    assert_eq!(found("foreign, Cardinal, ground, it rests on a read, the leader looks for members"), 0);
}

#[test]
fn notebooks_keep_their_words() {
    assert!(is_checked("docs/api.md") && is_checked("chaos/mutants/run") && is_checked("node/src/node.rs"));
    assert!(!is_checked("docs/history/benchmarks.md") && !is_checked("CHANGELOG.md"));
}
