//! Rules about tests that documents name: a table whose last heading is `test` says which test holds each of its rows.
//! That is a test function, a script of the catalog, a scenario of the fault injector, or a file of tests.

use std::collections::BTreeSet;

use super::tree::{Finding, Tree, prose};

/// The heading of the column that names tests.
const HEADING: &str = "test";
/// Where scenarios are declared, and where scripts are.
const SCENARIOS: &str = "chaos/src/scenario/";
const SCRIPTS: &str = "raft-store/src/catalog/tests/testscripts/";

/// Everything that a row may name, paths excepted.
pub(crate) fn known(tree: &Tree) -> BTreeSet<&str> {
    let sources = || tree.texts.iter().filter(|(file, _)| file.ends_with(".rs"));
    let mut known: BTreeSet<&str> = sources().flat_map(|(_, text)| names(text)).collect();
    known.extend(sources().filter(|(file, _)| file.starts_with(SCENARIOS)).flat_map(|(_, text)| scenarios(text)));
    let scripts = tree.paths.iter().filter(|path| path.starts_with(SCRIPTS) && !path.ends_with('/'));
    known.extend(scripts.filter_map(|path| path.rsplit('/').next()?.split('.').next()));
    known
}

/// The names of the scenarios that a source declares.
fn scenarios(source: &str) -> impl Iterator<Item = &str> {
    source.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next())
}

/// The names of all tests in a source.
pub(crate) fn names(source: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    source.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[") {
            marked |= line.starts_with("#[test") || line.starts_with("#[tokio::test");
            return None;
        }
        let name = name_of(line)?;
        std::mem::take(&mut marked).then_some(name)
    })
}

/// The name of the function that a line begins.
fn name_of(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_function = before.is_empty() || before.ends_with(' ');
    (is_function && !line.starts_with("//")).then(|| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())?
}

/// Rows that name no test, and tests that do not exist. Whether a path exists is another rule.
pub(crate) fn rows_without(tests: &BTreeSet<&str>, text: &str) -> Vec<Finding> {
    let (mut found, mut inside, mut last) = (Vec::new(), false, 0);
    for (index, line) in prose(text).filter(|(_, line)| line.starts_with('|')) {
        let cell = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        // A table begins where no row stands above.
        if index != last + 1 || index == 0 {
            inside = cell == HEADING;
        } else if inside && !cell.starts_with("---") {
            found.extend(check(tests, index, cell));
        }
        last = index;
    }
    found
}

fn check(tests: &BTreeSet<&str>, index: usize, cell: &str) -> Vec<Finding> {
    let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    if named.is_empty() {
        return vec![Finding::new(index, "a row that names no test")];
    }
    let missing = named.into_iter().filter(|name| !tests.contains(name) && !name.contains('/'));
    missing.map(|name| Finding::new(index, format!("names the test `{name}`, which does not exist"))).collect()
}

#[test]
fn tests_are_told_from_other_functions() {
    let source = "fn help() {}\n#[test]\n#[should_panic]\nfn one() {}\n// fn no\n    #[tokio::test(flavor = \"x\")]\n    \
        async fn two() {\n    fn inner() {}";
    assert_eq!(names(source).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(names("#[cfg(test)]\nmod tests {\nfn three() {}").count(), 0);
}

#[test]
fn scenarios_are_found() {
    assert_eq!(scenarios("Scenario { name: \"flood\", summary: \"name\" }").collect::<Vec<_>>(), ["flood"]);
}

#[test]
fn a_row_without_a_test_is_found_and_so_is_a_test_that_does_not_exist() {
    let tests = BTreeSet::from(["one", "two"]);
    let table = |rows: &str| format!("# A\n\n| what | test |\n| --- | --- |\n{rows}\n\n| what |\n| --- |\n| x |\n");
    assert_eq!(rows_without(&tests, &table("| a | `one`, `two` |\n| b | `node/tests/api.rs` |")), []);
    assert_eq!(rows_without(&tests, &table("| a | one |")), [Finding::new(4, "a row that names no test")]);
    let gone = rows_without(&tests, &table("| a | `one` |\n| b | `three` |"));
    assert_eq!(gone, [Finding::new(5, "names the test `three`, which does not exist")]);
    assert_eq!(rows_without(&tests, "| what | tests |\n| --- | --- |\n| a | none |"), [], "another heading");
}
