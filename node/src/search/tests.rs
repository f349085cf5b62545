//! The index against brute force, and the ranking by example.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::query::{Query, judge, literal_tier};
use super::*;

fn name(text: &str) -> FileName {
    FileName::parse(text).expect("a valid name")
}

fn index(names: &[&str]) -> SearchIndex {
    let mut index = SearchIndex::new();
    for (number, text) in (0..).zip(names) {
        assert!(index.insert(number, &name(text)));
    }
    index
}

fn hits(index: &SearchIndex, q: &str, mode: Mode) -> Vec<String> {
    index.query(q, mode, 50, |_| true).hits.into_iter().map(|(name, _)| name.to_string()).collect()
}

/// Asks every name by itself. Corrections come from all words of all names.
fn brute_force(names: &BTreeSet<FileName>, q: &str, mode: Mode, limit: usize) -> SearchResult {
    let mut vocabulary = Vocabulary::default();
    names.iter().for_each(|name| vocabulary.add(&fold(name.as_str())));
    let mut found: Vec<(Tier, usize, &FileName)> = Vec::new();
    for name in names {
        let tier = match Query::parse(q, mode) {
            Query::All => Some(Tier::Exact),
            Query::Nothing => None,
            Query::Literal(text) => literal_tier(&text, name.as_str(), mode),
            Query::Terms(terms) => {
                let fuzzy = mode == Mode::Fuzzy;
                let near = |term: &String| if fuzzy { vocabulary.near(term) } else { Vec::new() };
                let typos: Vec<_> = terms.each.iter().map(near).collect();
                judge(&terms, &typos, mode, fold(name.as_str()).as_bytes())
            }
        };
        let length = if q.trim().is_empty() { 0 } else { name.as_str().len() };
        found.extend(tier.map(|tier| (tier, length, name)));
    }
    found.sort();
    let hits = found.iter().take(limit).map(|(_, _, name)| (FileName::clone(name), 0.0)).collect();
    SearchResult { hits, total: found.len() }
}

#[test]
fn tiers_rank_before_length() {
    let index = index(&["report", "report.txt", "old report", "myreport", "resort", "other"]);
    assert_eq!(hits(&index, "report", Mode::Fuzzy), ["report", "report.txt", "old report", "myreport", "resort"]);
    assert_eq!(hits(&index, "report", Mode::Substring), ["report", "report.txt", "old report", "myreport"]);
    assert_eq!(hits(&index, "report", Mode::Prefix), ["report", "report.txt"]);
}

#[test]
fn shorter_then_bytes_within_a_tier() {
    let index = index(&["x/bb", "x/aaa", "x/ba", "x"]);
    assert_eq!(hits(&index, "x", Mode::Fuzzy), ["x", "x/ba", "x/bb", "x/aaa"]);
}

#[test]
fn case_separators_and_terms() {
    let index = index(&["Docs/Final_Report-2024.PDF", "docs/draft.txt", "straße.md"]);
    for q in ["final report", "REPORT final", "2024 fin", "docs/final_report", "finla reprot", "pdf  docs"] {
        assert_eq!(hits(&index, q, Mode::Fuzzy), ["Docs/Final_Report-2024.PDF"], "{q:?}");
    }
    assert_eq!(hits(&index, "STRASSE", Mode::Substring), ["straße.md"]);
    assert!(hits(&index, "final draft", Mode::Fuzzy).is_empty());
}

#[test]
fn prefix_respects_a_final_separator() {
    let index = index(&["docs/a", "docs2/a", "old/docs"]);
    assert_eq!(hits(&index, "docs", Mode::Prefix), ["docs/a", "docs2/a"]);
    assert_eq!(hits(&index, "docs/", Mode::Prefix), ["docs/a"]);
    assert!(hits(&index, "a", Mode::Prefix).is_empty());
}

#[test]
fn empty_lists_by_name_and_punctuation_is_literal() {
    let index = index(&["b", "a-a", "a", "--", "日本"]);
    assert_eq!(hits(&index, "", Mode::Fuzzy), ["--", "a", "a-a", "b", "日本"]);
    assert_eq!(hits(&index, "  ", Mode::Prefix), ["--", "a", "a-a", "b", "日本"]);
    assert_eq!(hits(&index, "-", Mode::Fuzzy), ["--", "a-a"]);
    assert_eq!(hits(&index, "--", Mode::Substring), ["--"]);
    assert_eq!(hits(&index, "日", Mode::Fuzzy), ["日本"]);
}

#[test]
fn total_counts_what_the_filter_admits_beyond_the_limit() {
    let names: Vec<String> = (0..300).map(|n| format!("file-{n}")).collect();
    let index = index(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let result = index.query("file", Mode::Fuzzy, 3, |name| name.as_str() != "file-0");
    assert_eq!(result.total, 299);
    assert_eq!(result.hits.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["file-1", "file-2", "file-3"]);
    assert_eq!(index.query("", Mode::Fuzzy, 0, |_| true), SearchResult { hits: Vec::new(), total: 300 });
    assert_eq!(index.query(&"x".repeat(QUERY_BYTES_MAX + 1), Mode::Fuzzy, 3, |_| true).total, 0);
}

#[test]
fn names_go_in_and_out() {
    let mut index = index(&["a", "b"]);
    assert!(!index.insert(0, &name("a")));
    assert!(index.remove(0));
    assert!(!index.remove(0) && !index.remove(FileNumber::MAX));
    assert_eq!((index.len(), index.is_empty()), (1, false));
    assert!(hits(&index, "a", Mode::Fuzzy).is_empty());
    assert_eq!(hits(&index, "", Mode::Fuzzy), ["b"]);
}

#[test]
fn a_view_keeps_what_it_was_taken_of() {
    let mut index = SearchIndex::with_block_names(4);
    let names: Vec<FileName> = (0..10).map(|n| name(&format!("file-{n}"))).collect();
    (0..).zip(&names).for_each(|(number, name)| assert!(index.insert(number, name)));
    for q in ["file", "", "-"] {
        let search = Search::new(q, Mode::Substring, |step| step(&index));
        let found = search.view(&index);
        for number in 0..10 {
            assert!(index.remove(number));
        }
        index.insert(10, &name("file-late"));
        let result = search.finish(&found, 50, |_| true);
        assert_eq!(result.total, 10, "{q:?}: what came and went afterwards does not show");
        assert!(index.remove(10));
        (0..).zip(&names).for_each(|(number, name)| assert!(index.insert(number, name)));
    }
}

#[test]
fn a_number_is_set_to_what_it_shall_be() {
    let mut index = index(&["a", "b"]);
    for (number, wanted) in [(0, Some("a")), (1, None), (0, Some("c")), (7, Some("d")), (8, None)] {
        index.set(number, wanted.map(name).as_ref());
    }
    assert_eq!(hits(&index, "", Mode::Fuzzy), ["c", "d"]);
    assert!(index.numbers_end() > 7);
}

#[test]
fn many_blocks_survive_mass_removal() {
    let names: Vec<FileName> = (0..20_000).map(|n| name(&format!("dir-{}/some-file-{n}.txt", n % 7))).collect();
    let mut index = SearchIndex::new();
    (0..).zip(&names).for_each(|(number, name)| assert!(index.insert(number, name)));
    for number in 0..names.len() as FileNumber {
        if number % 10 != 0 {
            assert!(index.remove(number));
        }
    }
    assert_eq!(index.query("some file", Mode::Substring, 5, |_| true).total, 2_000);
    for (number, name) in (0..).zip(&names) {
        index.insert(number, name);
    }
    assert_eq!(index.query("some file", Mode::Fuzzy, 5, |_| true).total, 20_000);
    assert_eq!(hits(&index, "some-file-19990.txt", Mode::Substring), ["dir-5/some-file-19990.txt"]);
}

fn any_name() -> impl Strategy<Value = FileName> {
    "[abAé]{1,6}([ ._-][abc]{1,6}){0,2}".prop_filter_map("dots alone are no name", |text| FileName::parse(text).ok())
}

proptest! {
    #[test]
    fn answers_equal_brute_force(
        names in prop::collection::vec((any_name(), any::<bool>()), 0..60),
        again in 0..20_usize,
        block_names in 1..20_usize,
        q in "[abAcé]{0,6}([ ._-][abc]{0,6}){0,2}",
        limit in 0..20_usize,
    ) {
        let mut index = SearchIndex::with_block_names(block_names);
        let mut kept = BTreeSet::new();
        // A name has one number, wherever it comes up.
        let number = |name: &FileName| names.iter().position(|(known, _)| known == name).unwrap_or_default() as FileNumber;
        for (name, _) in &names {
            prop_assert_eq!(index.insert(number(name), name), kept.insert(name.clone()));
        }
        for (name, keep) in &names {
            if !keep {
                prop_assert_eq!(index.remove(number(name)), kept.remove(name));
            }
        }
        // Added again, names go into blocks that others were dissolved into.
        for (name, _) in names.iter().take(again) {
            prop_assert_eq!(index.insert(number(name), name), kept.insert(name.clone()));
        }
        prop_assert_eq!(index.len(), kept.len());
        for mode in [Mode::Fuzzy, Mode::Substring, Mode::Prefix] {
            let result = index.query(&q, mode, limit, |_| true);
            let expected = brute_force(&kept, &q, mode, limit);
            prop_assert_eq!(result.total, expected.total);
            let names: Vec<_> = result.hits.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names, expected.hits.iter().map(|(name, _)| name).collect::<Vec<_>>());
            prop_assert!(result.hits.iter().all(|(_, score)| *score > 0.0 && *score <= 1.0));
            prop_assert!(result.hits.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        }
    }
}
