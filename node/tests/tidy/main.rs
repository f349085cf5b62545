//! What no compiler checks of the workspace's sources and documents, checked by reading them.
//!
//! ```text
//!  tree.rs            finds the files, splits them into comments, code and prose
//!  form.rs            widths, sizes, how a file opens
//!  words.rs           words that were replaced by the field's own
//!  paths.rs           what documents refer to exists, and every invariant names its check
//!  tests.rs           tables that name a test for each row name tests that exist
//!  dependencies.rs    where packages come from, who may depend on what, and on nothing in vain
//! ```
//!
//! Each rule is a function of a text, and has a test on a made-up text that breaks it. This file applies them to the
//! tree. A finding is a line `file:line: what`.

mod dependencies;
mod form;
mod paths;
mod tests;
mod tree;
mod words;

use tree::Tree;

/// Fails with what a rule found.
fn holds(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Applies a rule to every file whose name ends as one of these.
fn each(endings: &[&str], rule: impl Fn(&str) -> Vec<tree::Finding>) -> Vec<String> {
    let tree = Tree::read();
    let files = tree.texts.iter().filter(|(file, _)| endings.iter().any(|ending| file.ends_with(ending)));
    files.flat_map(|(file, text)| rule(text).into_iter().map(move |found| found.in_file(file))).collect()
}

#[test]
fn the_tree_was_read() {
    let tree = Tree::read();
    for file in ["README.md", "docs/api.md", ".ci/run", "chaos/src/main.rs", "node/tests/tidy/main.rs"] {
        assert!(tree.texts.contains_key(file), "{file}");
    }
    assert!(!tree.paths.iter().any(|path| path.starts_with("target/")));
}

#[test]
fn comments_and_prose_keep_to_the_width() {
    holds(&each(&[".rs"], |text| form::wide_comments(text, "//")));
    holds(&each(&[".md"], form::wide_prose));
    holds(&each(&[".toml", "/run", "/generate"], |text| form::wide_comments(text, "#")));
}

#[test]
fn every_document_has_one_title() {
    holds(&each(&[".md"], form::titles));
}

#[test]
fn every_source_says_what_it_is_for() {
    holds(&each(&[".rs"], form::opening));
}

#[test]
fn no_file_is_too_long() {
    let tree = Tree::read();
    let files = tree.texts.iter().filter(|(file, _)| file.ends_with(".rs") || file.ends_with(".md"));
    holds(&form::too_long(files.map(|(file, text)| (file.as_str(), text.lines().count()))));
}

#[test]
fn one_word_stands_for_one_thing() {
    let tree = Tree::read();
    let files = tree.texts.iter().filter(|(file, _)| words::is_checked(file));
    let findings = files.flat_map(|(file, text)| {
        let text = if file.ends_with(".rs") { tree::without_strings(text) } else { text.clone() };
        words::replaced(&text).into_iter().map(move |found| found.in_file(file))
    });
    holds(&findings.collect::<Vec<_>>());
}

#[test]
fn what_documents_link_to_exists() {
    let tree = Tree::read();
    let documents = tree.texts.iter().filter(|(file, _)| file.ends_with(".md"));
    let findings = documents.flat_map(|(file, text)| {
        paths::broken_links(&tree, file, text).into_iter().map(move |found| found.in_file(file))
    });
    holds(&findings.collect::<Vec<_>>());
}

#[test]
fn what_documents_name_in_backticks_exists() {
    let tree = Tree::read();
    let documents = tree.texts.iter().filter(|(file, _)| paths::is_about_today(file));
    let findings = documents
        .flat_map(|(file, text)| paths::missing(&tree, text).into_iter().map(move |found| found.in_file(file)));
    holds(&findings.collect::<Vec<_>>());
}

#[test]
fn tests_that_hold_the_rows_of_a_table_exist() {
    let tree = Tree::read();
    let tests = tests::known(&tree);
    for name in ["tests_that_hold_the_rows_of_a_table_exist", "leader-kill", "one_peer_cannot_fill_the_table"] {
        assert!(tests.contains(name), "{name}");
    }
    let documents = tree.texts.iter().filter(|(file, _)| paths::is_about_today(file));
    let findings = documents
        .flat_map(|(file, text)| tests::rows_without(&tests, text).into_iter().map(move |found| found.in_file(file)));
    holds(&findings.collect::<Vec<_>>());
}

#[test]
fn every_invariant_of_the_architecture_names_its_check() {
    let tree = Tree::read();
    holds(&each(&["ARCHITECTURE.md"], |text| paths::unchecked_invariants(&tree, text)));
}

#[test]
fn the_harness_judges_by_a_model_of_its_own() {
    let tree = Tree::read();
    let judges = |file: &str| file == "chaos/src/model.rs" || file.starts_with("chaos/src/checker/");
    let files: Vec<_> = tree.texts.iter().filter(|(file, _)| judges(file)).collect();
    assert!(files.len() > 10, "{}", files.len());
    let findings = files.iter().flat_map(|(file, text)| {
        paths::judging_with_the_product(text).into_iter().map(move |found| found.in_file(file))
    });
    holds(&findings.collect::<Vec<_>>());
}

#[test]
fn every_module_has_a_line_in_the_architecture() {
    let tree = Tree::read();
    holds(&paths::modules_without_a_line(&tree, &tree.texts["ARCHITECTURE.md"]));
}

#[test]
fn stricter_lists_of_clippy_contain_the_common_one() {
    let tree = Tree::read();
    let common = &tree.texts["clippy.toml"];
    for file in ["node/clippy.toml", "raft-store/clippy.toml"] {
        holds(&form::lines_left_out(common, &tree.texts[file]));
    }
}

#[test]
fn dependencies_come_from_the_registry_and_go_where_they_may() {
    let tree = Tree::read();
    let (lock, deny) = (&tree.texts["Cargo.lock"], &tree.texts["deny.toml"]);
    assert!(deny.contains("wrappers = [\"raft-store\"]"), "the client links no storage");
    holds(&dependencies::foreign_sources(lock));
    holds(&dependencies::denied(deny, lock));
}

#[test]
fn no_dependency_is_unused() {
    let tree = Tree::read();
    for name in ["raft-store", "client", "node", "chaos"] {
        let folder = format!("{name}/");
        let files = tree.texts.iter().filter(|(file, _)| file.starts_with(&folder) && file.ends_with(".rs"));
        let sources: Vec<&str> = files.map(|(_, text)| text.as_str()).collect();
        let unused = dependencies::unused(&tree.texts[&format!("{name}/Cargo.toml")], &sources);
        assert!(unused.is_empty(), "{name} does not use {unused:?}");
    }
}
